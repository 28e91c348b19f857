"""How long things took, by what clients heard and when."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

from tests.faults.journal import Journal, Story

BEGINS_S = 1.0
PARTS = 5


class Times:
    """Of a run, by the journals of its clients; moments are of the monotonic clock, in seconds."""

    def __init__(self, journals: Sequence[Journal]) -> None:
        self._journals = journals

    @property
    def _stories(self) -> list[Story]:
        return [story for journal in self._journals for story in journal.clients]

    def latencies_ms(self, from_s: float, to_s: float) -> list[float]:
        """From a producer's call to a client's read, of what was sent in that time, in order.

        Of watched clients that never lost their connection: what the others missed came late of course.
        """
        found: list[float] = []
        for journal in self._journals:
            for story in journal.clients:
                start = 0
                for arrival in story.arrivals if not story.breaks else ():
                    for entry in story.entries[start : arrival.entries]:
                        if entry >= 0 and from_s <= journal.events[entry].sent_ns / 1e9 <= to_s:
                            found.append((arrival.came_ns - journal.events[entry].sent_ns) / 1e6)
                    start = arrival.entries
        return sorted(found)

    def calm_p99_ms(self, from_s: float, to_s: float) -> float:
        """The 99th of 100 of a time in which nothing changes: of its parts the least.

        What else runs on the machine can only add to it, and comes and goes.
        """
        part_s = (to_s - from_s) / PARTS
        starts = [from_s + part_s * number for number in range(PARTS)]
        return min(quantile(self.latencies_ms(start_s, start_s + part_s), 0.99) for start_s in starts)

    def stale_after_s(self, from_s: float) -> list[float]:
        """How long after that moment, or after the last event if that is later, clients were told `stale`.

        In order, of all watched clients that were told.
        """
        found: list[float] = []
        for story in self._stories:
            told = [when_ns / 1e9 for when_ns, is_stale in story.stale if is_stale and when_ns / 1e9 > from_s]
            if told:
                came = [each.came_ns / 1e9 for each in story.arrivals if each.came_ns / 1e9 < told[0]]
                found.append(told[0] - max(from_s, came[-1] if came else from_s))
        return sorted(found)

    def flow_back_s(self, from_s: float) -> float:
        """From that moment to the end of the silence that began with it, for watched clients: the worst one.

        It is the longest of those that begin within BEGINS_S: what was under way at that moment may come
        after it, and later ones are other things'.
        """
        worst = 0.0
        for story in self._stories:
            came = [from_s, *(came_s for each in story.arrivals if (came_s := each.came_ns / 1e9) > from_s)]
            silences = [
                (after - before, after) for before, after in pairwise(came) if before < from_s + BEGINS_S
            ]
            if story.arrivals:
                worst = max(worst, max(silences)[1] - from_s if silences else inf)
        return worst

    def returns_s(self) -> list[float]:
        """How long each client that lost its connection was away, in order; for ever is infinity."""
        breaks = [each for story in self._stories for each in story.breaks]
        away = [(each.back_ns - each.lost_ns) / 1e9 if each.back_ns else float("inf") for each in breaks]
        return sorted(away)


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
