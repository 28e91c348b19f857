"""What events ask for: the commands of `/ws`, or what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from broker.topics import Pattern
from broker.wire import Content
from gateway.delivery import ALL, LATEST, Delivery
from gateway.protocol import Publish, Refusal, Subscribe, Unsubscribe
from gateway.socketio.events import asked
from gateway.socketio.forms import NO_ID
from gateway.socketio.packets import Event
from tests.support.events import position

HISTORY_MAX = 100


def event(name: str, *args: Any, id: int | None = 7) -> Event:
    return Event("/", id, name, list(args))


@pytest.mark.parametrize(
    ("args", "history", "since", "delivery"),
    [
        pytest.param(["a/*"], 0, None, ALL, id="a pattern"),
        pytest.param(["a/*", None], 0, None, ALL, id="no options"),
        pytest.param(["a/*", {}], 0, None, ALL, id="empty options"),
        pytest.param(["a/*", {"history": 5}], 5, None, ALL, id="history"),
        pytest.param(["a/*", {"since": str(position(3))}], 0, position(3), ALL, id="since"),
        pytest.param(["a/*", {"since": f"{position(3)}.{'s' * 22}"}], 0, position(3), ALL, id="an offset"),
        pytest.param(["a/*", {"delivery": "latest"}], 0, None, LATEST, id="latest"),
        pytest.param(["a/*", {"delivery": {"hz": 5}}], 0, None, Delivery.HZ_5, id="hz"),
    ],
)
def test_subscribe(args: list[Any], history: int, since: Any, delivery: Delivery) -> None:
    found = asked(event("subscribe", *args), HISTORY_MAX)
    assert found == Subscribe(7, frozenset([Pattern("a/*")]), history, since, delivery)


def test_unsubscribe() -> None:
    assert asked(event("unsubscribe", "a"), HISTORY_MAX) == Unsubscribe(7, Pattern("a"))


@pytest.mark.parametrize(
    ("data", "payload", "content"),
    [
        pytest.param({"v": 1}, b'{"v":1}', Content.JSON, id="an object"),
        pytest.param("ä", '"ä"'.encode(), Content.JSON, id="text"),
        pytest.param(None, b"null", Content.JSON, id="null"),
        pytest.param(b"\0\xff", b"\0\xff", Content.BINARY, id="bytes"),
        pytest.param(b"", b"", Content.BINARY, id="no bytes"),
    ],
)
def test_publish(data: Any, payload: bytes, content: Content) -> None:
    found = asked(event("publish", "a", data, {"key": "k"}), HISTORY_MAX)
    assert isinstance(found, Publish)
    draft = found.draft
    assert (found.id, draft.topic, draft.key) == (7, "a", "k")
    assert list(draft.payloads) == [(payload, content)]


def test_nobody_wants_an_answer() -> None:
    found = asked(event("unsubscribe", "a", id=None), HISTORY_MAX)
    assert isinstance(found, Unsubscribe)
    assert found.id == NO_ID


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        pytest.param("subscribed", ["a"], "bad_request", id="an event that nobody hears"),
        pytest.param("x" * 10_000, [], "bad_request", id="a long one"),
        pytest.param("subscribe", [], "bad_request", id="no pattern"),
        pytest.param("subscribe", [7], "bad_pattern", id="a number for a pattern"),
        pytest.param("subscribe", [b"a"], "bad_pattern", id="bytes for a pattern"),
        pytest.param("subscribe", ["a//b"], "bad_pattern", id="a bad pattern"),
        pytest.param("subscribe", ["$system/load"], "forbidden", id="the system's own"),
        pytest.param("subscribe", ["a", []], "bad_request", id="options that are none"),
        pytest.param("subscribe", ["a", {}, {}], "bad_request", id="two of them"),
        pytest.param("subscribe", ["a", {"key": "k"}], "bad_request", id="options of another"),
        pytest.param("subscribe", ["a", {"history": b"1"}], "bad_request", id="bytes for a number"),
        pytest.param("subscribe", ["a", {"history": 101}], "bad_request", id="too much history"),
        pytest.param("subscribe", ["a", {"history": 1, "since": str(position(1))}], "bad_request", id="both"),
        pytest.param("unsubscribe", ["a", {"history": 1}], "bad_request", id="options where there are none"),
        pytest.param("publish", ["a"], "bad_request", id="no data"),
        pytest.param("publish", [7, 1], "bad_topic", id="a number for a topic"),
        pytest.param("publish", ["a/*", 1], "bad_topic", id="a pattern for a topic"),
        pytest.param("publish", ["a", 1, {"key": 7}], "bad_request", id="a number for a key"),
        pytest.param("publish", ["a", 1, {"key": b"k"}], "bad_request", id="bytes for a key"),
    ],
)
@pytest.mark.parametrize("id", [7, None])
def test_what_is_wrong_is_refused(name: str, args: list[Any], code: str, id: int | None) -> None:
    found = asked(event(name, *args, id=id), HISTORY_MAX)
    assert isinstance(found, Refusal)
    assert found.code == code
    assert found.id in (id, NO_ID)
    assert len(found.message) < 300
