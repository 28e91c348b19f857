"""A log's file read into an index, once, when a broker opens it: what is there, what is damaged, and
whether it is the same log as before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from struct import error as StructError

from broker import chunk as chunks
from broker.chunk import Chunk, Row
from broker.index import Index, Tail
from broker.lock import Lock
from broker.store import Change, Store

log = logging.getLogger(__name__)

NewTail = Callable[[int, bytes], Tail]


def load(
    store: Store,
    index: Index,
    lock: Lock | None,
    new_tail: NewTail,
    now: Mapping[str, str],
    new_epoch: Callable[[], int],
) -> None:
    """Fill the index; and leave word in the file that a broker has it open.

    Args:
        lock: None for a log in memory.
        now: boot, file and durability, as the state has them of the broker before.
    Raises:
        LogError: the file cannot be read; CannotCommit: or not written.
    """
    _Loading(store, index, lock, store.maybe_state()).load(new_tail, now, new_epoch)


class _Loading:
    def __init__(
        self, store: Store, index: Index, lock: Lock | None, found: Mapping[str, str] | None
    ) -> None:
        self._store, self._index, self._lock = store, index, lock
        self._found = found
        self._state = found or {}
        self._change = Change()

    def load(self, new_tail: NewTail, now: Mapping[str, str], new_epoch: Callable[[], int]) -> None:
        index, state, change = self._index, self._state, self._change
        index.forgotten = int(state.get("forgotten", 0))
        index.trimmed = int(state.get("trimmed", 0))
        index.clock_s = float(state.get("clock_s", 0))
        for topic_id, name in self._store.topics():
            if name is None:
                change.forget.append(topic_id)
            else:
                index.add_tail(new_tail(topic_id, name))
        reserved = int(state.get("reserved", 0))
        given = self._lock.before.given(state.get("epoch", "")) if self._lock else 0
        # After a power cut the lock may say too little.
        self._load_chunks(given if given and state.get("boot") == now["boot"] else reserved)
        last = index.chunks[-1].last if index.chunks else 0
        index.head = max(reserved, last)
        is_another = self._begin_epoch(now, reserved, new_epoch)
        if hole := self._maybe_lost(last, 0 if is_another else given):
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
        if self._lock:
            self._lock.note_reserved(index.epoch, index.head)
            self._lock.sync_folder()
            if self._lock.before.is_unlogged:
                self._lock.note_unlogged(False)

    def _load_chunks(self, end: int) -> None:
        """And from them how far each topic is."""
        index, forgotten = self._index, self._index.forgotten
        nameless: dict[int, int] = {}  # topic id -> seq of its newest event
        for chunk in self._chunks(end):
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

    def _chunks(self, end: int) -> Iterator[Chunk]:
        """In order. What cannot be read is a hole up to the next sound chunk, or to `end`: its own numbers
        may be what is wrong. Rows that stand where they cannot be are removed.
        """
        before, damaged = 0, list[int]()
        for row in self._store.summaries():
            chunk = self._maybe_chunk(*row)
            if chunk is None or chunk.first <= before:
                damaged.append(row[0])
                continue
            yield from self._holes(before, chunk.first - 1, damaged)
            yield chunk
            before, damaged = chunk.last, []
        yield from self._holes(before, end, damaged)

    def _holes(self, before: int, upto: int, damaged: list[int]) -> Iterator[Chunk]:
        """One for each damaged row, by its number, for retention removes it by that; all from `before` on."""
        if not damaged:
            return
        log.error("damaged first=%d last=%d why=summary and body", before + 1, upto)
        astray = [first for first in damaged if not before < first <= upto]
        self._change.remove += astray
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

    def _begin_epoch(self, now: Mapping[str, str], reserved: int, new_epoch: Callable[[], int]) -> bool:
        """Whether it is another one than before."""
        index, state = self._index, self._state
        why = "its state is damaged" if self._found is None else self._why_another(now, reserved)
        if why:
            index.epoch, index.start = new_epoch(), index.head
            if self._found != {}:
                log.warning("new epoch=%016x after seq %d: %s", index.epoch, index.head, why)
            return True
        index.epoch, index.start = int(state["epoch"], 16), int(state["start"])
        if state["clean"] != "1":
            log.warning("unclean stop: goes on after seq %d", index.head)
        return False

    def _why_another(self, now: Mapping[str, str], reserved: int) -> str | None:
        """Why the file may lack what was seen of its log, so that it is another one from now on."""
        state = self._state
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
