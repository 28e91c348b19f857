"""The broker's feed and control port, for a program that listens: a thread that owns the sockets.

It takes what has arrived, hands it to who listens, and has no policy; that is in `subscription` and
`demand`.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread, current_thread
from typing import Protocol
from uuid import uuid4

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from broker import control
from broker.control import Head
from broker.dial import Silence, prepare, redial
from broker.errors import BadSetting, ControlError, MalformedFrames
from broker.more import more_of
from broker.wire import BEAT_TOPIC, SYNC_PREFIX
from producer.link import CONTROL, FEED, connect
from producer.questions import Done, Questions

log = logging.getLogger(__name__)

HIGH_WATER = 100_000  # messages that wait to be taken: the rest waits in the broker, up to its own mark
TAKE_MESSAGES = 1_000  # at a time
TAKE_BYTES = 4 << 20
TAKE_ANSWERS = 16  # each may be half a megabyte of records
ASKED_MAX = 16  # questions that wait to leave
TICK_S = 0.25

_NOBLOCK = int(zmq.NOBLOCK)

_read_head = msgspec.json.Decoder(Head).decode


class Listener(Protocol):
    """Who listens. All of this is called by the feed's thread."""

    def on_connected(self, now_s: float) -> None:
        """The feed's connection stands (again), and its filters were sent."""

    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        """Also with topics of the system's own."""

    def on_marker(self, number: int, at: Head, now_s: float) -> None: ...
    def on_beat(self, at: Head, now_s: float) -> None: ...
    def tick(self, now_s: float) -> None:
        """A few times a second."""

    def turn(self, now_s: float) -> None:
        """All that had arrived was handed over."""

    def on_end(self, error: BaseException | None) -> None:
        """Nothing more is called. `error`: the thread ended by itself."""


