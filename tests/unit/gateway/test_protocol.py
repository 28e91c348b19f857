"""What a client's frame asks for, and how each fault in it is named."""

from __future__ import annotations

import json

import pytest

from broker.topics import Pattern
from broker.wire import Content
from gateway.delivery import LATEST, Delivery
from gateway.protocol import (
    COMMANDS_PER_FRAME,
    Beat,
    Command,
    Ping,
    Publish,
    Refusal,
    Subscribe,
    Unsubscribe,
    at,
    commands,
    notice,
    ok,
    outcome,
    refused,
    welcome,
)
from gateway.publishing import Draft, Published, Refused
from tests.support.events import position

HISTORY_MAX = 500
SINCE = "9f3c2a7be1d04c11.1234"


def only(text: str) -> frozenset[Pattern]:
    return frozenset({Pattern(text)})


def asked(text: str) -> list[Command]:
    return list(commands(text, HISTORY_MAX))


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"subscribe": "cpu/**", "id": 1}', Subscribe(1, only("cpu/**"))),
        ('{"subscribe": "cpu/load", "id": 0, "delivery": "all"}', Subscribe(0, only("cpu/load"))),
        ('{"subscribe": "a", "id": 2, "history": 100}', Subscribe(2, only("a"), history=100)),
        ('{"subscribe": "a", "id": 2, "history": 0}', Subscribe(2, only("a"))),
        ('{"subscribe": "a", "id": 2, "history": 500}', Subscribe(2, only("a"), history=HISTORY_MAX)),
        ('{"subscribe": "a", "id": 0, "delivery": "latest"}', Subscribe(0, only("a"), delivery=LATEST)),
        ('{"subscribe": "a", "id": 0, "delivery": {"hz": 60}}',
         Subscribe(0, only("a"), delivery=Delivery.HZ_60)),
        (f'{{"subscribe": "a", "id": 3, "since": "{SINCE}"}}',
         Subscribe(3, only("a"), since=position(1234))),
        ('{"subscribe": "a", "id": 3, "since": null, "history": null}', Subscribe(3, only("a"))),
        ('{"subscribe": "a", "id": 9007199254740991}', Subscribe((1 << 53) - 1, only("a"))),
        ('{"subscribe": "日本/*", "id": 4}', Subscribe(4, only("日本/*"))),
        ('{"subscribe": "**", "id": 4}', Subscribe(4, only("**"))),
        ('{"subscribe": "a/$b", "id": 4}', Subscribe(4, only("a/$b"))),
        ('{"unsubscribe": "cpu/**", "id": 5}', Unsubscribe(5, Pattern("cpu/**"))),
        ('{"ping": 7, "id": 6}', Ping(6)),
        ('{"ping": null}', Ping(None)),
        ('{"beat": true, "id": 8}', Beat(8, True)),
        ('{"beat": false, "id": 9}', Beat(9, False)),
        (' {"ping" : {} , "id":6}\r', Ping(6)),
    ],
)  # fmt: skip
def test_well_formed_commands(text: str, command: Command) -> None:
    assert asked(text) == [command]


@pytest.mark.parametrize(
    ("payload", "meant"),
    [
        pytest.param('"data": {"v": 1}', (b'{"v": 1}', Content.JSON), id="JSON"),
        pytest.param('"data":\t[1.50, 1e2,  12345678901234567890123 ]',
                     (b"[1.50, 1e2,  12345678901234567890123 ]", Content.JSON), id="numbers, as they are"),
        pytest.param('"data": "\\u00fc\u00fc"', ('"\\u00fcü"'.encode(), Content.JSON),
                     id="a string, as it is written"),
        pytest.param('"data": null', (b"null", Content.JSON), id="null"),
        pytest.param('"data": {"data": 1, "publish": "b"}', (b'{"data": 1, "publish": "b"}', Content.JSON),
                     id="names of ours in it"),
        pytest.param('"d\\u0061ta": 1', (b"1", Content.JSON), id="a name that is escaped"),
        pytest.param('"data": ' + "[" * 64 + "]" * 64, (b"[" * 64 + b"]" * 64, Content.JSON), id="deep"),
        pytest.param('"text": "\\u00fc\\n"', ("ü\n".encode(), Content.TEXT), id="text"),
        pytest.param('"text": ""', (b"", Content.TEXT), id="no text"),
        pytest.param('"base64": "//4="', (b"\xff\xfe", Content.BINARY), id="bytes"),
        pytest.param('"base64": ""', (b"", Content.BINARY), id="no bytes"),
    ],
)  # fmt: skip
def test_what_is_published(payload: str, meant: tuple[bytes, Content]) -> None:
    assert asked(f'{{"publish": "a/b", {payload}, "id": 3}}') == [Publish(3, Draft("a/b", [meant]))]


