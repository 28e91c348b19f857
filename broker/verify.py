"""The whole of a log, read and compared with itself: what is damaged, and what it has.

Also beside a broker that writes: what is looked at is one moment of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from struct import error as StructError
from typing import NamedTuple

from msgspec import Struct

from broker import chunk as chunks
from broker.chunk import ENTRY, Chunk
from broker.errors import BadTopic
from broker.lock import Notes, read_notes
from broker.producers import maybe_unpack
from broker.tables import Tables, reading
from broker.topics import check_topic

Progress = Callable[[int, int], None]  # chunks looked at, of so many
_NTH_MASK = (1 << 48) - 1


class Damaged(NamedTuple):
    """Events that cannot be read any more, among these seqs."""

    first: int
    last: int
    why: str


class Report(Struct, frozen=True, kw_only=True):
    path: str
    epoch: str
    start: int  # the head at which this epoch began
    head: int
    oldest: int  # head + 1 when nothing is kept
    events: int
    topics: int
    log_bytes: int  # of all chunks
    producers: int
    keys: int
    kept: int  # values of gateways
    damaged: list[Damaged]
    faults: list[str]  # what else is wrong, in words; no event is lost by it
    unlogged: list[tuple[int, int]]  # went out while the disk was full: no damage

    @property
    def is_sound(self) -> bool:
        return not (self.damaged or self.faults)

    def lines(self) -> Iterator[str]:
        """One a finding, and the sum."""
        for first, last, why in self.damaged:
            yield f"damaged first={first} last={last} why={why}"
        yield from (f"fault {fault}" for fault in self.faults)
        yield from (f"unlogged first={first} last={last}" for first, last in self.unlogged)
        yield (
            f"{'sound' if self.is_sound else 'damaged'} log={self.path} epoch={self.epoch} head={self.head} "
            f"oldest={self.oldest} events={self.events} topics={self.topics} bytes={self.log_bytes} "
            f"producers={self.producers} keys={self.keys} kept={self.kept}"
        )


def verify(path: Path, progress: Progress = lambda done, of: None) -> Report:
    """Raises ForeignLog, LogError: of what cannot be read at all."""
    # Read before the moment that is looked at: what was given out by now must be in it.
    notes = read_notes(path)
    with reading(path) as tables:
        return _Verification(tables, path.stat().st_ino, notes).report(progress)


class _Verification:
    def __init__(self, tables: Tables, file_id: int, notes: Notes) -> None:
        self._tables, self._file_id, self._notes = tables, str(file_id), notes
        self._damaged: list[Damaged] = []
        self._faults: list[str] = []
        self._unlogged: list[tuple[int, int]] = []
        self._events = self._size = 0
        self._last = 0  # seq of the newest event, or end of the newest range
        self._oldest = 0
        self._is_unread = False  # a row before this one could not be read
        self._topics: dict[int, tuple[int, int]] = {}  # id -> seq and nth of its newest event

    def report(self, progress: Progress) -> Report:
        tables = self._tables
        self._faults += (f"file: {fault}" for fault in tables.faults())
        found = tables.read_state()
        if found is None:
            self._faults.append("state: does not match its checksum")
        state = found or {}
        rows = list(tables.summaries())
        for done, row in enumerate(rows, 1):
            self._chunk(*row)
            progress(done, len(rows))
        epoch, reserved, forgotten = (
            state.get("epoch", ""),
            int(state.get("reserved", 0)),
            int(state.get("forgotten", 0)),
        )
        if self._is_unread:
            self._damage(self._last + 1, max(reserved, self._last + 1), "summary and body")
        # Of a copy the lock beside it says nothing.
        elif state.get("file") == self._file_id and self._notes.given(epoch) > max(self._last, forgotten):
            self._damage(self._last + 1, self._notes.given(epoch), "commits that the file lacks")
        if found and self._last > reserved:
            self._faults.append(f"state: reserved={reserved}, but there is seq {self._last}")
        self._names(forgotten)
        self._publishers()
        # While a broker runs, and after a kill, `reserved` is only as far as seqs may have been given.
        head = reserved if state.get("clean") == "1" else self._last
        return Report(
            path=tables.name,
            epoch=epoch,
            start=int(state.get("start", 0)),
            head=head,
            oldest=self._oldest or head + 1,
            events=self._events,
            topics=len(self._topics),
            log_bytes=self._size,
            producers=len(tables.producers()),
            keys=tables.key_count(),
            kept=len(tables.kept()),
            damaged=self._damaged,
            faults=self._faults,
            unlogged=self._unlogged,
        )

    def _damage(self, first: int, last: int, why: str) -> None:
        self._damaged.append(Damaged(first, last, why))

    def _chunk(
        self, first: int, last: int, newest_s: float, check: int, summary: bytes | None, _: int
    ) -> None:
        found, body = self._tables.body(first)
        try:
            is_summary = check == chunks.check(first, last, newest_s, summary or b"")
            is_body = body is not None and found == chunks.check(first, last, newest_s, body)
        except (StructError, TypeError):
            is_summary = is_body = False
        if first <= self._last or not (is_summary or is_body):
            # Its numbers may be what is wrong: up to where is told by the next one that can be read.
            self._is_unread = True
            return
        if self._is_unread:
            self._damage(self._last + 1, first - 1, "summary and body")
            self._is_unread = False
        if body is not None and is_body:
            try:
                self._body(first, last, body)
                is_summary = is_summary and chunks.summarize(body) == summary
            except StructError:
                self._damage(first, last, "form of the body")  # it was written so, by whom ever
            else:
                if not is_summary:
                    fault = f"summary of first={first} last={last}: made anew when the log is opened"
                    self._faults.append(fault)
        elif summary is None:
            self._unlogged.append((first, last))
        else:
            self._damage(first, last, "body")
            for topic_id, _events, nth, seq, _time_us in Chunk(first, last, newest_s, 0, summary).parts():
                self._topics[topic_id] = seq, nth
        self._oldest = self._oldest or first
        self._last = last

    def _body(self, first: int, last: int, body: bytes) -> None:
        """Of a chunk whose checksum is right: whether it was right when it was written."""
        count = chunks.count(body)
        entries = memoryview(body)[chunks.COUNT.size : chunks.COUNT.size + ENTRY.size * count]
        newest = self._last
        for head, _epoch, seq, prev, _time_us, topic_id, _end in ENTRY.iter_unpack(entries):
            nth = head & _NTH_MASK
            before, nth_before = self._topics.get(topic_id, (0, 0))
            if not newest < seq <= last:
                self._faults.append(f"order: seq {seq} after {newest}, in first={first} last={last}")
            # Retention may have removed some between them; then both numbers tell.
            is_next = nth == nth_before + 1
            if before and (nth <= nth_before or prev < before or is_next != (prev == before)):
                self._faults.append(
                    f"chain: seq {seq} with prev={prev} nth={nth} after seq {before} with nth={nth_before}"
                )
            newest = seq
            self._topics[topic_id] = seq, nth
        self._events += count
        self._size += len(body)

    def _names(self, forgotten: int) -> None:
        names: dict[int, bytes] = {}
        for topic_id, name in self._tables.topics():
            if name is None:
                self._faults.append(f"topic id={topic_id}: does not match its checksum")
                continue
            names[topic_id] = name
            try:
                check_topic(name.decode())
            except (BadTopic, UnicodeDecodeError) as error:
                self._faults.append(f"topic id={topic_id}: {error}")
        if len(set(names.values())) < len(names):
            self._faults.append("topics: two have the same name")
        for topic_id, (seq, _) in self._topics.items():
            # Events of a topic that was forgotten stay until their chunk goes.
            if topic_id not in names and seq > forgotten:
                self._faults.append(f"topic id={topic_id}: has no name, and events up to seq {seq}")
        self._topics = {topic_id: self._topics.get(topic_id, (0, 0)) for topic_id in names}

    def _publishers(self) -> None:
        for name, kept in self._tables.producers():
            if maybe_unpack(name, kept) is None:
                self._faults.append(f"producer {name!r}: does not match its checksum; it begins anew")
        for number in self._tables.damaged_keys():
            self._faults.append(f"key number={number}: does not match its checksum")
        for number, item in self._tables.kept():
            if item is None:
                self._faults.append(f"kept number={number}: does not match its checksum; it is dropped")
