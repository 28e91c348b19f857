"""Publishing for clients: who may, how many wait, and what becomes of each. Pure.

It ends when the broker has confirmed it or refused it, or when its time is over: then nobody here knows
what became of it. What has not left, because the link to the broker does not stand, is tried again. What
has left and bears a key is sent again, too, for the broker logs what bears a key once: so a broker that
is killed, and comes back in time, is not noticed. What bears none is sent once.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from broker import control
from broker.control import SubmitPage
from broker.errors import ControlError, ControlTimeout, ControlUnsent
from broker.topics import Pattern, is_system
from broker.wire import pack_event
from gateway.tally import Tally

log = logging.getLogger(__name__)

DEADLINE_S = 10.0
AGAIN_S = 1.5  # a broker that is there answers in milliseconds
UNSENT_AGAIN_S = TICK_S = 0.1
ANONYMOUS = ""  # who publishes, while nobody can say who he is: the subject of the control port
OUTCOMES = ("ok", "repeated", "unknown", "unavailable", "conflict", "forbidden", "limit", "payload_too_large")

Payload = tuple[bytes, int]  # and its content type, see broker.wire.Content

is_key = re.compile(r"[!-~]{1,255}").fullmatch
KEY_RULE = "want 1 to 255 visible ASCII characters"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a client wants published: events of one topic, logged in one piece."""

    topic: str
    payloads: Sequence[Payload]
    key: str | None = None
    subject: str = ANONYMOUS


class Published(NamedTuple):
    """It is in the log."""

    position: str  # of the last event
    is_repeated: bool = False  # it was there before, from an earlier request or an earlier try at this one


class Refused(NamedTuple):
    """It is not, or nobody knows (`unknown`)."""

    code: str  # for programs
    message: str  # for people


Outcome = Published | Refused
Settled = Callable[[Outcome], None]


class Publishing(Protocol):
    """Publishes for clients. An outcome comes later, never before the call returns."""

    def submit(self, draft: Draft, settled: Settled) -> Refused | None: ...


class Ask(Protocol):
    """Asks the broker; see ControlLink.ask."""

    def __call__(
        self,
        request: control.AnyRequest,
        done: Callable[[Any, bytes], None],
        timeout_s: float = ...,
        events: bytes | None = ...,
    ) -> None: ...


class _Waiting:
    """One that the broker has yet to answer."""

    __slots__ = ("deadline_s", "draft", "due_s", "events", "sent", "settled")

    def __init__(self, draft: Draft, settled: Settled, deadline_s: float) -> None:
        topic = draft.topic.encode()
        self.events = b"".join(pack_event(topic, payload, content) for payload, content in draft.payloads)
        self.draft, self.settled, self.deadline_s = draft, settled, deadline_s
        self.due_s = 0.0  # when it is sent next
        self.sent = 0  # tries that have left, and may have been heard


