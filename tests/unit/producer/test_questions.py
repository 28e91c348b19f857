"""What is asked of the control port, and which answers are taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from broker import control
from broker.control import Answer, Error, ReplayPage
from broker.errors import ControlError
from broker.wire import pack_records, pack_stamp
from producer.event import Event
from producer.questions import WAITING_MAX, Questions
from tests.support.events import head


def ask(questions: Questions, got: list[Any]) -> int:
    """A replay; its id."""

    def done(page: Any, events: Sequence[Event]) -> None:
        got.append((page, [event.seq for event in events]))

    request: dict[str, Any] = json.loads(questions.ask(control.Replay(id=0, after=7), done))
    assert (request["op"], request["after"]) == ("replay", 7)
    number: int = request["id"]
    return number


def answer(number: int) -> bytes:
    page = ReplayPage(at=head(9), through=9)
    return control.encode(Answer(id=number, ok=msgspec.Raw(control.encode(page))))


RECORDS = pack_records([(b"a", pack_stamp(0, 1, 1, seq, 0, 0), b"1") for seq in (8, 9)])


def test_an_answer_goes_to_who_asked_with_its_events() -> None:
    questions, first, second = Questions(), list[Any](), list[Any]()
    one, two = ask(questions, first), ask(questions, second)
    questions.take([answer(two), RECORDS])
    questions.take([answer(one)])
    assert first == [(ReplayPage(at=head(9), through=9), [])]
    assert second == [(ReplayPage(at=head(9), through=9), [8, 9])]


def test_an_answer_is_taken_once() -> None:
    questions, got = Questions(), list[Any]()
    number = ask(questions, got)
    questions.take([answer(number)])
    questions.take([answer(number)])
    questions.take([answer(number + 1)])
    assert len(got) == 1


def test_questions_that_nobody_answers_are_forgotten() -> None:
    questions, got = Questions(), list[Any]()
    first = ask(questions, got)
    others = [ask(questions, got) for _ in range(WAITING_MAX)]
    questions.take([answer(first)])
    assert got == []
    questions.take([answer(others[0])])
    assert len(got) == 1


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(
            [control.encode(Answer(id=1, error=Error(code="unavailable", message="later")))],
            "unavailable",
            id="refused",
        ),
        pytest.param([b"{"], "bad_answer", id="no JSON"),
        pytest.param([b'{"id": 1, "ok": {}}'], "bad_answer", id="no page"),
        pytest.param([b'{"id": 1}'], "bad_answer", id="neither page nor error"),
        pytest.param([answer(1), RECORDS[:-1]], "bad_answer", id="records that are cut off"),
    ],
)
def test_what_is_no_answer_is_raised(frames: list[bytes], code: str) -> None:
    questions, got = Questions(), list[Any]()
    assert ask(questions, got) == 1
    with pytest.raises(ControlError) as refused:
        questions.take(frames)
    assert refused.value.code == code
    assert got == []
