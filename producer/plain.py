"""Publishing without confirmation: a stream that never waits, or a push that drops nothing."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from threading import Lock

import zmq

from broker.dial import CONNECT_TIMEOUT_MS
from broker.errors import BadSetting, PublishTimeout
from broker.wire import Content, pack_meta, producer_hash
from producer.confirmation import NEVER, Confirmation
from producer.link import INGEST, Link, connect

log = logging.getLogger(__name__)

# libzmq's clock is read once in a while: its timers may be early by a millisecond or two.
TIMER_SLACK_S = 0.02


class Plain:
    """Hands events to libzmq, which sends them in the background."""

    lost = unconfirmed = 0  # nothing is known of either

    def __init__(
        self, address: str, producer: str, waits: bool, wait_s: float | None, high_water: int
    ) -> None:
        """Raises BadSetting: not an address."""
        self.address = address
        self.taken = 0  # events, those in `dropped` included
        self.dropped = 0
        self._producer = producer_hash(producer)
        self._waits, self._wait_s = waits, wait_s
        self._all_went: bool | None = None  # None while open
        self._lock = Lock()
        # A context of its own: ending it is how libzmq says that everything has left.
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = _push(self._context, wait_s) if waits else _stream(self._context)
        # Plain numbers: joining two enum flags costs as much as a send.
        self._last = 0 if waits else int(zmq.NOBLOCK)
        self._more = self._last | int(zmq.SNDMORE)
        self._socket.set(zmq.SNDHWM, high_water)
        # A broker's host that vanished is noticed by TCP. No ZeroMQ heartbeat: it would cut the link
        # to a broker that is only busy or stopped for a while, and lose what is under way.
        self._socket.set(zmq.TCP_KEEPALIVE, 1)
        self._socket.set(zmq.TCP_KEEPALIVE_IDLE, 10)
        self._socket.set(zmq.TCP_KEEPALIVE_INTVL, 5)
        self._socket.set(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
        self.link = Link(self._socket)
        try:
            connect(self._socket, address, INGEST)
        except BadSetting:
            self.link.close()
            self._context.destroy(linger=0)
            raise

    def send(
        self, name: bytes, payload: bytes, content: Content, on_confirm: Callable[..., object] | None
    ) -> Confirmation:
        """Raises PublishTimeout: it was not taken."""
        if on_confirm is not None:
            raise RuntimeError("nothing is confirmed here: make it a Publisher(confirm=True)")
        send = self._socket.send
        with self._lock:
            if self._all_went is not None:
                raise RuntimeError("publish on a closed Publisher")
            count = self.taken + 1
            meta = pack_meta(self._producer, count, time.time_ns() // 1000, content)
            try:
                # Frame by frame: a third of the time of send_multipart. Only a first frame is refused.
                send(name, self._more)
            except zmq.Again:
                if self._waits:
                    raise PublishTimeout(self.address, self._wait_s or 0) from None
                self.dropped += 1
            else:
                send(payload, self._more)
                send(meta, self._last)
            # Dropped events keep their number: the hole in the count is how the broker knows.
            self.taken = count
        return NEVER

    def close(self, timeout_s: float, *, warns: bool = True) -> bool:
        """Whether all has left within `timeout_s`, which may be `inf`. May be called again.

        `warns`: also in the log, if not.

        libzmq does not tell what it held. But the context ends when the last event has left or when the
        linger time is over, so that ending early proves that all went.
        """
        with self._lock:
            if self._all_went is None:
                started_s = time.monotonic()
                self.link.close()
                self._socket.close(linger=-1 if timeout_s == math.inf else round(timeout_s * 1000))
                self._context.term()
                flushed = time.monotonic() - started_s < timeout_s - TIMER_SLACK_S
                self._all_went = flushed and not self.dropped
                if warns and not flushed:
                    log.warning(
                        "unsent ingest=%s: the broker did not take everything within %g s",
                        self.address,
                        timeout_s,
                    )
                if warns and self.dropped:
                    log.warning("dropped ingest=%s events=%d of=%d", self.address, self.dropped, self.taken)
            return self._all_went


def _stream(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """A PUB that loses nothing before its link stands, and says when it drops.

    A PUB discards what nobody has subscribed to, and so everything before the broker's subscription
    has arrived: of 20 events published at once, 0 get there. The broker takes everything anyway.
    An XPUB in manual mode applies no subscription by itself, so none ever matches; matching inverted,
    every event goes to the link, which holds it until it stands, like that of a PUSH.
    What the broker subscribes to is never read: one byte for each time the link comes up.
    Source: zmq_setsockopt(3), ZMQ_XPUB_MANUAL, ZMQ_INVERT_MATCHING, ZMQ_XPUB_NODROP.
    """
    stream = context.socket(zmq.XPUB)
    stream.set(zmq.XPUB_MANUAL, 1)
    stream.set(zmq.INVERT_MATCHING, 1)
    stream.set(zmq.XPUB_NODROP, 1)  # EAGAIN at the high-water mark instead of dropping silently
    return stream


def _push(context: zmq.Context[zmq.Socket[bytes]], wait_s: float | None) -> zmq.Socket[bytes]:
    push = context.socket(zmq.PUSH)
    push.set(zmq.SNDTIMEO, -1 if wait_s is None else round(wait_s * 1000))
    return push
