"""Questions to the broker's control port, and what was to be done with their answers. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from broker import control
from broker.errors import ControlError, MalformedFrames
from broker.wire import unpack_records
from producer.event import Event

WAITING_MAX = 64

Done = Callable[[Any, Sequence[Event]], None]

_DECODE: dict[type[control.Request], Callable[[msgspec.Raw], Any]] = {
    control.Replay: msgspec.json.Decoder(control.ReplayPage).decode,
    control.Last: msgspec.json.Decoder(control.LastPage).decode,
    control.Tails: msgspec.json.Decoder(control.TailsPage).decode,
    control.Demand: msgspec.json.Decoder(control.DemandPage).decode,
}


class _Waiting(NamedTuple):
    done: Done
    decode: Callable[[msgspec.Raw], Any]


class Questions:
    """A question has one answer, or none: whoever still wants to know asks again, and does not take an
    answer that he does not wait for any more. So none has a deadline, and only the newest are kept.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._last_id = 0

    def ask(self, request: control.AnyRequest, done: Done) -> bytes:
        """The frame to be sent; the id is put in here. `done` gets the page, and events of its records."""
        self._last_id += 1
        self._waiting[self._last_id] = _Waiting(done, _DECODE[type(request)])
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
        return control.encode(msgspec.structs.replace(request, id=self._last_id))

    def take(self, frames: Sequence[bytes]) -> None:
        """An answer. Raises ControlError: it is a refusal, or is not understood."""
        try:
            answer = control.decode_answer(frames[0])
            waiting = self._waiting.pop(answer.id, None)
            if answer.error is not None:
                raise ControlError(answer.error.code, answer.error.message)
            if waiting is None:
                return
            page = waiting.decode(answer.ok)
            events = [Event(*each) for each in unpack_records(frames[1])] if len(frames) > 1 else []
        except (msgspec.DecodeError, MalformedFrames, UnicodeDecodeError) as error:
            raise ControlError("bad_answer", f"the broker's answer is not understood: {error}") from error
        waiting.done(page, events)
