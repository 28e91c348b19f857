"""What the URL of a client subscribes at once, among what the transport has there."""

from __future__ import annotations

from typing import Any

import pytest

from broker.topics import Pattern
from gateway.delivery import ALL, LATEST, Delivery
from gateway.protocol import Refusal, Subscribe
from gateway.socketio.forms import NO_ID
from gateway.socketio.urls import maybe_opening
from tests.support.events import position

TRANSPORT = "EIO=4&transport=polling&t=abc"


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="nothing"),
        pytest.param(TRANSPORT, id="the transport's"),
        pytest.param(f"{TRANSPORT}&topics=a", id="another name"),
        pytest.param(f"{TRANSPORT}&history=3", id="how much, of nothing"),
    ],
)
def test_nothing_is_asked_for(query: str) -> None:
    assert maybe_opening(query, 100, 3) is None


@pytest.mark.parametrize(
    ("query", "patterns", "history", "since", "delivery"),
    [
        pytest.param("topic=a", {"a"}, 0, None, ALL, id="a topic"),
        pytest.param("topic=a&topic=b%2F*", {"a", "b/*"}, 0, None, ALL, id="several"),
        pytest.param("topic=a%26b%3D%2B&history=5", {"a&b=+"}, 5, None, ALL, id="what a query escapes"),
        pytest.param(f"topic=a&since={position(3)}", {"a"}, 0, position(3), ALL, id="since"),
        pytest.param("topic=a&delivery=latest", {"a"}, 0, None, LATEST, id="latest"),
    ],
)
def test_as_on_an_event_stream(
    query: str, patterns: set[str], history: int, since: Any, delivery: Delivery
) -> None:
    wanted = Subscribe(NO_ID, frozenset(map(Pattern, patterns)), history, since, delivery)
    assert maybe_opening(f"{TRANSPORT}&{query}", 100, 3) == wanted


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param("topic=", "bad_pattern", id="an empty topic"),
        pytest.param("topic=a//b", "bad_pattern", id="no topic"),
        pytest.param("topic=$system/load", "forbidden", id="the system's own"),
        pytest.param("topic=a&topic=b&topic=c&topic=d", "bad_parameter", id="too many"),
        pytest.param("topic=a&history=101", "bad_parameter", id="too much"),
        pytest.param("topic=a&since=x", "bad_parameter", id="no place"),
        pytest.param("topic=a&delivery=some", "bad_parameter", id="no delivery"),
    ],
)
def test_what_is_wrong_is_refused(query: str, code: str) -> None:
    found = maybe_opening(f"{TRANSPORT}&{query}", 100, 3)
    assert isinstance(found, Refusal)
    assert found.code == code
