"""What becomes of what a client publishes, whatever the broker does meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import control
from broker.control import SubmitPage
from broker.errors import ControlError, ControlTimeout, ControlUnsent
from broker.topics import Pattern
from broker.wire import Content, unpack_events
from gateway.publishing import (
    AGAIN_S,
    DEADLINE_S,
    UNSENT_AGAIN_S,
    Draft,
    Outcome,
    Published,
    Publisher,
    Refused,
)
from tests.support.events import head

UNSENT = ControlUnsent("the broker")
LATE = ControlTimeout("the broker", 1)
FULL = ControlError("unavailable", "the disk is full")
POSITION = "9f3c2a7be1d04c11.7"


def logged(repeated: bool = False) -> SubmitPage:
    return SubmitPage(at=head(7), position=POSITION, repeated=repeated)


class Played:
    """A publisher, and a broker that answers when the test says so."""

    def __init__(self, most: int = 3) -> None:
        self.now_s = 1_000.0
        self.silence: str | None = None
        self.asked: list[tuple[control.Submit, bytes, float]] = []  # with events and time for the answer
        self.outcomes: list[Outcome] = []
        self._tries: deque[Callable[[Any, bytes], None]] = deque()
        self.publisher = Publisher(
            self._ask,
            lambda: self.now_s,
            anonymous=[Pattern("room/*"), Pattern("chat/**")],
            most=most,
            payload_max_bytes=10,
            maybe_silence=lambda: self.silence,
        )

    def _ask(
        self,
        request: control.AnyRequest,
        done: Callable[[Any, bytes], None],
        timeout_s: float = 0,
        events: bytes | None = None,
    ) -> None:
        assert isinstance(request, control.Submit) and events is not None
        self.asked.append((request, events, timeout_s))
        self._tries.append(done)

    def publish(self, topic: str = "room/1", key: str | None = None, payload: bytes = b"1") -> Refused | None:
        return self.publisher.submit(Draft(topic, [(payload, Content.JSON)], key), self.outcomes.append)

    def answer(self, page: Any) -> None:
        """The oldest try that has no answer."""
        self._tries.popleft()(page, b"")

    @property
    def is_asked(self) -> bool:
        return bool(self._tries)

    def forget(self) -> None:
        """That try: it gets no answer any more."""
        self._tries.popleft()

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.publisher.tick()

    @property
    def codes(self) -> list[str]:
        return [each.code if isinstance(each, Refused) else "ok" for each in self.outcomes]


def test_what_is_confirmed_has_a_place() -> None:
    played = Played()
    assert played.publish(key="k") is None
    ((request, events, timeout_s),) = played.asked
    assert (request.key, request.subject, timeout_s) == ("k", "", DEADLINE_S)
    assert unpack_events(events, 1) == [(b"room/1", b"1", Content.JSON)]
    assert (played.outcomes, len(played.publisher)) == ([], 1)
    played.answer(logged())
    assert (played.outcomes, len(played.publisher)) == ([Published(POSITION)], 0)


def test_several_events_go_in_one_piece() -> None:
    played = Played()
    draft = Draft("room/ü", [(b"1", Content.JSON), (b"x", Content.TEXT)])
    played.publisher.submit(draft, played.outcomes.append)
    topic = "room/ü".encode()
    assert unpack_events(played.asked[0][1], 2) == [(topic, b"1", Content.JSON), (topic, b"x", Content.TEXT)]


@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        pytest.param(ControlError("conflict", "other events"), "conflict", "other events", id="conflict"),
        pytest.param(FULL, "unavailable", "the disk is full", id="the log cannot be written"),
        pytest.param(ControlError("system_topic", "$x"), "forbidden", "$x", id="a system topic"),
        pytest.param(ControlError("payload_too_large", "9"), "payload_too_large", "9", id="too large"),
        pytest.param(ControlError("bad_answer", "what?"), "unknown", "may or may not", id="not understood"),
    ],
)
def test_what_the_broker_refuses_is_told(error: ControlError, code: str, named: str) -> None:
    played = Played()
    played.publish(key="k")
    played.answer(error)
    (outcome,) = played.outcomes
    assert isinstance(outcome, Refused)
    assert outcome.code == code and named in outcome.message


# While there is no answer


def test_with_a_key_it_is_sent_again_until_it_is_answered() -> None:
    played = Played()
    played.publish(key="k")
    played.wait(AGAIN_S - 0.1)
    assert len(played.asked) == 1
    played.wait(0.1)
    played.wait(AGAIN_S)
    assert len(played.asked) == 3 and len({(request.key, events) for request, events, _ in played.asked}) == 1
    assert [timeout_s for _, _, timeout_s in played.asked] == [DEADLINE_S, DEADLINE_S - 1.5, DEADLINE_S - 3]
    played.answer(logged())  # to the first try, late
    for _ in range(2):
        played.answer(logged(repeated=True))
    assert played.outcomes == [Published(POSITION)]
    played.wait(DEADLINE_S)
    assert (len(played.asked), len(played.outcomes)) == (3, 1)


def test_without_a_key_it_is_sent_once_and_then_nobody_knows() -> None:
    played = Played()
    played.publish()
    played.wait(DEADLINE_S - 0.1)
    assert (len(played.asked), played.outcomes) == (1, [])
    played.wait(0.1)
    assert played.codes == ["unknown"]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([], id="silence"),
        pytest.param([LATE], id="a time-out"),
        # The first try may have been logged before the disk was full.
        pytest.param([LATE, FULL], id="the log cannot be written, after a try that was not answered"),
        pytest.param([LATE, UNSENT], id="a link that broke, after a try that was not answered"),
    ],
)
def test_what_may_have_been_heard_is_unknown_in_the_end(answers: list[ControlError]) -> None:
    played = Played()
    played.publish(key="k")
    for number, answer in enumerate(answers):
        if number:
            played.wait(AGAIN_S)
        played.answer(answer)
    played.silence = "no beat"
    while not played.outcomes:
        played.wait(1)
    assert played.codes == ["unknown"]


@pytest.mark.parametrize("key", [None, "k"])
def test_what_has_not_left_is_tried_again(key: str | None) -> None:
    played = Played()
    played.publish(key=key)
    for _ in range(5):
        played.answer(UNSENT)
        played.wait(UNSENT_AGAIN_S)
    assert (len(played.asked), played.outcomes) == (6, [])
    played.answer(logged())
    assert played.outcomes == [Published(POSITION)]


@pytest.mark.parametrize(
    ("seconds", "silence", "named"),
    [
        pytest.param(0.1, "no beat for 3 s", "no beat for 3 s", id="once the broker is known to be silent"),
        pytest.param(DEADLINE_S, None, "link", id="in time"),
    ],
)
def test_what_has_not_left_was_not_published(seconds: float, silence: str | None, named: str) -> None:
    played = Played()
    played.publish()
    played.answer(UNSENT)
    played.silence = silence
    played.wait(seconds)
    (outcome,) = played.outcomes
    assert isinstance(outcome, Refused) and outcome.code == "unavailable" and named in outcome.message
    assert len(played.asked) == 1


FATES = st.sampled_from(
    ["has not left", "is lost", "is logged", "is logged, and the answer is lost", "is refused"]
)


@given(key=st.sampled_from([None, "k"]), fates=st.lists(st.tuples(FATES, st.floats(0, 4)), max_size=12))
def test_whatever_becomes_of_the_tries_the_outcome_is_true(
    key: str | None, fates: list[tuple[str, float]]
) -> None:
    played, count = Played(), 0
    played.publish(key=key)
    for fate, seconds in fates:
        if played.is_asked and fate != "is lost":
            was_logged = key is not None and count > 0
            count += fate.startswith("is logged") and not was_logged
            if fate == "has not left":
                played.answer(UNSENT)
            elif was_logged or fate == "is logged":
                played.answer(logged(repeated=was_logged))
            elif fate == "is refused":
                played.answer(FULL)
            else:
                played.forget()
        elif played.is_asked:
            played.forget()
        played.wait(seconds)
    played.wait(DEADLINE_S)
    played.wait(DEADLINE_S)
    (code,) = played.codes
    assert count == 1 if code == "ok" else count == 0 if code == "unavailable" else count <= 1


def test_one_whose_hearer_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    played = Played()
    draft = Draft("room/1", [(b"1", Content.JSON)])
    played.publisher.submit(draft, lambda outcome: [][0])
    played.publish()
    played.wait(DEADLINE_S)
    assert played.codes == ["unknown"] and "IndexError" in caplog.text


def test_who_hears_may_publish_the_next() -> None:
    played = Played(most=1)
    draft = Draft("room/1", [(b"1", Content.JSON)])
    played.publisher.submit(draft, lambda outcome: played.outcomes.append(played.publish() or outcome))
    played.answer(logged())
    assert (played.codes, len(played.asked)) == (["ok"], 2)


# At once


@pytest.mark.parametrize(
    ("topic", "named"),
    [
        pytest.param("other", "PENSTOCK_GATEWAY__ANONYMOUS_PUBLISH='[\"room/**\"]'", id="not listed"),
        pytest.param("room/1/2", "`anonymous_publish`", id="not what a pattern matches"),
        pytest.param("$broker/beat", "the system's own", id="the system's own"),
    ],
)
def test_where_nobody_said_so_it_is_forbidden(topic: str, named: str) -> None:
    played = Played()
    refused = played.publish(topic)
    assert refused and refused.code == "forbidden" and named in refused.message
    assert played.asked == []


def test_only_so_many_wait() -> None:
    played = Played(most=2)
    assert [played.publish(), played.publish()] == [None, None]
    refused = played.publish()
    assert refused and refused.code == "limit" and "`publishes_max`" in refused.message
    played.answer(logged())
    assert played.publish() is None


def test_a_payload_over_the_limit_is_not_sent() -> None:
    played = Played()
    refused = played.publish(payload=b"x" * 11)
    assert refused and refused.code == "payload_too_large" and "`publish_max_bytes`" in refused.message
    assert played.publish(payload=b"x" * 10) is None


def test_a_broker_that_is_known_to_be_silent_is_not_waited_for() -> None:
    played = Played()
    played.silence = "nothing comes"
    refused = played.publish()
    assert refused and refused.code == "unavailable" and "nothing was published" in refused.message
    assert played.asked == []


def test_each_is_counted_once_and_what_was_refused_is_told() -> None:
    played = Played(most=1)
    played.publish("a\n")
    played.publish()
    played.publish()
    played.answer(logged())
    played.publish(key="k")
    played.answer(logged(repeated=True))
    played.publish()
    played.answer(FULL)
    counts = {"forbidden": 1, "limit": 1, "ok": 1, "repeated": 1, "unavailable": 1}
    assert played.publisher.tally.counts == counts
    told = {code: case for code, _, case in played.publisher.tally.take()}
    assert told.keys() == {"forbidden", "limit", "unavailable"}
    assert "\n" not in told["forbidden"] and 'topic="a\\n"' in told["forbidden"]
