"""When each session is pinged, and which of them have not answered in time. Pure.

All have the same interval, so those that were looked at first are due first: a session costs a place in a
queue, and no timer.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

# Later than this, it was this process that stood still: what came meanwhile has yet to be read.
STOOD_STILL_S = 1.0
# By so much the order in a queue may differ from that in which they are due, and one be late for it.
PROMPT_S = 0.1


class Due(NamedTuple, Generic[T]):
    to_ping: list[T]
    over: list[T]  # their time is over


class Heartbeats(Generic[T]):
    """Seconds are of one clock that does not jump."""

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        self._interval_s, self._timeout_s = interval_s, timeout_s
        self._resting: dict[T, float] = {}  # when it is pinged
        self._asked: dict[T, float] = {}  # until when it has to answer

    def begin(self, session: T, now_s: float) -> None:
        self._resting[session] = now_s + self._interval_s

    def note_pong(self, session: T, now_s: float) -> None:
        """One that nobody asked for says nothing."""
        if (until_s := self._asked.pop(session, None)) is not None:
            # From ping to ping it is the interval, however long a prompt answer took.
            self.begin(session, max(until_s - self._timeout_s, now_s - PROMPT_S))

    def excuse(self, session: T, now_s: float) -> None:
        """One that is over has the time to answer anew."""
        self._asked[session] = now_s + self._timeout_s

    def end(self, session: T) -> None:
        self._resting.pop(session, None)
        self._asked.pop(session, None)

    def due(self, now_s: float) -> Due[T]:
        """What is to be done by now. Those that are over are forgotten."""
        next_s = self.next_s
        if next_s is not None and now_s - next_s > STOOD_STILL_S:
            self._forgive(now_s)
        over = _until(self._asked, now_s)
        to_ping: list[T] = []
        # By when it was due, whenever this is asked; so one may be over at once.
        for session, due_s in _until(self._resting, now_s):
            if due_s + self._timeout_s <= now_s:
                over.append((session, due_s))
            else:
                self._asked[session] = due_s + self._timeout_s
                to_ping.append(session)
        return Due(to_ping, [session for session, _ in over])

    @property
    def next_s(self) -> float | None:
        """When something is due next, None while there is no session."""
        firsts = [next(iter(queue.values())) for queue in (self._resting, self._asked) if queue]
        return min(firsts, default=None)

    def _forgive(self, now_s: float) -> None:
        for queue in (self._resting, self._asked):
            for session, due_s in queue.items():
                if due_s > now_s:
                    break
                queue[session] = now_s + (STOOD_STILL_S if queue is self._asked else 0)

    def __len__(self) -> int:
        return len(self._resting) + len(self._asked)


def _until(queue: dict[T, float], now_s: float) -> list[tuple[T, float]]:
    """Taken out of the queue: those whose time has come."""
    found: list[tuple[T, float]] = []
    for session, due_s in queue.items():
        if due_s > now_s:
            break
        found.append((session, due_s))
    for session, _ in found:
        del queue[session]
    return found
