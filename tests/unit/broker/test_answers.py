"""Control: every request has one answer, and says what was wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker import control
from broker.answers import Answers, read
from broker.control import Request
from broker.shelf import VALUE_MAX_BYTES
from broker.wire import unpack_records, unpack_stamp
from tests.support.logs import bench, put


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    with bench(tmp_path, durability="memory") as on:
        put(on.log, "a", "b", "a", payload=b"p")
        status = control.StatusPage(
            at=on.log.head(),
            version="1",
            durability="memory",
            uptime_s=1.5,
            received=3,
            logged=3,
            dropped={},
            confirmed=2,
            refused={"fenced": 1},
            topics=2,
            log_bytes=9,
            subscribed=1,
        )
        yield Answers(on.log, on.log.head, lambda: ["cpu/"], lambda: status)


def ask(answers: Answers, request: Request | bytes) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    """The answer, and topic and seq of its records."""
    asked = read(request if isinstance(request, bytes) else control.encode(request))
    text, *records = [asked] if isinstance(asked, bytes) else answers.answer(asked)
    events = [
        (topic.decode(), unpack_stamp(stamp).seq)
        for frame in records
        for topic, stamp, _ in unpack_records(frame)
    ]
    answer: dict[str, Any] = msgspec.json.decode(text)
    return answer, events


def test_replay(answers: Answers) -> None:
    answer, events = ask(answers, control.Replay(id=7, patterns=("a",), prefixes=("b",), after=1))
    assert events == [("b", 2), ("a", 3)]
    assert answer["id"] == 7
    assert (answer["ok"]["through"], answer["ok"]["damaged"], answer["ok"]["at"]["head"]) == (3, [], 3)
    assert answer["ok"]["at"]["epoch"] == "0000000000000001"


def test_newest(answers: Answers) -> None:
    answer, events = ask(answers, control.Newest(id=1, patterns=("*",), after=0, limit=1))
    assert events == [("b", 2)]
    assert (answer["ok"]["through"], answer["ok"]["damaged"], answer["ok"]["at"]["head"]) == (2, [], 3)
    assert ask(answers, control.Newest(id=1, prefixes=("a",), after=2))[1] == [("a", 3)]


def test_last(answers: Answers) -> None:
    answer, events = ask(answers, control.Last(id=1, patterns=("*",), count=2, limit=2))
    assert events == [("b", 2), ("a", 3)]
    assert answer["ok"]["truncated"] is True


def test_tails_topics_demand_status(answers: Answers) -> None:
    assert ask(answers, control.Tails(id=1, patterns=("**",), after=2))[0]["ok"]["tails"] == [["a", 3, 2]]
    topics = ask(answers, control.Topics(id=1))[0]["ok"]
    assert [(topic["topic"], topic["seq"], topic["nth"]) for topic in topics["topics"]] == [
        ("a", 3, 2),
        ("b", 2, 1),
    ]
    assert topics["more"] is False
    assert ask(answers, control.Demand(id=1))[0]["ok"]["prefixes"] == ["cpu/"]
    assert ask(answers, control.Status(id=1))[0]["ok"]["logged"] == 3


def value_of(answers: Answers, request: Request) -> str | None:
    answer, _ = ask(answers, request)
    value: str | None = answer["ok"]["value"]
    return value


def test_what_is_kept_first_stays(answers: Answers) -> None:
    assert value_of(answers, control.Kept(id=1, name="set:1")) is None
    assert value_of(answers, control.Keep(id=2, name="set:1", value="ü")) == "ü"
    assert value_of(answers, control.Keep(id=3, name="set:1", value="other")) == "ü"
    assert value_of(answers, control.Kept(id=4, name="set:1")) == "ü"
    assert value_of(answers, control.Keep(id=5, name="empty", value="")) == ""
    assert value_of(answers, control.Keep(id=6, name="empty", value="x")) == ""


def test_a_value_has_a_limit(answers: Answers) -> None:
    most = "ü" * (VALUE_MAX_BYTES // 2)
    answer, _ = ask(answers, control.Keep(id=5, name="a", value=most + "x"))
    assert (answer["id"], answer["error"]["code"]) == (5, "limit")
    assert f"at most {VALUE_MAX_BYTES}" in answer["error"]["message"]
    assert value_of(answers, control.Keep(id=6, name="a", value=most)) == most


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="none"),
        pytest.param("x" * 129, id="too long"),
        pytest.param("a b", id="a space"),
        pytest.param("a\n", id="a line end behind it"),
        pytest.param("ü", id="another letter"),
    ],
)
def test_a_name_that_is_none_is_refused(answers: Answers, name: str) -> None:
    for request in (control.Keep(id=5, name=name, value=""), control.Kept(id=5, name=name)):
        answer, _ = ask(answers, request)
        assert (answer["id"], answer["error"]["code"]) == (5, "bad_request")


def test_a_name_may_have_all_these(answers: Answers) -> None:
    name = ("key:Az09_-" * 13)[:128]
    assert value_of(answers, control.Keep(id=1, name=name, value="1")) == "1"


@pytest.mark.parametrize(
    ("request_bytes", "answered_id", "told"),
    [
        pytest.param(b"", 0, "", id="nothing"),
        pytest.param(b"hello", 0, "malformed", id="no JSON"),
        pytest.param(b"\xff\xfe", 0, "", id="no text"),
        pytest.param(b"[1]", 0, "", id="no object"),
        pytest.param(b'{"id": 5}', 5, "op", id="no op"),
        pytest.param(b'{"op": "dance", "id": 5}', 5, "dance", id="an unknown op"),
        pytest.param(b'{"op": "status"}', 0, "id", id="no id"),
        pytest.param(b'{"op": "status", "id": -1}', 0, "", id="a bad id"),
        pytest.param(b'{"op": "status", "id": 5, "x": 1}', 5, "x", id="an unknown field"),
        pytest.param(b'{"op": "replay", "id": 5, "after": -1}', 5, ">= 0", id="out of range"),
        pytest.param(b'{"op": "replay", "id": 5, "after": 0, "limit": 9999}', 5, "2000", id="too many"),
        pytest.param(
            b'{"op": "tails", "id": 5, "after": 0, "patterns": ["a*"]}', 5, "a*", id="a bad pattern"
        ),
        pytest.param(b'{"op": "tails", "id": 5, "after": 0, "prefixes": ["\\ud800"]}', 0, "", id="surrogate"),
        pytest.param(b'{"op": "topics", "id": 5, "after": "\\ud800"}', 0, "", id="surrogate in after"),
        pytest.param(b'{"op": "status", "id": 5}' + b"]" * 9, 0, "", id="bytes behind it"),
        pytest.param(b"[" * 100_000, 0, "", id="deep"),
        pytest.param(b'{"a":' + b"[" * 200_000, 0, "", id="deep within"),
        pytest.param(b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b',"op":"status"}', 0, "", id="deep, whole"),
    ],
)
def test_a_bad_request_is_told_so(
    answers: Answers, request_bytes: bytes, answered_id: int, told: str
) -> None:
    answer, _ = ask(answers, request_bytes)
    assert (answer["id"], answer["error"]["code"]) == (answered_id, "bad_request")
    assert told in answer["error"]["message"]
