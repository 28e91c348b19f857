"""The gateway's questions to the broker's control port, in the event loop and never blocking.

A plain zmq socket on a watcher of its descriptor, because zmq.green costs a greenlet switch a wait.
The descriptor is edge-triggered: it tells of a change once, so after each send and receive the
socket itself is asked whether more has come.
Source: zmq_getsockopt(3), ZMQ_FD and ZMQ_EVENTS.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import zmq
from gevent.event import AsyncResult
from gevent.hub import get_hub

from broker import control
from broker.dial import prepare
from broker.errors import ControlError, ControlTimeout, ControlUnsent, MalformedFrames
from broker.wire import unpack_records
from gateway.event import Event
from gateway.records import Records

log = logging.getLogger(__name__)

Page = (
    control.ReplayPage
    | control.NewestPage
    | control.LastPage
    | control.TailsPage
    | control.TopicsPage
    | control.DemandPage
    | control.StatusPage
    | control.SubmitPage
    | control.KeptPage
)
Done = Callable[[Page | ControlError, bytes], None]

TIMEOUT_S = 5.0
IN_FLIGHT_MAX = 1000
SWEEP_S = 0.1
AWAY_S = 1.0
TAKE_MAX = 64  # answers a turn of the loop: each may be half a megabyte of records

_DECODE: dict[type[control.Request], Callable[[msgspec.Raw], Any]] = {
    control.Replay: msgspec.json.Decoder(control.ReplayPage).decode,
    control.Newest: msgspec.json.Decoder(control.NewestPage).decode,
    control.Last: msgspec.json.Decoder(control.LastPage).decode,
    control.Tails: msgspec.json.Decoder(control.TailsPage).decode,
    control.Topics: msgspec.json.Decoder(control.TopicsPage).decode,
    control.Demand: msgspec.json.Decoder(control.DemandPage).decode,
    control.Status: msgspec.json.Decoder(control.StatusPage).decode,
    control.Submit: msgspec.json.Decoder(control.SubmitPage).decode,
    control.Keep: msgspec.json.Decoder(control.KeptPage).decode,
    control.Kept: msgspec.json.Decoder(control.KeptPage).decode,
}


class _Waiting(NamedTuple):
    done: Done
    decode: Callable[[msgspec.Raw], Any]
    deadline: float  # of the monotonic clock
    timeout_s: float


class ControlLink:
    """Asks the broker. Each question has exactly one outcome: a page, or a ControlError."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, is_immediate: bool = False
    ) -> None:
        """
        Args:
            is_immediate: what is asked while the link does not stand is not sent, rather than sent when
                it stands again, and what had not left when it broke never leaves.
        """
        self.address = address
        self._waiting: dict[int, _Waiting] = {}
        self._last_id = 0
        self._socket = context.socket(zmq.DEALER)
        prepare(self._socket)
        self._socket.sndhwm = self._socket.rcvhwm = IN_FLIGHT_MAX
        self._socket.immediate = is_immediate
        self._socket.connect(address)
        self._loop = get_hub().loop
        self._watcher = self._loop.io(self._socket.fd, 1)
        self._watcher.start(self._drain)
        self._swept_s = time.monotonic()
        self._sweeper = self._loop.timer(SWEEP_S, SWEEP_S)
        self._sweeper.start(self._sweep)

    def ask(
        self,
        request: control.AnyRequest,
        done: Done,
        timeout_s: float = TIMEOUT_S,
        events: bytes | None = None,
    ) -> None:
        """Send `request`, whose id is put in here, and have `done` called with page and records.

        `done` is called in the event loop, where it must not block; never from within `ask`. Errors:
        ControlTimeout; ControlUnsent, where the broker has taken nothing for so long that no more
        fits; ControlError with the broker's code, or `bad_answer`.

        Args:
            events: the second frame of a request that publishes.
        """
        self._last_id += 1
        request_id = self._last_id
        if self._socket.closed or len(self._waiting) >= IN_FLIGHT_MAX:
            self._loop.run_callback(done, ControlUnsent(self.address), b"")
            return
        data = control.encode(msgspec.structs.replace(request, id=request_id))
        try:
            # The first frame finds room for all of them, or there is none for any.
            self._socket.send_multipart([data] if events is None else [data, events], zmq.NOBLOCK)
        except zmq.Again:
            self._loop.run_callback(done, ControlUnsent(self.address), b"")
            return
        deadline = time.monotonic() + timeout_s
        self._waiting[request_id] = _Waiting(done, _DECODE[type(request)], deadline, timeout_s)
        self._look_again()

    def read(
        self, request: control.AnyRequest, done: Callable[[Page | ControlError, Records], None]
    ) -> None:
        """As `ask`, with the records read. Records that are none are a `bad_answer`, too."""

        def answer(page: Page | ControlError, records: bytes) -> None:
            try:
                events = Records(records)
            except (MalformedFrames, UnicodeDecodeError) as error:
                page = ControlError("bad_answer", f"the broker's records are not understood: {error}")
                events = Records()
            done(page, events)

        self.ask(request, answer)

    def call(self, request: control.AnyRequest, timeout_s: float = TIMEOUT_S) -> tuple[Any, bytes]:
        """The page and its records, for a greenlet that may wait. Raises ControlError as `ask` tells it."""
        result: AsyncResult = AsyncResult()
        self.ask(request, lambda page, records: result.set((page, records)), timeout_s)
        page, records = result.get()
        if isinstance(page, ControlError):
            raise page
        return page, records

    def close(self) -> None:
        """End it; whoever waits is told `unavailable`. May be called twice."""
        if self._socket.closed:
            return
        self._watcher.stop()
        self._watcher.close()
        self._sweeper.stop()
        self._sweeper.close()
        self._socket.close()
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            error = ControlError("unavailable", f"the broker at {self.address} is not asked any more")
            self._loop.run_callback(each.done, error, b"")

    def _look_again(self) -> None:
        """Sending may have swallowed the descriptor's word that answers came."""
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.run_callback(self._drain)

    def _drain(self) -> None:
        for _ in range(TAKE_MAX):
            if self._socket.closed:
                return
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._take(frames)
        self._loop.run_callback(self._drain)  # let others run first

    def _take(self, frames: list[bytes]) -> None:
        try:
            answer = control.decode_answer(frames[0])
        except msgspec.DecodeError as error:
            log.warning("bad answer from=%s why=%s", self.address, error)
            return
        # An answer after its deadline, or to a question of an earlier life.
        if (waiting := self._waiting.pop(answer.id, None)) is None:
            return
        outcome: Page | ControlError
        if answer.error is not None:
            outcome = ControlError(answer.error.code, answer.error.message)
        elif not len(answer.ok):
            outcome = ControlError("bad_answer", "the broker's answer holds neither a page nor an error")
        else:
            try:
                outcome = waiting.decode(answer.ok)
            except msgspec.DecodeError as error:
                outcome = ControlError("bad_answer", f"the broker's answer is not understood: {error}")
        try:
            waiting.done(outcome, frames[1] if len(frames) > 1 else b"")
        except Exception:
            # It must not leave the watcher's callback, or gevent stops the watcher, and nobody hears
            # an answer any more.
            log.exception("an answer was not taken op_id=%d", answer.id)

    def _sweep(self) -> None:
        now = time.monotonic()
        away_s, self._swept_s = now - self._swept_s, now
        if away_s > AWAY_S:
            return  # this process stood still: what was answered meanwhile has yet to be read
        # A copy: `done` may ask again.
        for request_id, waiting in list(self._waiting.items()):
            if waiting.deadline <= now and request_id in self._waiting:
                del self._waiting[request_id]
                waiting.done(ControlTimeout(self.address, waiting.timeout_s), b"")


def events_of(records: bytes) -> Iterator[Event]:
    """Raises MalformedFrames, UnicodeDecodeError."""
    for topic, stamp, payload in unpack_records(records):
        yield Event(topic, stamp, payload)
