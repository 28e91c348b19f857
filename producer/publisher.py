"""Publish events from any Python process: `Publisher().publish("cpu/load", {"v": 0.42})`.

Plain pyzmq does as well (docs/producers.md). What this adds: names, sizes and data are checked before
anything is sent; each event carries `meta`, with which what never arrived can be counted and the true
latency be told; and closing says whether everything went.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import weakref
from functools import lru_cache
from threading import Lock
from types import TracebackType
from uuid import uuid4

import zmq

from broker.errors import BadSetting, BadTopic, PayloadTooLarge, PublishTimeout
from broker.topics import check_topic, is_system
from broker.wire import MAX_PAYLOAD_BYTES, Content, pack_meta, producer_hash
from producer.link import Link
from producer.payload import encode

log = logging.getLogger(__name__)

INGEST = "tcp://127.0.0.1:5555"
PUSH = "tcp://127.0.0.1:5558"
HIGH_WATER = 100_000
CLOSE_S = 5.0

# libzmq's clock is read once in a while: its timers may be early by a millisecond or two.
TIMER_SLACK_S = 0.02


class Publisher:
    """A stream of events to one broker.

    `Publisher()` never waits: while the broker is away it holds up to `high_water` events, then drops
    new ones and counts them in `dropped`. `Publisher(wait=True)` drops nothing: `publish` waits until
    there is room.

    Threads may share one. After a fork make a new one in the child. Close it, or use it in a `with`;
    one that was forgotten is flushed when it is collected or when the interpreter ends.
    """

    def __init__(
        self,
        ingest: str | None = None,
        *,
        wait: bool = False,
        wait_s: float | None = None,
        producer_id: str | None = None,
        high_water: int = HIGH_WATER,
        payload_max_bytes: int = MAX_PAYLOAD_BYTES,
        close_s: float = CLOSE_S,
    ) -> None:
        """Connects in the background: nothing here waits for the broker.

        Args:
            ingest: the broker's address for streams, or with `wait` the one for what matters (5558).
            wait_s: with `wait`, how long `publish` waits for room; None is for ever.
            producer_id: names this stream where what never arrived is counted; new for each
                Publisher unless given, because its count starts at 1.
            high_water: events held here while the broker does not take them.
            close_s: how long closing may take to hand over what is held.

        Raises:
            BadSetting: not an address.
        """
        self.ingest = ingest or (PUSH if wait else INGEST)
        self.dropped = 0
        self._count = 0
        self._waits, self._wait_s = wait, wait_s
        self._producer = producer_hash(producer_id or f"{socket.gethostname()}/{os.getpid()}/{uuid4()}")
        self._payload_max_bytes = payload_max_bytes
        self._close_s = close_s
        self._all_went: bool | None = None  # None while open
        self._lock = Lock()
        # A context of its own: ending it is how libzmq says that everything has left.
        self._context = zmq.Context()
        self._socket = _push(self._context, wait_s) if wait else _stream(self._context)
        # Plain numbers: joining two enum flags costs as much as a send.
        self._last = 0 if wait else int(zmq.NOBLOCK)
        self._more = self._last | int(zmq.SNDMORE)
        self._socket.set(zmq.SNDHWM, high_water)
        # A broker's host that vanished is noticed by TCP. No ZeroMQ heartbeat: it would cut the link
        # to a broker that is only busy or stopped for a while, and lose what is under way.
        self._socket.set(zmq.TCP_KEEPALIVE, 1)
        self._socket.set(zmq.TCP_KEEPALIVE_IDLE, 10)
        self._socket.set(zmq.TCP_KEEPALIVE_INTVL, 5)
        self._socket.set(zmq.CONNECT_TIMEOUT, 5_000)  # the kernel's own is over two minutes
        self._link = Link(self._socket)
        try:
            self._socket.connect(self.ingest)
        except zmq.ZMQError as error:
            self._link.close()
            self._context.destroy(linger=0)
            raise BadSetting(f"{self.ingest!r} is no address like tcp://127.0.0.1:5555 ({error})") from None
        self._forgotten = weakref.finalize(
            self, _flush, self._socket, self._link, self._context, self.ingest, close_s
        )

    @property
    def published(self) -> int:
        """Events taken so far, those in `dropped` included."""
        return self._count

    @property
    def link(self) -> Link:
        """To see, or to wait, whether there is a broker at all."""
        return self._link

    def publish(self, topic: str, data: object, *, content: Content | None = None) -> None:
        """Send one event.

        Args:
            topic: the name (`broker.topics` has the rules), not a pattern, not a `$` one.
            data: bytes are sent as they are and called binary, str is sent as text, anything else as JSON.
            content: what the payload is, where the type of `data` does not tell: `Content.JSON` for
                bytes that are JSON already.

        Raises:
            BadTopic, BadPayload, PayloadTooLarge: nothing was sent or counted; mend the call.
            PublishTimeout: with `wait_s`, nothing was sent or counted; try again.
        """
        name = check_publishable(topic)
        payload, natural = encode(data)
        if len(payload) > self._payload_max_bytes:
            raise PayloadTooLarge(len(payload), self._payload_max_bytes)
        send = self._socket.send
        with self._lock:
            if self._all_went is not None:
                raise RuntimeError("publish on a closed Publisher")
            count = self._count + 1
            time_us = time.time_ns() // 1000
            meta = pack_meta(self._producer, count, time_us, natural if content is None else content)
            try:
                # Frame by frame: a third of the time of send_multipart. Only a first frame is refused.
                send(name, self._more)
            except zmq.Again:
                if self._waits:
                    raise PublishTimeout(self.ingest, self._wait_s or 0) from None
                self.dropped += 1
            else:
                send(payload, self._more)
                send(meta, self._last)
            # Dropped events keep their number: the hole in the count is how the broker knows.
            self._count = count

    def close(self, timeout_s: float | None = None) -> bool:
        """Hand over what is held, within `timeout_s` (`close_s` unless given; or `inf`). May be called again.

        Returns True if every event published has left for the broker; False, with a warning in the
        log, if some were dropped or the time was too short.
        """
        with self._lock:
            if self._all_went is None:
                self._forgotten.detach()
                within_s = self._close_s if timeout_s is None else timeout_s
                flushed = _flush(self._socket, self._link, self._context, self.ingest, within_s)
                self._all_went = flushed and not self.dropped
                if self.dropped:
                    log.warning("dropped ingest=%s events=%d of=%d", self.ingest, self.dropped, self._count)
            return self._all_went

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "open" if self._all_went is None else "closed"
        return f"Publisher({self.ingest}, {state}, published={self._count}, dropped={self.dropped})"


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


def _flush(
    held: zmq.Socket[bytes],
    link: Link,
    context: zmq.Context[zmq.Socket[bytes]],
    ingest: str,
    timeout_s: float,
) -> bool:
    """Close, and say whether everything had left before the deadline.

    libzmq does not tell what it held. But the context ends when the last event has left or when the
    linger time is over, so that ending early proves that all went.
    """
    started_s = time.monotonic()
    link.close()
    held.close(linger=-1 if timeout_s == math.inf else round(timeout_s * 1000))
    context.term()
    if time.monotonic() - started_s < timeout_s - TIMER_SLACK_S:
        return True
    log.warning("unsent ingest=%s: the broker did not take everything within %g s", ingest, timeout_s)
    return False


@lru_cache(maxsize=10_000)
def check_publishable(topic: str) -> bytes:
    """The topic's frame. Raises BadTopic. Cached: checking takes longer than sending."""
    check_topic(topic)
    if is_system(topic):
        raise BadTopic(topic, "names that begin with '$' are the system's own")
    return topic.encode()
