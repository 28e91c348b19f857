"""Recent events of this process, in seq order, within a budget of bytes. Pure."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from gateway.event import Event

EVENT_OVERHEAD_BYTES = 500  # an Event with its native form, beside the payload twice
_seq = attrgetter("seq")


class Ring:
    """Not thread-safe. It answers for what is beyond `floor`, and says nothing of what it never saw:
    whether a topic was followed all the time is the upstream's to know.
    """

    def __init__(self, max_bytes: int) -> None:
        self._events: list[Event] = []
        self._newest: dict[str, Event] = {}  # by topic, of those among them, in their order
        self._first = 0  # index of the oldest; what is before it was evicted and is cut off in bulk
        self._bytes = 0
        self._max_bytes = max_bytes
        self.floor = 0  # largest seq evicted, or where the last hole ended

    def append(self, event: Event) -> None:
        self._events.append(event)
        newest = self._newest
        newest.pop(event.topic, None)  # so that it goes to the end
        newest[event.topic] = event
        self._bytes += _weight(event)
        while self._bytes > self._max_bytes:
            oldest = self._events[self._first]
            self._bytes -= _weight(oldest)
            self.floor = max(self.floor, oldest.seq)
            self._first += 1
            if newest[oldest.topic] is oldest:
                del newest[oldest.topic]
        if self._first > 1024 and self._first * 2 > len(self._events):
            del self._events[: self._first]
            self._first = 0

    def after(self, seq: int, upto: int, limit: int) -> list[Event]:
        """Up to `limit` events with seq < their seq <= upto. Only for seq >= floor."""
        start = bisect_right(self._events, seq, lo=self._first, key=_seq)
        end = bisect_right(self._events, upto, lo=start, key=_seq)
        return self._events[start : min(end, start + limit)]

    def newest_after(self, seq: int, upto: int) -> list[Event]:
        """Of each topic the newest event, where seq < its seq <= upto, in order. Only for seq >= floor.

        As long as what changed since, not as what happened.
        """
        found = []
        for event in reversed(self._newest.values()):
            if event.seq <= seq:
                break
            if event.seq <= upto:
                found.append(event)
        found.reverse()
        return found

    def raise_floor(self, seq: int) -> None:
        """There is a hole up to here: ask the log about it."""
        self.floor = max(self.floor, seq)

    def clear(self, floor: int) -> None:
        """Another log begins: nothing here is part of it."""
        self._events.clear()
        self._newest.clear()
        self._first = self._bytes = 0
        self.floor = floor

    def __len__(self) -> int:
        return len(self._events) - self._first


def _weight(event: Event) -> int:
    return EVENT_OVERHEAD_BYTES + 2 * len(event.payload)
