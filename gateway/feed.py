"""The broker's feed, as the upstream and the hub need it: sockets in, calls out.

One greenlet owns the SUB socket and does all of: take what has arrived, put it through the upstream
into the hub, flush, let readers run, repeat. It has no policy; that is in `upstream` and `hub`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import gevent
import msgspec
import zmq
from gevent.event import Event as Signal
from gevent.hub import get_hub
from zmq.backend import Socket as Backend
from zmq.constants import Event as SocketEvent
from zmq.utils.monitor import parse_monitor_message

from broker import control
from broker.control import Head
from broker.dial import Silence, prepare, redial
from broker.errors import ControlError, MalformedFrames
from broker.more import more_of
from broker.upstream import Upstream
from broker.wire import BEAT_TOPIC, SYNC_PREFIX
from gateway.event import Event
from gateway.hub import Hub
from gateway.links import ControlLink, events_of

log = logging.getLogger(__name__)

TAKE_MESSAGES = 1_000  # at a time, before a flush
TAKE_BYTES = 4 << 20
TAKE_S = 0.002
PUTS_PER_TURN = 16
GIVE_WAY_S = 0.002  # the longest that a flush keeps readers waiting
FLUSH_PAUSE_MAX_S = 0.006
FLUSH_FREE_S = 0.001
TICK_S = 0.25
SILENCE_S = 2.0  # of no word from the broker, before the log speaks of it

_NOBLOCK = int(zmq.NOBLOCK)

Wire = tuple[bytes, bytes, bytes]  # topic, stamp, payload

_read_head = msgspec.json.Decoder(Head).decode


class Feed:
    """The feed's socket, and the greenlet that moves what comes to the connections."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, link: ControlLink, instance: str
    ) -> None:
        self.address = address
        self.upstream: Upstream[Event]
        self.hub: Hub
        self._link = link
        self._sync = SYNC_PREFIX + instance.encode() + b"/"
        self._barriers: list[bytes] = []
        self._work = Signal()
        self.turn_s = time.monotonic()  # when the relay last came round
        self._heard_s: float | None = self.turn_s  # None: its silence has been told
        self._socket = context.socket(zmq.SUB)
        self._receive, self._has_more = partial(Backend.recv, self._socket), more_of(self._socket)
        prepare(self._socket)
        self._silence = Silence()
        self._socket.rcvhwm = 100_000
        self._socket.sndhwm = 0  # libzmq #2258: subscriptions past a high-water mark are lost
        self._socket.subscribe(BEAT_TOPIC)
        self._monitor = self._socket.get_monitor_socket(SocketEvent.HANDSHAKE_SUCCEEDED)
        loop = get_hub().loop
        self._watchers = [loop.io(self._socket.fd, 1), loop.io(self._monitor.fd, 1)]
        self._watch()
        self._socket.connect(address)

    def wake(self) -> None:
        self._work.set()

    def _watch(self) -> None:
        for watcher in self._watchers:
            if not watcher.active:
                watcher.start(self._on_word)

    def _on_word(self) -> None:
        # The descriptors stay readable until the sockets are used. Watched meanwhile, in a pause or a
        # flush, they would wake the loop without end: four fifths of a core.
        for watcher in self._watchers:
            watcher.stop()
        self.wake()

    @property
    def is_silent(self) -> bool:
        """Whether it is known that no broker is heard; just started, it is not known yet."""
        return self.upstream.is_stale and (self.upstream.epoch != 0 or self._heard_s is None)

    # What the upstream wants done (see upstream.Link)

    def set_filter(self, prefix: str, is_on: bool) -> None:
        self._socket.setsockopt(zmq.SUBSCRIBE if is_on else zmq.UNSUBSCRIBE, prefix.encode())
        self.wake()  # the call may have swallowed the descriptor's word that messages came

    def barrier(self, number: int) -> None:
        for topic in self._barriers:
            self._socket.unsubscribe(topic)
        self._barriers = [self._sync + b"%d" % number]
        # After a reconnect libzmq sends the filters again when the socket is next used: before this one.
        _ = self._socket.events
        self._socket.subscribe(self._barriers[0])
        self.wake()

    def ask_replay(self, number: int, prefixes: Sequence[str], after: int, upto: int) -> None:
        def done(page: Any, records: bytes) -> None:
            if not isinstance(page, ControlError):
                self.upstream.on_replay(number, page, events_of(records))
                self.wake()

        self._link.ask(control.Replay(id=0, prefixes=tuple(prefixes), after=after, upto=upto), done)

    def ask_tails(self, number: int, prefixes: Sequence[str], after: int) -> None:
        def done(page: Any, records: bytes) -> None:
            if not isinstance(page, ControlError):
                self.upstream.on_tails(number, page)
                self.wake()

        self._link.ask(control.Tails(id=0, prefixes=tuple(prefixes), after=after), done)

    # The relay

    def run(self) -> None:
        """Relay for ever."""
        tick_s = flushed_s = 0.0
        flush_s = 0.0
        while True:
            self._work.clear()
            batch = self._take()
            # After the messages, before their use: what came on a new connection has its word before it.
            now_s = self.turn_s = time.monotonic()
            if self._has_connected(now_s):
                log.info("broker connected feed=%s", self.address)
                self.upstream.on_connected(now_s)
            if batch:
                self._silence.on_word(now_s)
            self._put_all(batch, now_s)
            if now_s - tick_s >= TICK_S:
                tick_s = now_s
                self.upstream.tick(now_s)
                self.hub.expire()
                self._watch_silence(now_s)
            if self.hub.is_dirty or self.hub.seen != self.hub.flushed:
                # About half of the time goes into flushing: events that come meanwhile share a send. What
                # is over in a millisecond anyway is not waited for.
                pause_s = flushed_s + min(flush_s - FLUSH_FREE_S, FLUSH_PAUSE_MAX_S) - time.monotonic()
                if pause_s > 0.0005:
                    gevent.sleep(pause_s)
                    more = self._take()
                    if self._has_connected(time.monotonic()):
                        self.upstream.on_connected(time.monotonic())
                    self._put_all(more, now_s)
                    batch += more  # what is left behind them sends no word of its own
                flush_s = self._flush()
                flushed_s = time.monotonic()
            if batch:
                gevent.sleep(0)
            else:
                self._watch()
                due_s = self.hub.due_in_s()
                self._work.wait(TICK_S if due_s is None else min(due_s, TICK_S))

    def _watch_silence(self, now_s: float) -> None:
        """No error: pages are served, and all goes on by itself. But somebody may wonder why."""
        if self._silence.is_over(now_s):
            log.info("the broker says nothing, and is called anew feed=%s", self.address)
            redial(self._socket, self.address)
        if not self.upstream.is_stale:
            self._heard_s = now_s
        elif self._heard_s is not None and now_s - self._heard_s > SILENCE_S:
            self._heard_s = None
            log.warning(
                "no broker heard at feed=%s: start it (penstock broker), or set PENSTOCK_GATEWAY__FEED "
                "and PENSTOCK_GATEWAY__CONTROL to where it is",
                self.address,
            )

    def _take(self) -> list[Wire]:
        """What has arrived, in moderation."""
        receive, has_more = self._receive, self._has_more
        batch: list[Wire] = []
        size = 0
        until_s = time.monotonic() + TAKE_S
        try:
            while len(batch) < TAKE_MESSAGES and size < TAKE_BYTES:
                topic = receive(_NOBLOCK)
                frames = [topic]
                while has_more():
                    frames.append(receive(_NOBLOCK))
                if len(frames) == 3:
                    batch.append((topic, frames[1], frames[2]))
                    size += len(frames[2])
                if not len(batch) % 64 and time.monotonic() > until_s:
                    break
        except zmq.Again:
            pass
        return batch

    def _put_all(self, batch: Sequence[Wire], now_s: float) -> None:
        """Gives way as the flush does: a topic may have thousands of cohorts."""
        turn_s = time.monotonic()
        for place, frames in enumerate(batch, 1):
            self._put(frames, now_s)
            if not place % PUTS_PER_TURN and time.monotonic() - turn_s > GIVE_WAY_S:
                gevent.sleep(0)
                turn_s = time.monotonic()

    def _put(self, frames: Wire, now_s: float) -> None:
        topic, stamp, payload = frames
        try:
            if not topic.startswith(b"$"):
                self.upstream.on_event(Event(topic, stamp, payload))
            elif topic == BEAT_TOPIC:
                self.upstream.on_beat(_read_head(payload), now_s)
            elif topic.startswith(self._sync):
                self.upstream.on_marker(int(topic[len(self._sync) :]), _read_head(payload), now_s)
            else:
                self.upstream.on_event(Event(topic, stamp, payload))
        except (MalformedFrames, ValueError) as error:  # msgspec's errors are ValueErrors
            log.warning("bad message on the feed topic=%s why=%s", topic[:60], error)

    def _has_connected(self, now_s: float) -> bool:
        found = False
        try:
            while True:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
                found = found or event == SocketEvent.HANDSHAKE_SUCCEEDED
        except zmq.Again:
            if found:
                self._silence.on_link(now_s)
            return found

    def _flush(self) -> float:
        """Returns how many seconds of this thread it took, others' turns not counted."""
        began_s = turn_s = time.monotonic()
        away_s = 0.0
        for _ in self.hub.flush():
            now_s = time.monotonic()
            if now_s - turn_s > GIVE_WAY_S:
                gevent.sleep(0)
                turn_s = time.monotonic()
                away_s += turn_s - now_s
        return time.monotonic() - began_s - away_s
