"""An event as a subscriber gets it, made of what a publisher sent."""

from __future__ import annotations

from typing import Any

import pytest

from broker.wire import FLAG_UNLOGGED, Content, pack_stamp
from producer.event import Event
from producer.payload import decode, encode

EPOCH = 0x1D
TIME_US = 1_790_000_000_000_007


def event(payload: bytes, content: Content = Content.UNKNOWN, flags: int = 0) -> Event:
    return Event(b"room/a", pack_stamp(flags | content << 1, 3, EPOCH, 12, 9, TIME_US), payload)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"v": [1, 2.5, None, "ä"]}, id="JSON"),
        pytest.param("20.5", id="text that looks like JSON"),
        pytest.param("", id="no text"),
        pytest.param(b"\xff\x00", id="bytes"),
        pytest.param(b"20.5", id="bytes that look like JSON"),
    ],
)
def test_what_was_published_is_what_is_read(data: Any) -> None:
    payload, content = encode(data)
    read = event(payload, content)
    assert (read.data, read.content, read.payload) == (data, content, payload)


@pytest.mark.parametrize(
    ("payload", "declared", "data", "found"),
    [
        pytest.param(b'{"v": 1}', Content.UNKNOWN, {"v": 1}, Content.JSON, id="looks like JSON"),
        pytest.param(b"open", Content.UNKNOWN, "open", Content.TEXT, id="looks like text"),
        pytest.param(b"\xff", Content.UNKNOWN, b"\xff", Content.BINARY, id="looks like nothing"),
        pytest.param(b"", Content.UNKNOWN, "", Content.TEXT, id="empty"),
        pytest.param(b"open", Content.JSON, "open", Content.TEXT, id="no JSON, but text"),
        pytest.param(b"NaN", Content.JSON, "NaN", Content.TEXT, id="no number"),
        pytest.param(b'"\xff"', Content.JSON, b'"\xff"', Content.BINARY, id="no UTF-8 in JSON"),
        pytest.param(b"[" * 100_000, Content.JSON, "[" * 100_000, Content.TEXT, id="too deep"),
        pytest.param(b"\xff", Content.TEXT, b"\xff", Content.BINARY, id="no text"),
    ],
)
def test_what_is_declared_is_believed_where_it_can_be(
    payload: bytes, declared: Content, data: Any, found: Content
) -> None:
    assert decode(payload, declared) == (data, found)


def test_an_event_tells_its_place() -> None:
    read = event(b"1", flags=5 << 3)
    assert (read.topic, read.seq, read.prev, read.nth, read.drops) == ("room/a", 12, 9, 3, 5)
    assert read.position == "000000000000001d.12"
    assert read.time == 1_790_000_000.000007
    assert not read.unlogged
    assert event(b"1", flags=FLAG_UNLOGGED).unlogged
    assert repr(read) == "Event(room/a 000000000000001d.12 1 bytes)"


def test_text_is_to_be_had_of_everything() -> None:
    assert event(b"\xffa", Content.BINARY).text == "\ufffda"