def test_a_publish_may_have_a_key_and_follow_another() -> None:
    (command,) = asked('{"publish": "a", "data": 1, "key": "k", "id": 3, "follows": 2}')
    assert command == Publish(3, Draft("a", [(b"1", Content.JSON)], "k"), follows=2)
    (command,) = asked('{"publish": "a", "data": 1, "key": null, "id": 3, "follows": null}')
    assert command == Publish(3, Draft("a", [(b"1", Content.JSON)]))


@pytest.mark.parametrize(
    ("text", "number", "code", "names"),
    [
        pytest.param("", None, "bad_request", "an empty frame", id="empty"),
        pytest.param(" \n\n ", None, "bad_request", "an empty frame", id="only white space"),
        pytest.param("hello", None, "bad_request", "not JSON", id="not json"),
        pytest.param('{"ping": 7, "id": 6', None, "bad_request", "not JSON", id="half an object"),
        pytest.param('{"ping": NaN}', None, "bad_request", "not JSON", id="NaN"),
        pytest.param("[" * 100_000, None, "bad_request", "not JSON", id="deeper than the parser goes"),
        pytest.param("[]", None, "bad_request", "want a JSON object", id="a list"),
        pytest.param("7", None, "bad_request", "want a JSON object", id="a number"),
        pytest.param("{}", None, "bad_request", "want exactly one of subscribe", id="no verb"),
        pytest.param('{"id": 4}', 4, "bad_request", "want exactly one of subscribe", id="an id alone"),
        pytest.param('{"Subscribe": "a", "id": 4}', 4, "bad_request", "want exactly one", id="unknown verb"),
        pytest.param('{"subscribe": "a", "ping": 1, "id": 4}', 4, "bad_request", "want exactly one",
                     id="two verbs"),
        pytest.param('{"subscribe": "a"}', None, "bad_request", "subscribe: id is missing",
                     id="subscribe without id"),
        pytest.param('{"unsubscribe": "a"}', None, "bad_request", "unsubscribe: id is missing",
                     id="unsubscribe without id"),
        pytest.param('{"subscribe": "a", "id": -1}', None, "bad_request", "id: want an integer",
                     id="id below 0"),
        pytest.param('{"subscribe": "a", "id": 9007199254740992}', None, "bad_request", "id: want an integer",
                     id="id beyond 2^53 - 1"),
        pytest.param('{"subscribe": "a", "id": 1.5}', None, "bad_request", "id: want an integer",
                     id="id with a fraction"),
        pytest.param('{"subscribe": "a", "id": "1"}', None, "bad_request", "id: want an integer",
                     id="id as text"),
        pytest.param('{"subscribe": "a", "id": true}', None, "bad_request", "id: want an integer",
                     id="id as truth"),
        pytest.param('{"ping": 1, "id": null}', None, "bad_request", "id: want an integer", id="id null"),
        pytest.param('{"subscribe": "a", "id": 1, "hystory": 1}', 1, "bad_request",
                     "subscribe: unknown field 'hystory'", id="misspelt field"),
        pytest.param('{"unsubscribe": "a", "id": 1, "history": 1}', 1, "bad_request",
                     "unsubscribe: unknown field 'history'", id="a field of another verb"),
        pytest.param('{"beat": 3, "id": 1}', 1, "bad_request", "beat: want true or false", id="beat of 3"),
        pytest.param('{"beat": true}', None, "bad_request", "beat: id is missing", id="beat without an id"),
        pytest.param('{"ping": 1, "pong": 1}', None, "bad_request", "ping: unknown field 'pong'",
                     id="ping with more"),
        pytest.param('{"subscribe": 7, "id": 1}', 1, "bad_pattern", "subscribe: want a pattern as a string",
                     id="a pattern that is no text"),
        pytest.param('{"unsubscribe": null, "id": 1}', 1, "bad_pattern",
                     "unsubscribe: want a pattern as a string", id="no pattern to leave"),
        pytest.param('{"subscribe": "", "id": 1}', 1, "bad_pattern", "empty", id="empty pattern"),
        pytest.param('{"subscribe": "a/**/b", "id": 1}', 1, "bad_pattern",
                     "bad pattern 'a/**/b': '**' may only be the last segment", id="** in the middle"),
        pytest.param('{"unsubscribe": "a b", "id": 1}', 1, "bad_pattern", "white space", id="white space"),
        pytest.param('{"subscribe": "\\ud800", "id": 1}', None, "bad_request", "not JSON",
                     id="half a surrogate pair"),
        pytest.param('{"subscribe": "$broker/beat", "id": 1}', 1, "forbidden", "$broker/beat",
                     id="a system topic"),
        pytest.param('{"subscribe": "$*", "id": 1}', 1, "bad_pattern", "whole segment",
                     id="a wildcard for system topics"),
        pytest.param('{"subscribe": "a", "id": 1, "history": 501}', 1, "bad_request",
                     "history: want an integer from 0 to 500", id="too much history"),
        pytest.param('{"subscribe": "a", "id": 1, "history": -1}', 1, "bad_request", "history: want",
                     id="negative history"),
        pytest.param('{"subscribe": "a", "id": 1, "history": true}', 1, "bad_request", "history: want",
                     id="history as truth"),
        pytest.param('{"subscribe": "a", "id": 1, "history": "9"}', 1, "bad_request", "history: want",
                     id="history as text"),
        pytest.param(f'{{"subscribe": "a", "id": 1, "history": 1, "since": "{SINCE}"}}', 1, "bad_request",
                     "history and since exclude each other", id="history and since"),
        pytest.param('{"subscribe": "a", "id": 1, "since": "12"}', 1, "bad_request",
                     "since: bad position '12'", id="since without epoch"),
        pytest.param('{"subscribe": "a", "id": 1, "since": 12}', 1, "bad_request", "since: want a position",
                     id="since as a number"),
        pytest.param('{"subscribe": "a", "id": 1, "since": ' + "[" * 100 + "]" * 100 + "}", 1, "bad_request",
                     "since: want a position", id="since as a deep list"),
        pytest.param('{"subscribe": "a", "id": 1, "since": "9F3C2A7BE1D04C11.1"}', 1, "bad_request", "since:",
                     id="epoch in capitals"),
        pytest.param('{"subscribe": "a", "id": 1, "since": "9f3c2a7be1d04c11.18446744073709551616"}', 1,
                     "bad_request", "since:", id="seq beyond 64 bits"),
        pytest.param('{"subscribe": "a", "id": 1, "delivery": "newest"}', 1, "bad_request",
                     'delivery: want "all", "latest" or {"hz": n}', id="a delivery that is not offered"),
        pytest.param('{"subscribe": "a", "id": 1, "delivery": {"hz": 7}}', 1, "bad_request",
                     "delivery: want", id="a rate that is not offered"),
        pytest.param('{"subscribe": "a", "id": 1, "delivery": {"hz": true}}', 1, "bad_request",
                     "delivery: want", id="a rate that is true"),
        pytest.param('{"subscribe": "a", "id": 1, "delivery": {"hz": 5, "x": 1}}', 1, "bad_request",
                     "delivery: want", id="a rate and more"),
        pytest.param('{"subscribe": "a", "id": 1, "delivery": null}', 1, "bad_request",
                     "delivery: want", id="a delivery of null"),
        pytest.param('{"publish": "a", "data": 1}', None, "bad_request", "publish: id is missing",
                     id="publish without id"),
        pytest.param('{"publish": "a", "id": 3}', 3, "bad_request", "exactly one of data, text, base64",
                     id="publish of nothing"),
        pytest.param('{"publish": "a", "data": 1, "text": "x", "id": 3}', 3, "bad_request", "exactly one of",
                     id="publish of two things"),
        pytest.param('{"publish": 7, "data": 1, "id": 3}', 3, "bad_topic", "as a string", id="no topic"),
        pytest.param('{"publish": "a/*", "data": 1, "id": 3}', 3, "bad_topic", "'*' belongs to patterns",
                     id="publish to a pattern"),
        pytest.param('{"publish": "' + "x" * 999 + '", "data": 1, "id": 3}', 3, "bad_topic", "999 bytes",
                     id="a long topic"),
        pytest.param('{"publish": "a", "data": 1, "key": "", "id": 3}', 3, "bad_request", "key: want",
                     id="an empty key"),
        pytest.param('{"publish": "a", "data": 1, "key": "a b", "id": 3}', 3, "bad_request", "key: want",
                     id="a key with a space"),
        pytest.param('{"publish": "a", "data": 1, "key": 7, "id": 3}', 3, "bad_request", "key: want",
                     id="a key that is a number"),
        pytest.param('{"publish": "a", "data": 1, "follows": -1, "id": 3}', 3, "bad_request", "follows: want",
                     id="follows no id"),
        pytest.param('{"publish": "a", "data": 1, "history": 1, "id": 3}', 3, "bad_request",
                     "publish: unknown field 'history'", id="publish with more"),
        pytest.param('{"publish": "a", "data": ' + "[" * 65 + "]" * 65 + ', "id": 3}', 3, "bad_payload",
                     "data: deeper than 64", id="data too deep"),
        pytest.param('{"publish": "a", "text": 7, "id": 3}', 3, "bad_request", "text: want a string",
                     id="text that is none"),
        pytest.param('{"publish": "a", "base64": "//4", "id": 3}', 3, "bad_payload", "base64:",
                     id="base64 in part"),
        pytest.param('{"publish": "a", "base64": "ü", "id": 3}', 3, "bad_payload", "base64:", id="no base64"),
        pytest.param('{"publish": "a", "base64": [], "id": 3}', 3, "bad_request", "base64: want a string",
                     id="base64 in a list"),
        pytest.param('{"token": "x", "id": 4}', 4, "forbidden", "no tokens", id="token"),
    ],
)  # fmt: skip
def test_ill_formed_commands_are_named(text: str, number: int | None, code: str, names: str) -> None:
    [refusal] = asked(text)
    assert isinstance(refusal, Refusal)
    assert (refusal.id, refusal.code) == (number, code)
    assert names in refusal.message


