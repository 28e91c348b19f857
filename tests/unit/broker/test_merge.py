"""Merging in pieces: whatever comes between two of them, the result holds what is kept, once and in order."""

from __future__ import annotations

import pytest

from broker import chunk as chunks
from broker.chunk import ENTRY, Chunk, Row
from broker.index import Index, Tail
from broker.merge import BODY_COST, Merge

# Chunks as lists of (seq, topic id, nth, payload).
MEMBERS = [
    [(11, 1, 5, b"first"), (12, 2, 1, b""), (15, 1, 6, b"x" * 1000)],
    [(16, 2, 2, b"b")],
    [(18, 1, 7, b"c"), (19, 3, 1, b"forgotten"), (20, 1, 8, b"last")],
]


class Bench:
    """The members as chunks, their bodies, and the tails of topics 1 and 2."""

    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.bodies: dict[int, bytes] = {}
        self.chunks: list[Chunk] = []
        for events in MEMBERS:
            entries, end = [], 0
            for seq, topic_id, nth, payload in events:
                end += len(payload)
                entries.append(ENTRY.pack(1 << 56 | nth, 77, seq, 0, 1000 + seq, topic_id, end))
            body = chunks.pack(entries, [payload for *_, payload in events])
            row = Row.make(events[0][0], events[-1][0], events[0][0] / 2, chunks.summarize(body), body)
            self.bodies[row.first] = body
            self.chunks.append(row.chunk())
        index = Index()
        for topic_id, seq, nth in ((1, 20, 8), (2, 16, 2)):
            tail = Tail(topic_id, b"t%d" % topic_id, 0, 1000, 1000.0)
            tail.seq, tail.nth = seq, nth
            index.add_tail(tail)
        self.tails = index.by_id
        self.dead: set[int] = set()
        self.merge = Merge(self.chunks)

    def go_on(self, events: int) -> bool:
        return self.merge.go_on(self.body_of, self.tails, lambda tail, seq, nth: seq in self.dead, events)

    def body_of(self, chunk: Chunk) -> bytes:
        self.fetched.append(chunk.first)
        return self.bodies[chunk.first]

    def kept(self) -> list[tuple[int, bytes]]:
        row = self.merge.maybe_row()
        if row is None:
            return []
        assert row.body is not None and row.summary == chunks.summarize(row.body)
        found = list(chunks.events(row.body, 0, chunks.count(row.body)))
        assert (row.first, row.last) == (chunks.seq_of(found[0][0]), chunks.seq_of(found[-1][0]))
        assert row.newest_s == self.chunks[-1].newest_s
        return [(chunks.seq_of(stamp), payload) for stamp, _, payload in found]


KEPT = [(seq, payload) for events in MEMBERS for seq, topic_id, _, payload in events if topic_id != 3]


@pytest.mark.parametrize("events", [1, 2, BODY_COST + 1, BODY_COST + 2, 1000])
def test_any_pieces_make_the_same_chunk(events: int) -> None:
    on = Bench()
    pieces = 1
    while not on.go_on(events):
        pieces += 1
    assert on.kept() == KEPT
    assert on.fetched == [11, 16, 18]
    assert on.merge.trimmed == 19
    assert (pieces == 1) == (events == 1000)


@pytest.mark.parametrize(("events", "looked"), [(1, 1), (BODY_COST + 2, 2), (2 * BODY_COST + 4, 4)])
def test_a_piece_is_bounded(events: int, looked: int) -> None:
    on = Bench()
    assert not on.go_on(events)
    assert [seq for seq, _ in on.kept()] == [seq for seq, _ in KEPT][:looked]


def test_what_dies_between_two_pieces_stays_where_it_was_gathered() -> None:
    on = Bench()
    on.dead = {11}
    assert not on.go_on(BODY_COST + 3)
    on.dead = {11, 12, 15, 16, 18}
    while not on.go_on(1):
        pass
    assert [seq for seq, _ in on.kept()] == [12, 15, 20]


def test_the_tails_are_told_once_it_is_done() -> None:
    on = Bench()
    on.dead = {11, 15, 16}
    assert on.go_on(1000)
    assert [tail.trimmed for tail in on.tails.values()] == [0, 0]
    on.merge.trim()
    assert [(tail.trimmed, tail.trimmed_nth) for tail in on.tails.values()] == [(15, 6), (16, 2)]


def test_when_all_has_died_nothing_is_left() -> None:
    on = Bench()
    on.tails.clear()  # forgotten since it began
    assert on.go_on(1000)
    assert (on.kept(), on.merge.trimmed) == ([], 20)
