"""Looking after many connections with one timer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Protocol

TICKS = 20  # in a turn
TURN_MAX_S = 3.0  # who asked for beats hears one each turn
LOOKS_LEAST = 4  # in the shortest of the deadlines: it is met a quarter too late at most


class Looked(Protocol):
    def look(self) -> None:
        """What has or has not happened since the look before?"""

    @property
    def is_over(self) -> bool:
        """We have ended, and its peer's kernel has all that we said."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """In looks, how long a connection may let us wait."""

    stall: int  # for the socket to take something
    ping: int  # in silence, before it is asked
    pong: int  # for anything to come then
    frame: int  # for a frame or message to be complete
    comment: int  # an event stream may be silent on our side
    messages: int  # not a time: so many a client may send between two looks


class Wheel:
    """Everything with a descriptor, in as many parts as a turn has ticks; each tick looks at one part.
    A place costs 8 bytes, and a connection needs no timer.
    """

    def __init__(
        self,
        *,
        stall_s: float = 70,
        ping_interval_s: float = 25,
        ping_timeout_s: float = 20,
        frame_s: float = 30,
        comment_s: float = 10,
        messages_per_s: float = 1_000,
    ) -> None:
        """See Deadlines."""
        shortest_s = min(stall_s, ping_interval_s, ping_timeout_s, frame_s)
        self.turn_s = min(TURN_MAX_S, shortest_s / LOOKS_LEAST)
        self.deadlines = Deadlines(
            stall=self._looks(stall_s),
            ping=self._looks(ping_interval_s),
            pong=self._looks(ping_timeout_s),
            frame=self._looks(frame_s),
            comment=self._looks(comment_s),
            messages=ceil(messages_per_s * self.turn_s),
        )
        self._places: list[Looked | None] = []
        self._next = 0

    def _looks(self, seconds: float) -> int:
        return ceil(seconds / self.turn_s)

    @property
    def tick_s(self) -> float:
        return self.turn_s / TICKS

    @property
    def is_empty(self) -> bool:
        return not any(self._places)

    @property
    def is_over(self) -> bool:
        """For all that are still here."""
        return all(looked.is_over for looked in self._places if looked is not None)

    def add(self, fd: int, looked: Looked) -> None:
        if fd >= len(self._places):
            self._places += [None] * (fd + 1 - len(self._places))
        self._places[fd] = looked

    def discard(self, fd: int) -> None:
        if 0 <= fd < len(self._places):
            self._places[fd] = None

    def tick(self) -> None:
        """To be called every `tick_s`."""
        part = self._places[self._next :: TICKS]
        self._next = (self._next + 1) % TICKS
        for looked in part:
            if looked is not None:
                looked.look()