def test_objects_of_a_frame_are_answered_in_order_and_each_on_its_own() -> None:
    text = '{"subscribe": "a", "id": 1}\n{"subscribe": "b", "id": 2\n\n{"ping": 1, "id": 3}\n'
    first, second, third = asked(text)
    assert first == Subscribe(1, only("a"))
    assert isinstance(second, Refusal)
    assert third == Ping(3)


@pytest.mark.parametrize(
    ("count", "refused_at_the_end"),
    [
        pytest.param(COMMANDS_PER_FRAME, False, id="as many as allowed"),
        pytest.param(COMMANDS_PER_FRAME + 2, True, id="more"),
    ],
)
def test_a_frame_holds_so_many_objects(count: int, refused_at_the_end: bool) -> None:
    found = asked("\n".join(f'{{"ping": 1, "id": {number}}}' for number in range(count)))
    pings = [Ping(number) for number in range(COMMANDS_PER_FRAME)]
    limit = Refusal(None, "bad_request", f"more than {COMMANDS_PER_FRAME} objects in one frame")
    assert found == ([*pings, limit] if refused_at_the_end else pings)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps({"subscribe": "x" * 50_000, "id": 1}), id="a long pattern"),
        pytest.param(json.dumps({"subscribe": "a", "id": 1, "x" * 50_000: 1}), id="a long field"),
        pytest.param(json.dumps({"subscribe": "$" + "x" * 50_000, "id": 1}), id="a long system topic"),
        pytest.param(json.dumps({"subscribe": "a", "id": 1, "since": "x" * 50_000}), id="a long since"),
        pytest.param(json.dumps({"subscribe": "a", "id": 1, "since": ["x"] * 9_999}), id="a since in a list"),
    ],
)
def test_a_refusal_does_not_send_back_what_it_refuses(text: str) -> None:
    [refusal] = asked(text)
    assert isinstance(refusal, Refusal)
    assert len(refusal.message) < 200


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (ok(1, position="9.9", recovered=True), {"reply": 1, "ok": {"position": "9.9", "recovered": True}}),
        (ok(None, time=1.5), {"reply": None, "ok": {"time": 1.5}}),
        (refused(Refusal(2, "limit", "why")), {"reply": 2, "error": {"code": "limit", "message": "why"}}),
        (
            welcome(position(7), "00", {"history": 5}),
            {"welcome": {"position": str(position(7)), "gateway": "00", "limits": {"history": 5}}},
        ),
        (outcome(3, Published("9.9")), {"reply": 3, "ok": {"position": "9.9"}}),
        (outcome(3, Published("9.9", True)), {"reply": 3, "ok": {"position": "9.9", "repeated": True}}),
        (outcome(3, Refused("unknown", "why")), {"reply": 3, "error": {"code": "unknown", "message": "why"}}),
        (at(position(7)), {"at": "9f3c2a7be1d04c11.7"}),
        (notice("stale", stale=True), {"notice": {"code": "stale", "stale": True}}),
    ],
)
def test_what_the_gateway_says(told: bytes, shown: dict[str, object]) -> None:
    assert json.loads(told) == shown
