"""Frames: what is packed comes out again, and what is not ours is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import BadPosition, MalformedFrames
from broker.wire import (
    META,
    STAMP,
    Content,
    Position,
    Stamp,
    pack_event,
    pack_meta,
    pack_records,
    pack_stamp,
    producer_hash,
    unpack_events,
    unpack_records,
    unpack_stamp,
)

U48, U63, U64 = st.integers(0, 2**48 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**64 - 1)


@given(st.builds(Stamp, st.integers(0, 255), U48, U64, U63, U63, U63))
def test_a_stamp_comes_back(stamp: Stamp) -> None:
    data = pack_stamp(*stamp)
    assert len(data) == STAMP.size == 40
    assert unpack_stamp(data) == stamp


def test_flags() -> None:
    stamp = unpack_stamp(pack_stamp(1 | Content.TEXT << 1 | 17 << 3, 1, 1, 1, 0, 0))
    assert (stamp.is_unlogged, stamp.content, stamp.drops) == (True, Content.TEXT, 17)


@pytest.mark.parametrize("data", [b"", bytes(39), bytes(41), bytes(40), b"\x02" + bytes(39)])
def test_an_unsound_stamp_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFrames, match="bad_stamp"):
        unpack_stamp(data)


def test_meta_is_25_bytes() -> None:
    assert META.unpack(pack_meta(producer_hash("a"), 7, 9, Content.JSON)) == (producer_hash("a"), 7, 9, 1)
    assert META.size == 25


@given(st.lists(st.tuples(st.binary(max_size=255), st.binary(min_size=40, max_size=40), st.binary())))
def test_records_come_back(events: list[tuple[bytes, bytes, bytes]]) -> None:
    assert list(unpack_records(pack_records(events))) == events


@pytest.mark.parametrize("cut", [1, 45, 47, 50])
def test_records_that_end_in_the_middle_are_refused(cut: int) -> None:
    whole = pack_records([(b"topic", bytes(40), b"payload")])
    with pytest.raises(MalformedFrames, match="bad_records"):
        list(unpack_records(whole[:cut]))


@pytest.mark.parametrize("position", [Position(1, 0), Position(2**64 - 1, 2**64 - 1)])
def test_a_position_s_text_comes_back(position: Position) -> None:
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2",
        "9f3c2a7be1d04c11",
        "9f3c2a7be1d04c11.",
        "9f3c2a7be1d04c11.01",
        "9f3c2a7be1d04c11.-1",
        "9F3C2A7BE1D04C11.1",
        "9f3c2a7be1d04c11.1 ",
        "9f3c2a7be1d04c11.18446744073709551616",
        "9f3c2a7be1d04c11.\u0661",
    ],
)
def test_unsound_positions(text: str) -> None:
    with pytest.raises(BadPosition):
        Position.parse(text)


OFFERED = [(b"a", b"1", 1), (b"b/c", b"", 0), (b"a", bytes(300), 3)]


def test_events_to_publish_are_read_as_they_were_packed() -> None:
    data = b"".join(pack_event(*event) for event in OFFERED)
    assert unpack_events(data, 3) == OFFERED


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(pack_event(b"a", b"1", 1)[:-1], "8 bytes left of 9", id="cut in the payload"),
        pytest.param(pack_event(b"a", b"1", 1) + b"\0\1", "2 bytes left", id="cut in the header"),
        pytest.param(pack_event(b"a", b"1", 4), "content type 4", id="content type"),
        pytest.param(pack_event(b"a", b"1", 1) * 4, "more than 3", id="too many"),
    ],
)
def test_events_to_publish_that_are_none(data: bytes, why: str) -> None:
    with pytest.raises(MalformedFrames, match=why):
        unpack_events(data, 3)
