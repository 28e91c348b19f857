"""Reading the log in bounded pages: replay, newest and last values, tails, topics."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from struct import Struct

from broker import chunk as chunks
from broker.chunk import Chunk
from broker.control import PAGE_BYTES, PAGE_EVENTS, TAILS_LIMIT
from broker.errors import CorruptChunk
from broker.index import Index, Tail, Wanted
from broker.selector import Selector
from broker.store import Store

log = logging.getLogger(__name__)

Event = tuple[bytes, bytes, bytes]  # topic, stamp, payload
Range = tuple[int, int]
Tail3 = tuple[str, int, int]  # topic, seq and nth of its newest event

# A page reads at most so many chunks, and looks at the topics of so many: about 20 ms of the loop.
READ_MAX = 64
TOPICS_LOOKED_MAX = 200_000
# Last values may lie in a chunk each.
LAST_READ_MAX = 256
LAST_BYTES = 8 << 20
_RECORD_BYTES = 46
_CACHED = 32
_PREV = Struct(">24xQ8x")
_EPOCH = Struct(">Q")


class Reader:
    """Pages of a log. What it cannot read it tells as a range; it never leaves it out silently."""

    def __init__(self, index: Index, store: Store) -> None:
        self._index, self._store = index, store
        self._bodies: OrderedDict[int, bytes] = OrderedDict()

    def keep_body(self, first: int, body: bytes) -> None:
        """The newest chunks are read most, and just now they are at hand."""
        self._bodies[first] = body
        if len(self._bodies) > _CACHED:
            self._bodies.popitem(last=False)

    def drop_body(self, first: int) -> None:
        self._bodies.pop(first, None)

    def body(self, chunk: Chunk) -> bytes:
        """Raises CorruptChunk."""
        body = self._bodies.get(chunk.first)
        if body is not None:
            self._bodies.move_to_end(chunk.first)
            return body
        if chunk.is_damaged:
            raise CorruptChunk(chunk.first, chunk.last, "known")
        found, body = self._store.body(chunk.first)
        if body is None or chunks.check(chunk.first, chunk.last, chunk.newest_s, body) != found:
            chunk.is_damaged = True
            error = CorruptChunk(chunk.first, chunk.last, "checksum" if body else "unreadable")
            log.error("damaged first=%d last=%d why=%s", chunk.first, chunk.last, error)
            raise error
        self.keep_body(chunk.first, body)
        return body

    def events(self, chunk: Chunk, body: bytes, start: int, stop: int) -> Iterator[chunks.Event]:
        return self._told(chunk, chunks.events(body, start, stop))

    def _told(self, chunk: Chunk, events: Iterator[chunks.Event]) -> Iterator[chunks.Event]:
        if chunk.first > self._index.start:
            return events
        # From before this epoch: the events are the same, their positions are told in this one's name.
        epoch = _EPOCH.pack(self._index.epoch)
        return ((stamp[:8] + epoch + stamp[16:], topic_id, payload) for stamp, topic_id, payload in events)

    def replay(
        self,
        select: Selector,
        after: int,
        upto: int | None = None,
        limit: int = PAGE_EVENTS,
        max_bytes: int = PAGE_BYTES,
    ) -> tuple[list[Event], int, list[Range]]:
        """Events with after < seq <= upto, through which seq they are complete, and damaged ranges.

        When nothing is left, `through` is the lesser of `upto` and the head.
        """
        index = self._index
        upto = index.head if upto is None else min(upto, index.head)
        if upto <= after:
            return [], upto, []
        wanted = Wanted(index, select)
        events: list[Event] = []
        damaged: list[Range] = []
        size = read = looked = 0
        for at in range(index.place_after(after), len(index.chunks)):
            chunk = index.chunks[at]
            if chunk.first > upto:
                break
            looked += chunk.topics
            if looked > TOPICS_LOOKED_MAX or read >= READ_MAX:
                return events, max(after, chunk.first - 1), damaged
            if chunk.topics and not any(map(wanted.__getitem__, chunk.ids)):
                continue
            read += 1
            try:
                body = self.body(chunk)
            except CorruptChunk:
                damaged.append((max(chunk.first, after + 1), min(chunk.last, upto)))
                continue
            start = chunks.place_after(body, after) if chunk.first <= after else 0
            stop = chunks.place_after(body, upto) if chunk.last > upto else chunks.count(body)
            for stamp, topic_id, payload in self.events(chunk, body, start, stop):
                if name := wanted[topic_id]:
                    size += len(payload) + len(name) + _RECORD_BYTES
                    if events and (len(events) >= limit or size > max_bytes):
                        return events, chunks.seq_of(stamp) - 1, damaged
                    events.append((name, stamp, payload))
        return events, upto, damaged

    def newest(
        self,
        select: Selector,
        after: int,
        upto: int | None = None,
        limit: int = PAGE_EVENTS,
        max_bytes: int = PAGE_BYTES,
    ) -> tuple[list[Event], int, list[Range]]:
        """The newest event of each matching topic that changed after `after`, if its seq is <= `upto`,
        oldest first; through which seq they are complete, and damaged ranges.

        Goes through the summaries: a chunk is read, once, only where it has the newest of a topic.
        """
        index = self._index
        upto = index.head if upto is None else min(upto, index.head)
        if upto <= after:
            return [], upto, []
        wanted, by_id = Wanted(index, select), index.by_id
        events: list[Event] = []
        damaged: list[Range] = []
        size = read = looked = 0
        for at in range(index.place_after(after), len(index.chunks)):
            chunk = index.chunks[at]
            if chunk.first > upto:
                break
            looked += chunk.topics
            if looked > TOPICS_LOOKED_MAX or read >= READ_MAX:
                return events, max(after, chunk.first - 1), damaged
            here = [
                seq
                for topic_id, seq in chunk.newest()
                if after < seq <= upto
                and (tail := by_id.get(topic_id))
                and tail.seq == seq
                and wanted[topic_id]
            ]
            if chunk.topics and not here:
                continue
            read += 1
            try:
                body = self.body(chunk)
            except CorruptChunk:
                damaged.append((max(chunk.first, after + 1), min(chunk.last, upto)))
                continue
            here.sort()
            for stamp, topic_id, payload in self._told(chunk, chunks.pick(body, here)):
                name = wanted[topic_id]
                size += len(payload) + len(name) + _RECORD_BYTES
                if events and (len(events) >= limit or size > max_bytes):
                    return events, chunks.seq_of(stamp) - 1, damaged
                events.append((name, stamp, payload))
        return events, upto, damaged

    def holes(self, select: Selector, after: int, upto: int | None = None) -> list[Tail3]:
        """What retention removed of after < seq <= upto: of each matching topic, seq and nth of the
        newest that is gone; an nth of 0 where that one is beyond `upto`. A replay of the same stretch
        has all the rest."""
        index = self._index
        if index.trimmed <= after:
            return []
        upto = index.head if upto is None else upto
        return [
            (tail.name.decode(), min(tail.trimmed, upto), tail.trimmed_nth if tail.trimmed <= upto else 0)
            for tail in self._matching(select)
            if tail.trimmed > after
        ]

    def last(
        self, select: Selector, count: int = 1, upto: int | None = None, limit: int = PAGE_EVENTS
    ) -> tuple[list[Event], bool, list[Range]]:
        """The newest `count` events of each matching topic with seq <= upto, in order; whether some
        were left out, and damaged ranges.

        Walks back along each topic's `prev`, the newest place first, so each chunk is read once.
        """
        index = self._index
        upto = index.head if upto is None else min(upto, index.head)
        # Topic id to how many events of it are still wanted; places to look at, newest first.
        missing = {tail.id: count for tail in self._matching(select)}
        places = [(-index.by_id[topic_id].seq, topic_id) for topic_id in missing]
        heapify(places)
        events: list[Event] = []
        damaged: list[Range] = []
        read = size = 0
        while places:
            chunk = index.maybe_chunk(-places[0][0])
            if chunk is None:  # retention took it, and with it all before it
                heappop(places)
                continue
            here: dict[int, int] = {}  # topic id to the seq to go on from
            while places and -places[0][0] >= chunk.first:
                place, topic_id = heappop(places)
                here[topic_id] = -place
            if read >= LAST_READ_MAX:
                return events[::-1], True, damaged
            read += 1
            try:
                body = self.body(chunk)
            except CorruptChunk:
                # The way back leads through it: what lies before is not reached, and the range says so.
                if chunk.first <= upto:
                    damaged.append((chunk.first, min(chunk.last, upto)))
                continue
            for stamp, topic_id, payload in reversed(list(self.events(chunk, body, 0, chunks.count(body)))):
                if topic_id not in here:
                    continue
                here[topic_id] = _PREV.unpack(stamp)[0]
                if chunks.seq_of(stamp) > upto:
                    continue
                size += len(payload)
                if len(events) >= limit or (events and size > LAST_BYTES):
                    return events[::-1], True, damaged
                events.append((index.by_id[topic_id].name, stamp, payload))
                missing[topic_id] -= 1
                if not missing[topic_id]:
                    del here[topic_id]
            for topic_id, seq in here.items():
                if 0 < seq < chunk.first:
                    heappush(places, (-seq, topic_id))
        return events[::-1], False, damaged[::-1]

    def _matching(self, select: Selector) -> list[Tail]:
        tails = self._index.tails
        if (literals := select.maybe_literals) is not None:
            return [tails[name] for name in literals if name in tails]
        # Of a hundred thousand topics to ask each would take a tenth of a second.
        return [tails[name] for name in self._index.names_from(select.starts) if select.matches(name)]

    def tails(self, select: Selector, after: int, limit: int = TAILS_LIMIT) -> tuple[list[Tail3], int]:
        """Topic, seq and nth of the newest event of each matching topic that changed after `after`,
        oldest first, and through which seq the list is complete."""
        changed = [tail for tail in self._index.changed_after(after) if select.matches(tail.name)]
        changed.sort(key=lambda tail: tail.seq)
        through = changed[limit - 1].seq if len(changed) > limit else self._index.head
        return [(tail.name.decode(), tail.seq, tail.nth) for tail in changed[:limit]], through

    def topics(self, select: Selector, after: bytes = b"", limit: int = 1_000) -> tuple[list[Tail], bool]:
        """Matching topics by name from beyond `after`, and whether there are more."""
        names = self._index.names_from(select.starts)
        found: list[Tail] = []
        for at in range(bisect_right(names, after) if after else 0, len(names)):
            if select.matches(names[at]):
                if len(found) >= limit:
                    return found, True
                found.append(self._index.tails[names[at]])
        return found, False
