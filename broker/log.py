"""The log: all retained events in one order. No socket, no clock: time and boot come in.

`append` gives seq, prev and nth, commits, and returns what may be forwarded: whatever was seen is
in the log. Seqs are reserved in committed blocks, so that none is given twice, however a broker ended.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from secrets import randbits
from struct import error as StructError
from typing import Literal

from broker import chunk as chunks
from broker.chunk import ENTRY, MAX_BYTES, Chunk, Row
from broker.control import PAGE_BYTES, PAGE_EVENTS, TAILS_LIMIT, Head
from broker.errors import CannotCommit, LogError
from broker.index import Index, Tail
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
        lock = None if durability == "memory" else Lock(file)
        try:
            store = Store(file if lock else None, is_synced=durability == "power")
            try:
                self = cls(store, Index(), lock, keep or Keep(), reserve)
                file_id = str(file.stat().st_ino) if lock else ""
                self._load({"boot": boot_id, "file": file_id, "durability": durability}, new_epoch)
            except BaseException:
                store.close()
                raise
        except BaseException:
            if lock:
                lock.close()
            raise
        self._clock_base_s = self._index.clock_s - now_s
        return self

    def _load(self, now: dict[str, str], new_epoch: Callable[[], int]) -> None:
        """`now`: boot, file and durability, as the state has them of the broker before."""
        index, found, change = self._index, self._store.maybe_state(), Change()
        state = found or {}
        index.forgotten = forgotten = int(state.get("forgotten", 0))
        index.trimmed = int(state.get("trimmed", 0))
        index.clock_s = float(state.get("clock_s", 0))
        for topic_id, name in self._store.topics():
            if name is None:
                change.forget.append(topic_id)
            else:
                index.add_tail(self._retention.new_tail(topic_id, name))
        self.publishers.load()
        reserved = int(state.get("reserved", 0))
        given = self._lock.before.given(state.get("epoch", "")) if self._lock else 0
        # After a power cut the lock may say too little.
        end = given if given and state.get("boot") == now["boot"] else reserved
        nameless: dict[int, int] = {}  # topic id -> seq of its newest event
        for chunk in self._load_chunks(end, change.remove):
            index.add_chunk(chunk)
            index.clock_s = max(index.clock_s, chunk.newest_s)
            for topic_id, events, nth, seq, time_us in chunk.parts():
                if tail := index.by_id.get(topic_id):
                    if nth - events > tail.nth:
                        # Some before these were removed. How far, the body knows, which is not read
                        # here: this is no less, and a gap told too often beats one untold.
                        tail.trim(min(seq - 1, index.trimmed), nth - events)
                    tail.nth, tail.seq, tail.time_us, tail.heard_s = nth, seq, time_us, chunk.newest_s
                elif seq > forgotten:
                    nameless[topic_id] = seq
                index.next_id = max(index.next_id, topic_id + 1)
        for topic_id, seq in nameless.items():
            log.error("damaged topic id=%d last=%d: told as forgotten", topic_id, seq)
            index.forgotten = max(index.forgotten, seq)
        last = index.chunks[-1].last if index.chunks else 0
        index.head = self._reserved = max(reserved, last)
        why = "its state is damaged" if found is None else self._why_another(state, now, reserved)
        if why:
            index.epoch, index.start = new_epoch(), index.head
            if found != {}:
                log.warning("new epoch=%016x after seq %d: %s", index.epoch, index.head, why)
        else:
            index.epoch, index.start = int(state["epoch"], 16), int(state["start"])
            if state["clean"] != "1":
                log.warning("unclean stop: goes on after seq %d", index.head)
        if hole := self._maybe_lost(last, 0 if why else given):
            change.add.append(hole)
            index.add_chunk(hole.chunk())
        change.state = {
            **now,
            "epoch": f"{index.epoch:016x}",
            "start": str(index.start),
            "reserved": str(index.head),
            "forgotten": str(index.forgotten),
            "clean": "0",
        }
        # Durable: a mark of a clean stop that came back with the power would vouch for events that did not.
        self._store.commit(change, durable=True)
        self._note_reserved(index.head)
        if self._lock:
            self._lock.sync_folder()
            if self._lock.before.is_unlogged:
                self._lock.note_unlogged(False)

    def _why_another(self, state: Mapping[str, str], now: Mapping[str, str], reserved: int) -> str | None:
        """Why the file may lack what was seen of its log, so that it is another one from now on."""
        if not state:
            return "it has just been made"
        if state.get("file") != now["file"]:
            return "the file is a copy"
        if self._lock and self._lock.before.reserved(state.get("epoch", "")) > reserved:
            return "an older copy was written over the file, or its -wal is gone or damaged"
        was_synced = state.get("durability") == "power"
        if state.get("clean") != "1" and state.get("boot") != now["boot"] and not was_synced:
            return "the machine stopped, not the broker first: the last events may be gone"
        return None

    def _maybe_lost(self, last: int, given: int) -> Row | None:
        """What the broker before gave out beyond `last` and no chunk has, as a hole."""
        index = self._index
        if self._lock and self._lock.before.is_unlogged:
            upto = index.head  # it went on while the disk was full: nobody knows how far
        elif given > max(last, index.forgotten):
            # They were committed. Of its write-ahead log SQLite leaves out what follows a flipped bit.
            upto = min(given, index.head)
            log.error("damaged first=%d last=%d why=commits that the file lacks", last + 1, upto)
        else:
            return None
        return Row.make(last + 1, upto, index.clock_s, None, None) if upto > last else None

    def _load_chunks(self, end: int, astray: list[int]) -> Iterator[Chunk]:
        """In order. What cannot be read is a hole up to the next sound chunk, or to `end`: its own numbers
        may be what is wrong. `astray` gets those that stand where they cannot be."""
        before, damaged = 0, list[int]()
        for row in self._store.summaries():
            chunk = self._maybe_chunk(*row)
            if chunk is None or chunk.first <= before:
                damaged.append(row[0])
                continue
            yield from self._holes(before, chunk.first - 1, damaged, astray)
            yield chunk
            before, damaged = chunk.last, []
        yield from self._holes(before, end, damaged, astray)

    def _holes(self, before: int, upto: int, damaged: list[int], astray: list[int]) -> Iterator[Chunk]:
        """One for each damaged row, by its number, for retention removes it by that; all from `before` on."""
        if not damaged:
            return
        log.error("damaged first=%d last=%d why=summary and body", before + 1, upto)
        astray += [first for first in damaged if not before < first <= upto]
        firsts = {before + 1, *damaged}.difference(astray)
        for first, after in pairwise([*sorted(firsts), upto + 1]):
            if first < after:
                yield Chunk(first, after - 1, self._index.clock_s, 0, None)

    def _maybe_chunk(
        self, first: int, last: int, newest_s: float, check: int, summary: bytes | None, size: int
    ) -> Chunk | None:
        """The chunk of a row, its summary made anew from the body if it is damaged; None if both are."""
        try:
            if check == chunks.check(first, last, newest_s, summary or b""):
                return Chunk(first, last, newest_s, size or 0, summary)
            found, body = self._store.body(first)
            if body is not None and found == chunks.check(first, last, newest_s, body):
                return Chunk(first, last, newest_s, len(body), chunks.summarize(body))
        except (StructError, TypeError):
            pass  # numbers and bytes that are none any more
        return None

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
            more = self.publishers.forget() or self._retention.piece()
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
