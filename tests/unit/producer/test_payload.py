"""What becomes JSON, text or binary, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from broker.errors import BadPayload
from broker.wire import Content
from producer.payload import encode


@dataclass
class Reading:
    v: float


@pytest.mark.parametrize(
    ("data", "payload", "content"),
    [
        pytest.param({"v": 0.42}, b'{"v":0.42}', Content.JSON, id="dict"),
        pytest.param([1, None, True], b"[1,null,true]", Content.JSON, id="list with null"),
        pytest.param(7, b"7", Content.JSON, id="number"),
        pytest.param(None, b"null", Content.JSON, id="null"),
        pytest.param({"why": "null"}, b'{"why":"null"}', Content.JSON, id="the word null"),
        pytest.param(Reading(0.5), b'{"v":0.5}', Content.JSON, id="dataclass"),
        pytest.param(
            datetime(2026, 1, 2, tzinfo=UTC), b'"2026-01-02T00:00:00Z"', Content.JSON, id="datetime"
        ),
        pytest.param("héllo", "héllo".encode(), Content.TEXT, id="text"),
        pytest.param('{"v": 1}', b'{"v": 1}', Content.TEXT, id="text that looks like JSON"),
        pytest.param("", b"", Content.TEXT, id="empty text"),
        pytest.param(b"\x00\xff", b"\x00\xff", Content.BINARY, id="bytes"),
        pytest.param(bytearray(b"ab"), b"ab", Content.BINARY, id="bytearray"),
        pytest.param(memoryview(b"ab"), b"ab", Content.BINARY, id="memoryview"),
    ],
)
def test_data_becomes_a_payload_and_its_type(data: object, payload: bytes, content: Content) -> None:
    assert encode(data) == (payload, content)


def nested(depth: int) -> list[object]:
    inner: list[object] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(math.nan, "data is nan: JSON has no such number", id="nan"),
        pytest.param({"cpu": [1.0, math.inf]}, "data['cpu'][1] is inf: JSON has no such number", id="inf"),
        pytest.param((None, {"a": -math.inf}), "data[1]['a'] is -inf: JSON has no such number", id="-inf"),
        pytest.param(Reading(math.nan), "data['v'] is nan: JSON has no such number", id="nan in a dataclass"),
        pytest.param(object(), "Encoding objects of type object is unsupported", id="no JSON form"),
        pytest.param({"s": "\ud800"}, "text that is not valid Unicode", id="lone surrogate in JSON"),
        pytest.param("\ud800", "text that is not valid Unicode", id="lone surrogate in text"),
        pytest.param(nested(100_000), "nested too deep", id="too deep"),
    ],
)
def test_what_is_no_payload_is_refused_with_the_reason(data: object, why: str) -> None:
    with pytest.raises(BadPayload) as caught:
        encode(data)
    assert caught.value.why == why
