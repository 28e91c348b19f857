"""Chunks: what is packed comes out again, whole or in parts."""

from __future__ import annotations

import pytest

from broker import chunk as chunks
from broker.chunk import ENTRY, Row

EVENTS = [(11, 1, 5, b"first"), (12, 2, 1, b""), (15, 1, 6, b"x" * 1000)]  # seq, topic id, nth, payload


@pytest.fixture
def body() -> bytes:
    entries, end = [], 0
    for seq, topic_id, nth, payload in EVENTS:
        end += len(payload)
        entries.append(ENTRY.pack(1 << 56 | nth, 77, seq, 0, 1000 + seq, topic_id, end))
    return chunks.pack(entries, [payload for *_, payload in EVENTS])


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (0, 0), (1, 3), (2, 3), (1, 2), (3, 3)])
def test_events_of_any_stretch(body: bytes, start: int, stop: int) -> None:
    found = [
        (chunks.seq_of(stamp), topic_id, chunks.nth_of(stamp), payload)
        for stamp, topic_id, payload in chunks.events(body, start, stop)
    ]
    assert found == EVENTS[start:stop]


@pytest.mark.parametrize("few", [0, 1, 100], ids=lambda few: f"looks once for every {few}")
@pytest.mark.parametrize("seqs", [[], [11], [12], [15], [11, 15], [11, 12, 15]], ids=str)
def test_pick(body: bytes, seqs: list[int], few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PICK_FEW", few)
    found = [(chunks.seq_of(stamp), payload) for stamp, _, payload in chunks.pick(body, seqs)]
    assert found == [(seq, payload) for seq, _, _, payload in EVENTS if seq in seqs]


@pytest.mark.parametrize(
    ("seq", "place"), [(0, 0), (10, 0), (11, 1), (12, 2), (13, 2), (14, 2), (15, 3), (99, 3)]
)
def test_place_after(body: bytes, seq: int, place: int) -> None:
    assert chunks.place_after(body, seq) == place


def test_a_summary_tells_of_each_topic(body: bytes) -> None:
    chunk = Row.make(11, 15, 3.5, chunks.summarize(body), body).chunk()
    assert list(chunk.parts()) == [(1, 2, 6, 15, 1015), (2, 1, 1, 12, 1012)]
    assert list(chunk.newest()) == [(1, 15), (2, 12)]
    assert (list(chunk.ids), chunk.count, chunk.topics, chunk.size) == ([1, 2], 3, 2, len(body))
    assert (chunk.is_damaged, chunk.live_size) == (False, len(body))


def test_a_hole_has_no_events() -> None:
    chunk = Row.make(11, 15, 3.5, None, None).chunk()
    assert (chunk.is_damaged, chunk.count, chunk.size, list(chunk.parts())) == (True, 0, 0, [])


@pytest.mark.parametrize("place", [0, 4, 30, -1])
def test_the_checksum_sees_a_flipped_bit_and_another_place(body: bytes, place: int) -> None:
    row = Row.make(11, 15, 3.5, chunks.summarize(body), body)
    assert chunks.check(11, 15, 3.5, body) == row.body_check
    flipped = bytearray(body)
    flipped[place] ^= 1
    assert chunks.check(11, 15, 3.5, bytes(flipped)) != row.body_check
    assert chunks.check(11, 16, 3.5, body) != row.body_check
