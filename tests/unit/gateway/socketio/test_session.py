"""Namespaces of a client, and what its packets ask for there."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.socketio.errors import BadPacket
from gateway.socketio.packets import Ack, Event
from gateway.socketio.session import UNKNOWN_MAX, Join, Left, Reserved, Session, Turned

THERE = ("/", "/custom")
MAX_BYTES = 1_000
PLACE = '{"_placeholder":true,"num":0}'


def asked(*messages: str | bytes) -> list[Any]:
    session = Session(MAX_BYTES)
    return [session.receive(message, THERE) for message in messages]


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [
        pytest.param(["0"], [Join("/", {})], id="the main one"),
        pytest.param(['0{"a":1}'], [Join("/", {"a": 1})], id="with a payload"),
        pytest.param(["0/custom,"], [Join("/custom", {})], id="another one"),
        pytest.param(["0/none"], [Turned("/none")], id="one that is not there"),
        pytest.param(["0", "1"], [Join("/", {}), Left("/")], id="left"),
        pytest.param(["0", "1", "0"], [Join("/", {}), Left("/"), Join("/", {})], id="and entered again"),
        pytest.param(
            ["0", "0/custom", "1/custom,", '2["a"]'],
            [Join("/", {}), Join("/custom", {}), Left("/custom"), Event("/", None, "a", [])],
            id="one of two left",
        ),
        pytest.param(["0", '27["a",1]'], [Join("/", {}), Event("/", 7, "a", [1])], id="an event"),
        pytest.param(["0", "37[1]"], [Join("/", {}), Ack("/", 7, [1])], id="an acknowledgement"),
        pytest.param(
            ["0", f'51-["a",{PLACE}]', b"1"],
            [Join("/", {}), None, Event("/", None, "a", [b"1"])],
            id="an event with bytes",
        ),
        pytest.param(
            ["0", f'51-["a",{PLACE}]', b"1", '2["b"]'],
            [Join("/", {}), None, Event("/", None, "a", [b"1"]), Event("/", None, "b", [])],
            id="and another behind it",
        ),
    ],
)
def test_what_is_asked_for(messages: list[str | bytes], wanted: list[Any]) -> None:
    assert asked(*messages) == wanted


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(['2["a"]'], id="an event before any"),
        pytest.param(["31[]"], id="an acknowledgement before any"),
        pytest.param(["1"], id="left before it was entered"),
        pytest.param(['2["connect"]'], id="a reserved name before any"),
        pytest.param(["0/none", '2/none,["a"]'], id="an event where it was turned away"),
        pytest.param(["0", '2/custom,["a"]'], id="an event for another one"),
        pytest.param(["0", "0"], id="entered twice"),
        pytest.param(["0", "1", '2["a"]'], id="an event after it was left"),
        pytest.param(["0", "1", "1"], id="left twice"),
        pytest.param(["0", b"1"], id="bytes of nothing"),
        pytest.param(["0", f'51-["a",{PLACE}]', '2["b"]'], id="text where bytes are due"),
        pytest.param([f'51-["a",{PLACE}]', b"1"], id="an event with bytes before any"),
        pytest.param([""], id="nothing"),
    ],
)
def test_what_ends_a_session(messages: list[str | bytes]) -> None:
    session = Session(MAX_BYTES)
    for message in messages[:-1]:
        session.receive(message, THERE)
    with pytest.raises(BadPacket):
        session.receive(messages[-1], THERE)


@pytest.mark.parametrize("name", ["connect", "disconnect", "newListener"])
def test_a_reserved_name_is_told_and_the_client_stays(name: str) -> None:
    message = f"{name!r} is reserved, it cannot be the name of an event"
    assert asked("0", f'2["{name}"]', f'25["{name}"]', f'51-7["{name}",{PLACE}]', b"1", '2["a"]') == [
        Join("/", {}),
        Reserved("/", None, message),
        Reserved("/", 5, message),
        None,
        Reserved("/", 7, message),
        Event("/", None, "a", []),
    ]


def test_so_many_namespaces_that_are_not_there() -> None:
    session = Session(MAX_BYTES)
    for number in range(UNKNOWN_MAX):
        assert session.receive(f"0/{number}", THERE) == Turned(f"/{number}")
        assert not session.is_in(f"/{number}")
    assert session.receive("0", THERE) == Join("/", {})
    with pytest.raises(BadPacket):
        session.receive("0/one-more", THERE)
