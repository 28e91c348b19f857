"""The link of a confirmed publisher to the broker's control port, and the thread that owns it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from math import ceil
from threading import Condition, Thread, current_thread

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from broker.control import HelloPage, PublishPage, decode_answer, encode
from broker.dial import prepare
from broker.errors import BadSetting, PenstockError
from producer.link import CONTROL, connect
from producer.window import Batch, Sending, Window

log = logging.getLogger(__name__)

# Requests that wait for a link that takes nothing: the window has as many in flight, and asks again.
REQUESTS_HIGH_WATER = 64
TAKE_MAX = 64  # answers in a turn

_decode_hello = msgspec.json.Decoder(HelloPage).decode
_decode_published = msgspec.json.Decoder(PublishPage).decode
_NOBLOCK, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)

Told = Callable[[Batch, int, object], None]


class Courier:
    """Sends what is due in `window`, and tells it what is answered. `changed` guards the window."""

    def __init__(self, address: str, window: Window, changed: Condition, told: Told) -> None:
        """`told` is called in the thread, without the lock, with what the window notes as settled.

        Raises BadSetting: not an address.
        """
        self._address, self._window, self._changed, self._told = address, window, changed, told
        # Until it is cleared, whoever has made something due has to `wake`. Guarded as the window is.
        self.is_asleep = False
        self._is_stopping = False
        self._lost = 0
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.SNDHWM, REQUESTS_HIGH_WATER)
        # No link, no queue: what was meant for one broker does not wait for the next.
        self._socket.set(zmq.IMMEDIATE, 1)
        prepare(self._socket)
        self._monitor = self._socket.get_monitor_socket(
            zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED
        )
        try:
            connect(self._socket, address, CONTROL)
        except BadSetting:
            self._close()
            raise
        self._ear, self._mouth = socket.socketpair()
        for each in (self._ear, self._mouth):
            each.setblocking(False)
        self._poller = zmq.Poller()
        for readable in (self._socket, self._monitor, self._ear):
            self._poller.register(readable, zmq.POLLIN)
        window.on_link_lost("it is not there")
        # A daemon, or the interpreter would wait for it before a forgotten Publisher is flushed.
        self._thread = Thread(target=self._run, name="penstock publisher", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller is this thread, which must not wait for itself."""
        return current_thread() is self._thread

    def wake(self) -> None:
        """With the lock, when it `is_asleep` and something is due."""
        self.is_asleep = False
        self._mouth.send(b"\0")  # one at a time: it is never full

    def stop(self) -> None:
        """Ends the thread, and returns when it has ended. Not to be called by itself."""
        with self._changed:
            self._is_stopping = True
            if self.is_asleep:
                self.wake()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:
            # Or whoever waits would wait for ever.
            log.exception("publishing ended control=%s", self._address)
            with self._changed:
                self.is_asleep = False
                self._window.fail(PenstockError(f"publishing ended: {error!r}"))
                self._changed.notify_all()
            self._tell()
        finally:
            self._close()
            self._ear.close()
            self._mouth.close()

    def _turn(self) -> bool:
        """Whether to go on."""
        window = self._window
        with self._changed:
            now_s, held = time.monotonic(), window.held
            window.tick(now_s)
            sendings = window.due(now_s)
            if window.held < held:  # one of them is larger than the broker reads
                self._changed.notify_all()
            stops, next_s = self._is_stopping, window.next_s
            self.is_asleep = not (sendings or stops)
        if stops:
            self._tell()
            return False
        if sendings:
            self._send(sendings)
            self._hear(False)
        else:
            self._hear(self._wait(None if next_s is None else next_s - now_s))
        self._tell()
        return True

    def _wait(self, timeout_s: float | None) -> bool:
        """Whether the link is up or down since; returns when something happens."""
        ready = dict(self._poller.poll(None if timeout_s is None else max(0, ceil(timeout_s * 1000))))
        if self._ear.fileno() in ready:
            self._ear.recv(64)
        return self._monitor in ready

    def _send(self, sendings: list[Sending]) -> None:
        for request, parts in sendings:
            try:
                if parts:
                    self._socket.send(encode(request), _MORE)
                    self._socket.send(b"".join(parts), _NOBLOCK)
                else:
                    self._socket.send(encode(request), _NOBLOCK)
            except zmq.Again:
                with self._changed:
                    self._window.on_unsent(time.monotonic())
                return

    def _hear(self, is_link_changed: bool) -> None:
        answers: list[bytes] = []
        try:
            while len(answers) < TAKE_MAX:
                answers.append(self._socket.recv_multipart(_NOBLOCK)[0])
        except zmq.Again:
            pass
        if not answers and not is_link_changed:
            return
        with self._changed:
            now_s = time.monotonic()
            for answer in answers:
                self._take(answer, now_s)
            # After the answers: those were read from the link before.
            while is_link_changed and self._monitor.poll(0):
                if recv_monitor_message(self._monitor)["event"] == zmq.Event.HANDSHAKE_SUCCEEDED:
                    self._window.on_link()
                else:
                    self._window.on_link_lost("it is away")
            self._changed.notify_all()

    def _take(self, data: bytes, now_s: float) -> None:
        window = self._window
        try:
            answer = decode_answer(data)
            if answer.error is not None:
                window.on_refused(answer.id, answer.error.code, answer.error.message, now_s)
            elif window.is_hello(answer.id):
                window.on_hello(answer.id, _decode_hello(answer.ok))
            else:
                window.on_published(answer.id, _decode_published(answer.ok), now_s)
        except msgspec.DecodeError as error:
            log.warning("bad answer from=%s why=%s", self._address, error)
        if window.lost > self._lost:
            log.warning("the log has lost confirmed events control=%s events=%d", self._address, window.lost)
            self._lost = window.lost

    def _tell(self) -> None:
        if not self._window.notes:
            return
        with self._changed:
            notes, self._window.notes = self._window.notes, []
        for batch, place, note in notes:
            self._told(batch, place, note)

    def _close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()
