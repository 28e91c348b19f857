"""What the log keeps in memory: where each topic stands, and the range and summary of each chunk. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from broker.chunk import Chunk
from broker.selector import Selector

_BEYOND = b"\xff"  # in UTF-8 there is no such byte


class Tail:
    """Where a topic stands."""

    __slots__ = ("age_s", "heard_s", "id", "keep", "name", "nth", "seq", "time_us", "trimmed", "trimmed_nth")

    def __init__(self, topic_id: int, name: bytes, prev: int, keep: int, age_s: float) -> None:
        self.id, self.name = topic_id, name
        self.seq = prev  # of its newest event; what was forgotten while there is none
        self.nth = 0
        self.time_us = 0
        self.heard_s = 0.0  # age clock of the log when its newest event came
        self.keep, self.age_s = keep, age_s  # retention: newest events kept, seconds
        self.trimmed = self.trimmed_nth = 0  # seq and nth of the newest that retention removed

    def trim(self, seq: int, nth: int) -> None:
        """Retention removes this event, and with it or earlier all before it."""
        if seq > self.trimmed:
            self.trimmed, self.trimmed_nth = seq, nth


class Index:
    """Tails and chunks, and the numbers that name the log's place. Not thread-safe."""

    def __init__(self) -> None:
        self.epoch = 0
        self.start = 0  # the head at which this epoch began
        self.head = 0
        self.forgotten = 0
        self.trimmed = 0  # largest seq that retention has removed, or may have
        self.clock_s = 0.0  # seconds that brokers have run on this log: jumps with no wall clock
        self.tails: dict[bytes, Tail] = {}
        self.by_id: dict[int, Tail] = {}
        self.next_id = 1
        self.chunks: list[Chunk] = []  # in order, ranges apart from each other
        self.size = 0  # bytes of all bodies
        self._names: list[bytes] | None = None

    @property
    def oldest(self) -> int:
        return self.chunks[0].first if self.chunks else self.head + 1

    @property
    def names(self) -> list[bytes]:
        """All topics in order."""
        if self._names is None:
            self._names = sorted(self.tails)
        return self._names

    def names_from(self, starts: Sequence[bytes]) -> list[bytes]:
        """The topics that begin with one of these: in order, if they are, and none begins with another."""
        names = self.names
        if b"" in starts:
            return names
        found: list[bytes] = []
        for start in starts:
            found += names[bisect_left(names, start) : bisect_left(names, start + _BEYOND)]
        return found

    def add_tail(self, tail: Tail) -> None:
        self.tails[tail.name] = self.by_id[tail.id] = tail
        self.next_id = max(self.next_id, tail.id + 1)
        self._names = None

    def forget(self, tail: Tail) -> None:
        del self.tails[tail.name], self.by_id[tail.id]
        self.forgotten = max(self.forgotten, tail.seq)
        self._names = None

    def add_chunk(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.size += chunk.size

    def replace(self, at: int, until: int, chunks: list[Chunk]) -> None:
        """Put `chunks` in the place of those number `at` to `until - 1`."""
        self.size += sum(c.size for c in chunks) - sum(c.size for c in self.chunks[at:until])
        self.chunks[at:until] = chunks

    def place_after(self, seq: int) -> int:
        """The number of the first chunk that reaches beyond `seq`."""
        return bisect_right(self.chunks, seq, key=lambda chunk: chunk.last)

    def maybe_chunk(self, seq: int) -> Chunk | None:
        """The chunk in whose range `seq` lies."""
        at = self.place_after(seq - 1)
        if at < len(self.chunks) and self.chunks[at].first <= seq:
            return self.chunks[at]
        return None

    def changed_after(self, seq: int) -> list[Tail]:
        """The tails beyond `seq`, in no order."""
        # Usually few topics changed in the last second: their chunks name them. When the chunks name
        # more than there are topics, asking each topic is cheaper.
        at = len(self.chunks)
        ids: set[int] = set()
        looked = 0
        while at and self.chunks[at - 1].last > seq:
            at -= 1
            looked += self.chunks[at].topics
            if self.chunks[at].is_damaged or looked > len(self.tails):
                return [tail for tail in self.tails.values() if tail.seq > seq]
            ids.update(self.chunks[at].ids)
        found = (self.by_id.get(topic_id) for topic_id in ids)
        return [tail for tail in found if tail and tail.seq > seq]


class Wanted(dict[int, bytes]):
    """Topic id to name for a selector, b"" for topics it does not want; filled as it is asked."""

    def __init__(self, index: Index, select: Selector) -> None:
        super().__init__()
        self._by_id, self._matches = index.by_id, select.matches

    def __missing__(self, topic_id: int) -> bytes:
        tail = self._by_id.get(topic_id)
        name = self[topic_id] = tail.name if tail and self._matches(tail.name) else b""
        return name
