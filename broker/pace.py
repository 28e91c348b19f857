"""When the next commit may begin, so that a stream of small ones leaves the loop time for others. Pure.

A commit costs about as much for one event as for twenty (0.2 ms with all that a turn does around it).
Alone it begins at once; under a stream of them each waits a few times as long as the one before it took,
so that commits take a stated share of the time at most, and what comes meanwhile shares the next one.
"""

from __future__ import annotations

GATHER_S = 0.002  # at most
GATHER_TURNS = 3  # times what the commit before took: so commits take a quarter of the loop's time
GATHERED = 100  # messages in a commit: it is large enough, and the next one does not wait


class Pace:
    """Told of each commit. Seconds are of one clock, the caller's."""

    def __init__(self) -> None:
        self._not_before_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """How long the next commit has to wait; 0 if it need not."""
        return max(0.0, self._not_before_s - now_s)

    def note(self, started_s: float, ended_s: float, messages: int) -> None:
        """A commit of so many messages, with their taking in and forwarding."""
        pause_s = 0.0 if messages >= GATHERED else min(GATHER_S, (ended_s - started_s) * GATHER_TURNS)
        self._not_before_s = ended_s + pause_s
