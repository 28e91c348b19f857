"""The log: all retained events in one order. No socket, no clock: time and boot come in.

`append` gives seq, prev and nth, commits, and returns what may be forwarded: whatever was seen is
in the log. Seqs are reserved in committed blocks, so that none is given twice, however a broker ended.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from secrets import randbits
from typing import Literal

from broker import chunk as chunks
from broker.chunk import ENTRY, MAX_BYTES, Chunk, Row
from broker.control import PAGE_BYTES, PAGE_EVENTS, TAILS_LIMIT, Head
from broker.errors import CannotCommit, LogError
from broker.index import Index, Tail
from broker.kept import Kept
from broker.loading import load
from broker.lock import Lock
from broker.publishers import Publishers
from broker.reader import Event, Range, Reader, Tail3
from broker.retention import Keep, Retention
from broker.selector import Selector
from broker.store import Change, Store
from broker.wire import FLAG_UNLOGGED, STAMP, VERSION

log = logging.getLogger(__name__)

Durability = Literal["power", "process", "memory"]
RESERVE = 100_000
_ENTRY_HEAD = tuple(VERSION << 56 | content << 49 for content in range(4))


def random_epoch() -> int:
    return randbits(64) or 1


class Log:
    """An open log; `Log.open` makes one."""

    def __init__(self, store: Store, index: Index, lock: Lock | None, keep: Keep, reserve: int) -> None:
        self._store, self._index, self._lock = store, index, lock
        self._reader = Reader(index, store)
        self._retention = Retention(index, store, self._reader, keep)
        self._reserve = reserve
        self._reserved = 0  # seqs up to here may be given out
        self._unsaved: list[tuple[int, bytes]] = []  # topics that wait for the next commit
        self._hole: Chunk | None = None  # events that went out unlogged, since the last commit
        self._clock_base_s = 0.0
        self._retention_waits: str | None = None  # why
        self.trouble: str | None = None  # why the store does not commit just now
        self.publishers = Publishers(store, index, keep.forget_s)
        self.kept = Kept(store, index)

    @classmethod
    def open(
        cls,
        path: str | Path,
        durability: Durability = "process",
        keep: Keep | None = None,
        *,
        boot_id: str,
        now_s: float,
        new_epoch: Callable[[], int] = random_epoch,
        reserve: int = RESERVE,
    ) -> Log:
        """The log at `path`, made if it is not there; in `memory` an empty one, and no file.

        Args:
            durability: `power` syncs every commit, `process` leaves that to the system.
            boot_id: this start of the machine. Under another one than the log was last open in, and
                without the mark of a clean stop, committed events may be gone, unless each commit was
                synced: a new epoch begins.
            now_s: a clock that never jumps; `maintain` gets the same one.
            reserve: seqs in a block; after an unclean stop the log goes on past the block.
        Raises:
            LogHeld, ForeignLog, LogError.
        """
        file = Path(path)
        with ExitStack() as on_failure:
            lock = None if durability == "memory" else on_failure.enter_context(closing(Lock(file)))
            store = Store(file if lock else None, is_synced=durability == "power")
            on_failure.callback(store.close)
            self = cls(store, Index(), lock, keep or Keep(), reserve)
            file_id = str(file.stat().st_ino) if lock else ""
            now = {"boot": boot_id, "file": file_id, "durability": durability}
            self.publishers.load()
            self.kept.load()
            load(store, self._index, lock, self._retention.new_tail, now, new_epoch)
            on_failure.pop_all()
        self._reserved = self._index.head
        self._clock_base_s = self._index.clock_s - now_s
        return self

    def append(self, batch: Sequence[tuple[bytes, bytes, int]], now_us: int) -> list[Event]:
        """Commit events (topic, payload, content type), sound ones; what to forward: topic, stamp, payload.

        While the store cannot commit, the events come back flagged unlogged, as many as there are
        seqs in reserve; the rest does not come back. The next commit notes their range as a hole.
        """
        index = self._index
        self._see_room(len(batch))
        batch = batch[: self._reserved - index.head]
        if not batch:
            return []
        rows, out = self._stamp(batch, now_us)
        return out if self._commit(rows, index.head + len(out)) else [_unlogged(event) for event in out]

    def append_confirmed(
        self, batch: Sequence[tuple[bytes, bytes, int]], now_us: int, kept: Change
    ) -> list[Event]:
        """As `append`, for events of which somebody will be told that they are logged.

        Args:
            kept: of who published them, committed with them. The seqs are those from `next_seq` on.
        Raises:
            CannotCommit: nothing of it has happened, and nothing may be forwarded.
        """
        index = self._index
        self._see_room(len(batch))
        if self._reserved - index.head < len(batch):
            raise CannotCommit(self._store.name, self.trouble or "no seq is left in reserve")
        rows, out = self._stamp(batch, now_us)
        try:
            self._write(rows, index.head + len(out), kept)
        except CannotCommit as error:
            self._suffer(str(error))
            self._unstamp(out)
            raise
        return out

    @property
    def next_seq(self) -> int:
        return self._index.head + 1

    def _see_room(self, count: int) -> None:
        """For so many events, as far as there can be any: topics and seqs."""
        if len(self._index.tails) > self._retention.keep.topics_max:
            self._make_room()
        if self._reserved - self._index.head < count:
            self._extend(count)

    def _stamp(self, batch: Sequence[tuple[bytes, bytes, int]], now_us: int) -> tuple[list[Row], list[Event]]:
        """The next places in the order, for as many; their chunks. The head stays until the commit."""
        index = self._index
        get, pack, epoch, seq, by_content = index.tails.get, ENTRY.pack, index.epoch, index.head, _ENTRY_HEAD
        rows: list[Row] = []
        out: list[Event] = []
        entries: list[bytes] = []
        payloads: list[bytes] = []
        ids: list[int] = []
        end = 0
        # The broker's hot loop, 1.0 µs an event: plain locals, one pack for stamp and entry together.
        for topic, payload, content in batch:
            tail = get(topic)
            if tail is None:
                tail = self._new_tail(topic)
            end += len(payload)
            if end + ENTRY.size * len(ids) > MAX_BYTES and ids:
                rows.append(self._row(entries, payloads, ids, seq, now_us))
                entries, payloads, ids, end = [], [], [], len(payload)
            seq += 1
            nth = tail.nth + 1
            entry = pack(by_content[content] + nth, epoch, seq, tail.seq, now_us, tail.id, end)
            tail.seq, tail.nth = seq, nth
            entries.append(entry)
            payloads.append(payload)
            ids.append(tail.id)
            out.append((topic, entry[:40], payload))
        if ids:
            rows.append(self._row(entries, payloads, ids, seq, now_us))
        return rows, out

    def _unstamp(self, out: Sequence[Event]) -> None:
        """Of events that nobody has seen: their topics stand where they stood."""
        for topic, stamp, _ in reversed(out):
            tail = self._index.tails[topic]
            tail.seq = chunks.prev_of(stamp)
            tail.nth -= 1
            if not tail.nth:  # its first, so it has begun with them
                self._index.forget(tail)
                self._unsaved.pop()  # the newest: they go in the order opposite to that in which they came

    def _row(
        self, entries: list[bytes], payloads: list[bytes], ids: list[int], last: int, now_us: int
    ) -> Row:
        by_id, clock_s = self._index.by_id, self._index.clock_s
        parts: list[chunks.Part] = []
        for topic_id, count in Counter(ids).items():
            tail = by_id[topic_id]
            tail.time_us, tail.heard_s = now_us, clock_s
            parts.append((topic_id, count, tail.nth, tail.seq, now_us))
        body = chunks.pack(entries, payloads)
        return Row.make(last - len(ids) + 1, last, clock_s, chunks.pack_summary(parts), body)

    def _commit(self, rows: list[Row], head: int) -> bool:
        """Store chunks that end at `head`; False if they became a hole."""
        index = self._index
        try:
            self._write(rows, head, Change())
        except CannotCommit as error:
            self._suffer(str(error))
            if self._hole is None:
                # Noted before any of them is seen: the next broker knows that there were some.
                log.error("unlogged from=%d why=%s", index.head + 1, error)
                if self._lock:
                    self._lock.note_unlogged(True)
                self._hole = Chunk(index.head + 1, index.head, index.clock_s, 0, None)
                index.add_chunk(self._hole)
            self._hole.last = index.head = head
            self._note_given(head)
            return False
        return True

    def _write(self, rows: list[Row], head: int, change: Change) -> None:
        """Commit chunks that end at `head`, and `change` with them. Raises CannotCommit."""
        index, hole = self._index, self._hole
        change.add += [Row.make(hole.first, hole.last, hole.newest_s, None, None), *rows] if hole else rows
        change.topics += self._unsaved
        self._store.commit(change)
        index.head = head
        if rows:
            self._note_given(head)
        self._unsaved, self._hole = [], None
        if self.trouble:
            log.info("commits again head=%d", head)
            self.trouble = None
        if hole and self._lock:
            self._lock.note_unlogged(False)
        for row in rows:
            index.add_chunk(row.chunk())
            self._reader.keep_body(row.first, row.body or b"")

    def _suffer(self, why: str) -> None:
        if self.trouble is None:
            log.error("cannot commit head=%d why=%s", self._index.head, why)
        self.trouble = why

    def _extend(self, count: int) -> None:
        """Reserve a block of seqs, at least `count`."""
        reserved = self._index.head + max(count, self._reserve)
        try:
            self._store.commit(Change(state={"reserved": str(reserved)}))
        except CannotCommit as error:
            self._suffer(str(error))
        else:
            self._reserved = reserved
            self._note_reserved(reserved)

    def _note_reserved(self, seq: int) -> None:
        if self._lock:
            self._lock.note_reserved(self._index.epoch, seq)

    def _note_given(self, seq: int) -> None:
        if self._lock:
            self._lock.note_given(self._index.epoch, seq)

    def _new_tail(self, name: bytes) -> Tail:
        tail = self._retention.new_tail(self._index.next_id, name)
        self._index.add_tail(tail)
        self._unsaved.append((tail.id, name))
        return tail

    def _make_room(self) -> None:
        try:
            self._retention.forget_longest_silent()
        except CannotCommit as error:
            self._suffer(str(error))

    def maintain(self, now_s: float) -> bool:
        """One bounded piece of retention and merging; True while there is more to do at once."""
        self._index.clock_s = max(self._index.clock_s, self._clock_base_s + now_s)
        if self._hole:
            return False  # nothing can be committed, and the hole at the end is in no file yet
        self._store.checkpoint()
        try:
            more = self.publishers.forget() or self.kept.note_uses() or self._retention.piece()
        except LogError as error:
            if self._retention_waits != str(error):  # once, and not ten times a second
                log.warning("retention waits: %s", error)
            self._retention_waits = str(error)
            return False
        self._retention_waits = None
        return more

    def head(self, drops: int = 0) -> Head:
        index = self._index
        return Head(
            epoch=f"{index.epoch:016x}",
            head=index.head,
            oldest=index.oldest,
            forgotten=index.forgotten,
            trimmed=index.trimmed,
            start=index.start,
            drops=drops,
        )

    @property
    def clock_s(self) -> float:
        """The log's age: seconds that brokers have run on it."""
        return self._index.clock_s

    @property
    def epoch(self) -> int:
        return self._index.epoch

    @property
    def topic_count(self) -> int:
        return len(self._index.tails)

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return self._index.size

    @property
    def is_overfull(self) -> bool:
        """Retention is behind: the log is a tenth larger than it may be."""
        return self._index.size > self._retention.keep.size * 1.1

    @property
    def known(self) -> dict[bytes, Tail]:
        """Topics that need no check any more; to be read only."""
        return self._index.tails

    def replay(
        self,
        select: Selector,
        after: int,
        upto: int | None = None,
        limit: int = PAGE_EVENTS,
        max_bytes: int = PAGE_BYTES,
    ) -> tuple[list[Event], int, list[Range]]:
        """See Reader.replay."""
        return self._reader.replay(select, after, upto, limit, max_bytes)

    def holes(self, select: Selector, after: int, upto: int | None = None) -> list[Tail3]:
        """See Reader.holes."""
        return self._reader.holes(select, after, upto)

    def newest(
        self,
        select: Selector,
        after: int,
        upto: int | None = None,
        limit: int = PAGE_EVENTS,
        max_bytes: int = PAGE_BYTES,
    ) -> tuple[list[Event], int, list[Range]]:
        """See Reader.newest."""
        return self._reader.newest(select, after, upto, limit, max_bytes)

    def last(
        self, select: Selector, count: int = 1, upto: int | None = None, limit: int = PAGE_EVENTS
    ) -> tuple[list[Event], bool, list[Range]]:
        """See Reader.last."""
        return self._reader.last(select, count, upto, limit)

    def tails(self, select: Selector, after: int, limit: int = TAILS_LIMIT) -> tuple[list[Tail3], int]:
        """See Reader.tails."""
        return self._reader.tails(select, after, limit)

    def topics(self, select: Selector, after: bytes = b"", limit: int = 1_000) -> tuple[list[Tail], bool]:
        """See Reader.topics."""
        return self._reader.topics(select, after, limit)

    def close(self) -> None:
        """Leaves the mark of a clean stop: the next broker goes on at the next seq."""
        index = self._index
        change = Change(state={"reserved": str(index.head), "clock_s": repr(index.clock_s), "clean": "1"})
        if self._commit([], index.head):
            if self._lock:
                # Synced before the mark: a lock that says more than the log is that of an older copy.
                self._lock.note_reserved(index.epoch, index.head, is_synced=True)
            try:
                self._store.commit(change, durable=True)
            except CannotCommit as error:
                log.error("no mark of a clean stop: %s", error)
        self.abandon()

    def abandon(self) -> None:
        """Lets go of the files and leaves no mark, as a kill does."""
        self._store.close()
        if self._lock:
            self._lock.close()


def _unlogged(event: Event) -> Event:
    topic, stamp, payload = event
    version, flags, *rest = STAMP.unpack(stamp)
    return topic, STAMP.pack(version, flags | FLAG_UNLOGGED, *rest), payload
