"""Several chunks made into one that holds what is kept of them, a bounded piece at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker import chunk as chunks
from broker.chunk import Chunk
from broker.index import Tail

BODY_COST = 20  # to fetch a body costs as much as so many events


class Merge:
    """Events may be appended between two pieces: what was dead stays dead, what dies later stays in."""

    def __init__(self, members: Sequence[Chunk]) -> None:
        self.members = members
        self.trimmed = 0  # largest seq left out
        self._trims: dict[int, tuple[Tail, int, int]] = {}  # topic id -> the newest of it that was left out
        self._entries: list[bytes] = []
        self._payloads: list[bytes] = []
        self._end = 0
        self._parts: dict[int, list[int]] = {}
        self._at = self._place = 0  # member, event in it
        self._body: bytes | None = None  # of that member

    def go_on(
        self,
        body_of: Callable[[Chunk], bytes],
        by_id: Mapping[int, Tail],
        is_dead: Callable[[Tail, int, int], bool],
        events: int,
    ) -> bool:
        """Look at about so many events; whether those were the last. Raises what `body_of` raises."""
        while events > 0 and self._at < len(self.members):
            if self._body is None:
                self._body = body_of(self.members[self._at])
                events -= BODY_COST
            count = chunks.count(self._body)
            stop = min(count, self._place + max(events, 1))
            self._gather(self._body, stop, by_id, is_dead)
            events -= stop - self._place
            self._place = stop
            if stop == count:
                self._at, self._place, self._body = self._at + 1, 0, None
        return self._at == len(self.members)

    def _gather(
        self, body: bytes, stop: int, by_id: Mapping[int, Tail], is_dead: Callable[[Tail, int, int], bool]
    ) -> None:
        parts, unpack = self._parts, chunks.unpack_stamp
        for stamp, topic_id, payload in chunks.events(body, self._place, stop):
            nth, seq, time_us = unpack(stamp)
            tail = by_id.get(topic_id)
            if tail is None or is_dead(tail, seq, nth):
                self.trimmed = seq
                if tail is not None:
                    self._trims[topic_id] = tail, seq, nth
                continue
            self._end += len(payload)
            self._entries.append(chunks.entry(stamp, topic_id, self._end))
            self._payloads.append(payload)
            part = parts.get(topic_id)
            if part is None:
                part = parts[topic_id] = [topic_id, 0, 0, 0, 0]
            part[1] += 1
            part[2:] = nth, seq, time_us

    def maybe_row(self) -> chunks.Row | None:
        """The one chunk, when all are gathered; None if nothing of them is kept."""
        if not self._entries:
            return None
        first, last = chunks.seq_of(self._entries[0]), chunks.seq_of(self._entries[-1])
        summary = chunks.pack_summary((p[0], p[1], p[2], p[3], p[4]) for p in self._parts.values())
        body = chunks.pack(self._entries, self._payloads)
        return chunks.Row.make(first, last, self.members[-1].newest_s, summary, body)

    def trim(self) -> None:
        """Note in the tails what was left out: once it is gone."""
        for tail, seq, nth in self._trims.values():
            tail.trim(seq, nth)
