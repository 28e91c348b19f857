"""Which events are kept, and the work of letting the others go in bounded pieces.

An event is dead when its topic has `events` newer ones, when it is older than `age_s`, or when the
log holds more than `size` bytes and it is among the oldest; the newest event of a topic never dies
of these. A topic silent for `forget_s`, or the longest silent when there are too many topics or
bytes, is forgotten whole.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from dataclasses import dataclass

from broker import chunk as chunks
from broker.chunk import MAX_BYTES, Chunk
from broker.errors import CorruptChunk
from broker.index import Index, Tail
from broker.merge import Merge
from broker.reader import Reader
from broker.store import Change, Store
from broker.topics import Pattern

log = logging.getLogger(__name__)

# One piece takes about a millisecond of the loop, in which no event moves: topics looked at (to open a
# chunk's summary costs as much as some of them), chunks removed, events merged.
LOOKED_MAX = 2_000
SUMMARY_COST = 10
REMOVED_MAX = 64
MERGE_EVENTS = 300
MERGE_READ_MAX = 2 * MAX_BYTES  # bytes that become one chunk
# Merging fewer, or beside one that outweighs them, would write the same bytes over and over:
# with these every event is written about log4(256 KiB / its commit) times.
MERGE_MIN = 8
MERGE_GROWTH = 4
RUN_MAX = 128
SWEEP_EVENTS = 1_000
SWEEP_S = 10.0
FORGET_CHECK_S = 60.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What is kept of the topics that match."""

    pattern: str
    events: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept. The first rule that matches a topic counts; `events` and `age_s` where none does."""

    events: int = 1_000
    age_s: float = 86_400.0
    size: int = 1 << 30  # bytes of all events
    forget_s: float = 7 * 86_400.0
    topics_max: int = 100_000
    rules: tuple[Rule, ...] = ()


class Retention:
    """Lets dead events go, and merges small chunks. Each call does one bounded piece."""

    def __init__(self, index: Index, store: Store, reader: Reader, keep: Keep) -> None:
        self._index, self._store, self._reader, self.keep = index, store, reader, keep
        self._rules = [(Pattern(rule.pattern), rule) for rule in keep.rules]
        # Age to the largest seq that is older.
        self._age_cuts = dict.fromkeys([keep.age_s, *(rule.age_s for rule in keep.rules)], 0)
        self._size_cut = 0
        self._at = 0  # the sweep goes on here
        self._sweeping = False
        self._merge: Merge | None = None  # one that is under way
        self._swept_head, self._swept_s = 0, index.clock_s  # when the newest sweep began
        self._forget_checked_s = index.clock_s

    def new_tail(self, topic_id: int, name: bytes) -> Tail:
        text = name.decode()
        for rule_pattern, rule in self._rules:
            if rule_pattern.matches(text):
                return Tail(topic_id, name, self._index.forgotten, rule.events, rule.age_s)
        return Tail(topic_id, name, self._index.forgotten, self.keep.events, self.keep.age_s)

    def forget_longest_silent(self) -> None:
        """Make room: a hundredth of the topics at once, for finding them costs a look at all."""
        tails = sorted(self._index.tails.values(), key=lambda tail: tail.seq)
        excess = len(tails) - self.keep.topics_max
        self._forget(tails[: max(excess, 1, len(tails) // 100)])

    def piece(self) -> bool:
        """One piece of work; whether there is more to do at once. Raises CannotCommit."""
        index = self._index
        if self._merge:
            self._go_on_merging(self._merge)
            return True
        if index.clock_s - self._forget_checked_s >= FORGET_CHECK_S:
            self._forget_checked_s = index.clock_s
            silent_s = index.clock_s - self.keep.forget_s
            if silent := [tail for tail in index.tails.values() if tail.heard_s < silent_s]:
                self._forget(silent)
                return True
        if not self._sweeping:
            if index.size > self.keep.size:
                self._squeeze(index.size - self.keep.size)
            elif not self._is_due():
                return False
            self._begin_sweep()
        return self._sweep() or index.size > self.keep.size

    def _squeeze(self, excess: int) -> None:
        """Give up the oldest `excess` bytes: all but the newest event of each topic, and then those."""
        chunks_now = self._index.chunks
        place = self._index.place_after(self._size_cut)
        if place == len(chunks_now):
            self.forget_longest_silent()
        while excess > 0 and place < len(chunks_now):
            self._size_cut = chunks_now[place].last
            excess -= chunks_now[place].size
            place += 1

    def _is_due(self) -> bool:
        events = self._index.head - self._swept_head
        return events >= SWEEP_EVENTS or self._index.clock_s - self._swept_s >= SWEEP_S

    def _begin_sweep(self) -> None:
        index = self._index
        self._sweeping, self._at = True, 0
        self._swept_head, self._swept_s = index.head, index.clock_s
        for age_s, cut in self._age_cuts.items():
            place = bisect_left(index.chunks, index.clock_s - age_s, key=lambda chunk: chunk.newest_s)
            if place:
                self._age_cuts[age_s] = max(cut, index.chunks[place - 1].last)

    def _cut(self, tail: Tail) -> int:
        return max(self._size_cut, self._age_cuts[tail.age_s])

    def _count_live(self, chunk: Chunk) -> int:
        by_id, live = self._index.by_id, 0
        for topic_id, events, nth, seq, _ in chunk.parts():
            tail = by_id.get(topic_id)
            if tail is None:
                continue
            if seq <= self._cut(tail):
                live += seq == tail.seq
            else:
                dead = tail.nth - tail.keep - nth + events
                live += events if dead <= 0 else max(events - dead, 0)
        return live

    def _is_dead(self, chunk: Chunk) -> bool:
        if chunk.topics:
            chunk.live = self._count_live(chunk)
            return chunk.live == 0
        # A hole, or a chunk that lost its summary: nobody can say what was in it, so age alone decides.
        return chunk.last <= max(self._size_cut, min(self._age_cuts.values()))

    def _sweep(self) -> bool:
        """Go on through the chunks up to the first thing to do, and do it; whether the sweep goes on."""
        index = self._index
        begin = run = self._at
        whole = live = looked = 0  # bytes of the run, as they are and without the dead; topics looked at
        while self._at < len(index.chunks) and looked < LOOKED_MAX:
            chunk = index.chunks[self._at]
            looked += SUMMARY_COST + chunk.topics
            if self._is_dead(chunk):
                self._remove_dead(looked)
                return True
            whole, live = whole + chunk.size, live + chunk.live_size
            if chunk.is_damaged or live > MAX_BYTES or whole > MERGE_READ_MAX or self._at - run >= RUN_MAX:
                if self._maybe_merge(run, self._at):
                    return True
                run = self._at + chunk.is_damaged
                whole, live = (0, 0) if chunk.is_damaged else (chunk.size, chunk.live_size)
            self._at += 1
        if self._maybe_merge(run, self._at):
            return True
        if self._at >= len(index.chunks):
            self._sweeping = False
        elif run > begin:
            self._at = run  # the run goes on in the next piece
        return self._sweeping

    def _remove_dead(self, looked: int) -> None:
        """The chunk at hand is dead: remove it, and those behind it that are."""
        index, stop = self._index, self._at + 1
        while stop < len(index.chunks) and stop - self._at < REMOVED_MAX and looked < LOOKED_MAX:
            looked += SUMMARY_COST + index.chunks[stop].topics
            if not self._is_dead(index.chunks[stop]):
                break
            stop += 1
        for chunk in index.chunks[self._at : stop]:
            for topic_id, _, nth, seq, _ in chunk.parts():
                if tail := index.by_id.get(topic_id):
                    tail.trim(seq, nth)
        self._replace(self._at, stop, None, index.chunks[stop - 1].last)

    def _maybe_merge(self, start: int, stop: int) -> bool:
        part = self._worth(start, stop)
        if part is None:
            return False
        self._merge = Merge(self._index.chunks[slice(*part)])
        return True

    def _worth(self, start: int, stop: int) -> tuple[int, int] | None:
        """The part of a run that is worth writing anew, as one chunk."""
        members = self._index.chunks
        while start < stop:
            sizes = [members[n].live_size for n in range(start, stop)]
            whole, live, largest = sum(members[n].size for n in range(start, stop)), sum(sizes), max(sizes)
            if whole >= 2 * live and whole - live >= 4096:
                return start, stop
            if stop - start >= MERGE_MIN and live >= MERGE_GROWTH * largest:
                return start, stop
            # One outweighs the others: they may be worth merging without it.
            heavy = start + sizes.index(largest)
            start, stop = (heavy + 1, stop) if stop - heavy > heavy - start else (start, heavy)
        return None

    def _go_on_merging(self, merge: Merge) -> None:
        index = self._index
        try:
            if not merge.go_on(self._reader.body, index.by_id, self._is_dead_event, MERGE_EVENTS):
                return
        except CorruptChunk:
            self._merge = None  # the chunk stays, as a range that is told; the next sweep goes around it
            return
        self._merge = None
        start = index.place_after(merge.members[0].first - 1)
        row = merge.maybe_row()
        self._replace(start, start + len(merge.members), row, merge.trimmed)
        merge.trim()
        self._at = start + (row is not None)

    def _is_dead_event(self, tail: Tail, seq: int, nth: int) -> bool:
        return seq != tail.seq and (seq <= self._cut(tail) or nth <= tail.nth - tail.keep)

    def _replace(self, start: int, stop: int, row: chunks.Row | None, trimmed: int) -> None:
        index = self._index
        gone = index.chunks[start:stop]
        change = Change(remove=[chunk.first for chunk in gone], add=[row] if row else [])
        forgotten = max([index.forgotten, *(chunk.last for chunk in gone if chunk.is_damaged)])
        trimmed = max(index.trimmed, trimmed)
        change.state["trimmed"] = str(trimmed)
        if forgotten > index.forgotten:
            # What was in it can no longer be told as a damaged range: `forgotten` goes on telling it.
            change.state["forgotten"] = str(forgotten)
        self._store.commit(change)
        index.forgotten = forgotten
        index.trimmed = trimmed
        for chunk in gone:
            self._reader.drop_body(chunk.first)
        index.replace(start, stop, [row.chunk()] if row else [])

    def _forget(self, tails: list[Tail]) -> None:
        forgotten = max(self._index.forgotten, *(tail.seq for tail in tails))
        self._store.commit(Change(forget=[tail.id for tail in tails], state={"forgotten": str(forgotten)}))
        for tail in tails:
            self._index.forget(tail)
        log.info("forgot topics=%d forgotten=%d", len(tails), forgotten)