class Feed:
    """Filters, barriers and questions go out by methods, which the feed's thread calls; answers come in
    by `Listener`. Other threads: `start`, `wake`, `close`.
    """

    def __init__(self, feed: str, control_address: str) -> None:
        """Connects in the background. Raises BadSetting: not an address."""
        self.address = feed
        self._sync = SYNC_PREFIX + uuid4().hex.encode() + b"/"
        self._barrier: bytes | None = None
        self._questions = Questions()
        self._is_closing = False
        self._thread: Thread | None = None
        self._awake, self._waker = socket.socketpair()
        for end in (self._awake, self._waker):
            end.setblocking(False)
        # A context of its own, which nobody else's end ends.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._feed = self._context.socket(zmq.SUB)
        self._has_more = more_of(self._feed)
        self._feed.set(zmq.RCVHWM, HIGH_WATER)
        self._feed.set(zmq.SNDHWM, 0)  # libzmq #2258: subscriptions past a high-water mark are lost
        self._feed.subscribe(BEAT_TOPIC)
        self._monitor = self._feed.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        self._control = self._context.socket(zmq.DEALER)
        self._control.set(zmq.SNDHWM, ASKED_MAX)
        # What is asked while no link stands does not wait for it: it will be asked again.
        self._control.set(zmq.IMMEDIATE, 1)
        try:
            for each, address, usual in ((self._feed, feed, FEED), (self._control, control_address, CONTROL)):
                prepare(each)
                connect(each, address, usual)
        except BadSetting:
            self._end()
            raise

    def start(self, listener: Listener, name: str) -> None:
        # A daemon: whoever forgets to close must be able to end.
        self._thread = Thread(target=self._run, args=(listener,), name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """See that `Listener.turn` is called soon."""
        with suppress(OSError):  # full: it is about to wake; or closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """Returns when the sockets are closed. May be called twice, also by the feed's thread."""
        self._is_closing = True
        self.wake()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()

    # What the listener wants done

    def set_filter(self, prefix: str | bytes, is_on: bool) -> None:
        frame = prefix.encode() if isinstance(prefix, str) else prefix
        self._feed.set(zmq.SUBSCRIBE if is_on else zmq.UNSUBSCRIBE, frame)

    def barrier(self, number: int) -> None:
        """Ask for the marker of that number, after all filters set so far."""
        if self._barrier is not None:
            self._feed.unsubscribe(self._barrier)
        self._barrier = self._sync + b"%d" % number
        # After a reconnect libzmq sends the filters again when the socket is next used: before this one.
        _ = self._feed.get(zmq.EVENTS)
        self._feed.subscribe(self._barrier)

    def ask(self, request: control.AnyRequest, done: Done) -> None:
        """`done` gets the answer; or it is not called, as when there is no broker: ask again."""
        with suppress(zmq.Again):
            self._control.send(self._questions.ask(request, done), _NOBLOCK)

    # The thread

    def _run(self, listener: Listener) -> None:
        error: BaseException | None = None
        try:
            self._relay(listener)
        except BaseException as caught:
            error = caught
            log.exception("the feed's thread ended feed=%s", self.address)
        finally:
            self._end()
            listener.on_end(error)

    def _relay(self, listener: Listener) -> None:
        poller = zmq.Poller()
        for each in (self._feed, self._control, self._monitor, self._awake):
            poller.register(each, zmq.POLLIN)
        tick_s, silence = 0.0, Silence()
        while not self._is_closing:
            ready = dict(poller.poll(int(TICK_S * 1000)))
            if self._awake.fileno() in ready:
                self._awake.recv(4096)
            batch = self._take()
            # After the messages, before their use: what came on a new connection has its word before it.
            now_s = time.monotonic()
            if self._has_connected():
                silence.on_link(now_s)
                listener.on_connected(now_s)
            if batch:
                silence.on_word(now_s)
            for frames in batch:
                self._put(listener, frames, now_s)
            self._take_answers()
            if now_s - tick_s >= TICK_S:
                tick_s = now_s
                if silence.is_over(now_s):
                    log.info("the broker says nothing, and is called anew feed=%s", self.address)
                    redial(self._feed, self.address)
                listener.tick(now_s)
            listener.turn(now_s)

    def _take(self) -> list[list[bytes]]:
        """What has arrived, in moderation."""
        receive, has_more = self._feed.recv, self._has_more
        batch: list[list[bytes]] = []
        size = 0
        try:
            while len(batch) < TAKE_MESSAGES and size < TAKE_BYTES:
                frames = [receive(_NOBLOCK)]
                while has_more():
                    frames.append(receive(_NOBLOCK))
                batch.append(frames)
                size += len(frames[-1])
        except zmq.Again:
            pass
        return batch

    def _put(self, listener: Listener, frames: Sequence[bytes], now_s: float) -> None:
        try:
            topic, stamp, payload = frames
            if not topic.startswith(b"$"):
                listener.on_event(topic, stamp, payload)
            elif topic == BEAT_TOPIC:
                listener.on_beat(_read_head(payload), now_s)
            elif topic.startswith(self._sync):
                listener.on_marker(int(topic[len(self._sync) :]), _read_head(payload), now_s)
            else:
                listener.on_event(topic, stamp, payload)
        except (MalformedFrames, ValueError) as error:  # msgspec's errors are ValueErrors
            log.warning("bad message on the feed topic=%s why=%s", frames[0][:60], error)

    def _take_answers(self) -> None:
        for _ in range(TAKE_ANSWERS):
            try:
                self._questions.take(self._control.recv_multipart(_NOBLOCK))
            except zmq.Again:
                return
            except ControlError as error:
                log.warning("refused from=%s why=%s", self.address, error)

    def _has_connected(self) -> bool:
        found = False
        try:
            while True:
                event = parse_monitor_message(self._monitor.recv_multipart(_NOBLOCK))["event"]
                found = found or event == zmq.Event.HANDSHAKE_SUCCEEDED
        except zmq.Again:
            return found

    def _end(self) -> None:
        self._feed.disable_monitor()
        self._context.destroy(linger=0)
        self._awake.close()
        self._waker.close()