class Publisher:
    """`tick` must be called several times a second."""

    def __init__(
        self,
        ask: Ask,
        clock: Callable[[], float],
        *,
        anonymous: Iterable[Pattern],
        most: int,
        payload_max_bytes: int,
        maybe_silence: Callable[[], str | None],
    ) -> None:
        """
        Args:
            clock: seconds that only run forward.
            anonymous: where everybody may publish.
            most: drafts that wait for the broker at a time.
            maybe_silence: why the broker is known not to answer, None if it may.
        """
        self._ask, self._clock, self._maybe_silence = ask, clock, maybe_silence
        self._anonymous, self._most, self._payload_max_bytes = tuple(anonymous), most, payload_max_bytes
        self._waiting: dict[_Waiting, None] = {}
        self.tally = Tally()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def note(self, refused: Refused, topic: str = "") -> Refused:
        """Count it, for the metrics and the log."""
        self.tally.note(refused.code, f"topic={json.dumps(topic)} why={refused.message!r}")
        return refused

    def maybe_forbidden(self, topic: str) -> Refused | None:
        """Why its client may not publish there, None if it may."""
        if is_system(topic):
            message = f"{topic[:60]!r}: nobody publishes to the system's own topics"
            return self.note(Refused("forbidden", message), topic)
        if any(pattern.matches(topic) for pattern in self._anonymous):
            return None
        message = (
            f"not everybody may publish to {topic[:60]!r}: the setting `anonymous_publish` lists where, "
            """PENSTOCK_GATEWAY__ANONYMOUS_PUBLISH='["room/**"]'"""
        )
        return self.note(Refused("forbidden", message), topic)

    def submit(self, draft: Draft, settled: Settled) -> Refused | None:
        """None: `settled` is called once, later, with what became of it."""
        if refused := self._maybe_refused(draft):
            return refused
        waiting = _Waiting(draft, settled, self._clock() + DEADLINE_S)
        self._waiting[waiting] = None
        self._try(waiting, self._clock())
        return None

    def _maybe_refused(self, draft: Draft) -> Refused | None:
        if refused := self.maybe_forbidden(draft.topic):
            return refused
        size, limit = max(len(payload) for payload, _ in draft.payloads), self._payload_max_bytes
        if size > limit:
            message = f"{size} bytes, at most {limit} are taken: `publish_max_bytes`"
            return self.note(Refused("payload_too_large", message), draft.topic)
        if len(self._waiting) >= self._most:
            message = f"{self._most} wait for the broker, and no more may: `publishes_max`"
            return self.note(Refused("limit", message), draft.topic)
        if why := self._maybe_silence():
            return self.note(_unsent(why), draft.topic)
        return None

    def _try(self, waiting: _Waiting, now_s: float) -> None:
        draft = waiting.draft
        waiting.sent += 1
        waiting.due_s = now_s + AGAIN_S if draft.key else waiting.deadline_s
        request = control.Submit(id=0, subject=draft.subject, key=draft.key)
        self._ask(request, partial(self._answered, waiting), waiting.deadline_s - now_s, waiting.events)

    def _answered(self, waiting: _Waiting, page: Any, _: bytes) -> None:
        if waiting not in self._waiting:
            return  # another try was answered before
        if isinstance(page, ControlUnsent):
            waiting.sent -= 1
            waiting.due_s = min(waiting.due_s, self._clock() + UNSENT_AGAIN_S)
        elif isinstance(page, SubmitPage):
            self._settle(waiting, Published(page.position, page.repeated))
        elif isinstance(page, ControlTimeout):
            pass  # it is over: `tick`
        elif page.code == "unavailable" and waiting.sent > 1:
            pass  # that the log cannot be written now says nothing of the try that was not answered
        else:
            self._settle(waiting, _refusal(page))

    def tick(self) -> None:
        """Send what is due, and end what is over."""
        now_s = self._clock()
        why = self._maybe_silence() if self._waiting else None
        for waiting in list(self._waiting):  # a copy: who hears of his may publish the next
            if not waiting.sent and (why or now_s >= waiting.deadline_s):
                self._settle(waiting, _unsent(why or "the link to it does not stand"))
            elif now_s >= waiting.deadline_s:
                self._settle(waiting, _unknown(waiting.draft))
            elif now_s >= waiting.due_s:
                self._try(waiting, now_s)

    def _settle(self, waiting: _Waiting, outcome: Outcome) -> None:
        del self._waiting[waiting]
        if isinstance(outcome, Published):
            self.tally.counts["repeated" if outcome.is_repeated else "ok"] += 1
        else:
            self.note(outcome, waiting.draft.topic)
        try:
            waiting.settled(outcome)
        except Exception:
            # It is one client's fault of ours: the outcomes of the others are to come.
            log.exception("an outcome was not taken")


def _refusal(error: ControlError) -> Refused:
    if error.code == "bad_answer":
        return Refused("unknown", f"{error}: it may or may not have been published")
    return Refused("forbidden" if error.code == "system_topic" else error.code, str(error))


def _unsent(why: str) -> Refused:
    return Refused("unavailable", f"the broker is not heard, nothing was published: {why}")


def _unknown(draft: Draft) -> Refused:
    told = f"no confirm of the broker within {DEADLINE_S:g} s, it may or may not have been published"
    again = "publish it again with the same key" if draft.key else "with a key it could be published again"
    return Refused("unknown", f"{told}: {again}")
