"""Whether a reader of newest values keeps up, so that none is sent that would be old when it is read. Pure.

A socket takes 64 KB and more before it says no, and a reader of 1 KB/s has that before it for a minute.
Two things tell sooner:

- Pings among the values. Whoever has answered one is sent no more than HOLD_BYTES, or one flush, beyond
  the last one that it answered.
- The room that the peer's kernel says it has, for those who answer no pings (event streams, mostly).
  What is unread makes it smaller: from 0.3 KB on with a receive buffer that was set, from some 10 KB on
  with one that the kernel makes larger by itself. Then it gets a page now and then, until there is as
  much room as there was: it is news with each acknowledgement only, so with something sent.
"""

from __future__ import annotations

MARK_BYTES = 2 << 10  # between two pings
HOLD_BYTES = 4 << 10
LOOK_BYTES = 512  # between two looks at the room: one takes 2 µs
PAUSE_S = 0.25  # before the first page to one that has less room, and between two looks at it
PAUSE_MAX_S = 4.0  # doubled up to here


class Gauge:
    """Of one connection. Room in bytes, times in seconds of the caller's clock."""

    __slots__ = (
        "_answers", "_beyond", "_burst", "_largest", "_marked", "_pause_s", "_since_look", "_until_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self._burst = 0  # bytes sent last: it may just not have come to read these
        # Pings.
        self._answers = False  # it has answered one
        self._marked: int | None = None  # bytes sent since the ping under way; None: there is none
        self._beyond = MARK_BYTES  # bytes sent since the one that was answered
        # Room.
        self._since_look = 0  # bytes sent
        self._largest = 0  # room that was seen
        self._pause_s = 0.0  # 0: it keeps up
        self._until_s = 0.0  # and the pause goes on until then

    def note(self, size: int) -> None:
        """So many bytes were sent."""
        self._burst = size
        self._since_look += size
        self._beyond += size
        if self._marked is not None:
            self._marked += size

    # Pings

    @property
    def wants_mark(self) -> bool:
        """It is time for a ping."""
        return self._marked is None and self._beyond >= MARK_BYTES

    def mark(self) -> None:
        """A ping was sent."""
        self._marked = 0

    def answer(self) -> None:
        """It was answered."""
        if self._marked is not None:
            self._answers = True
            self._beyond, self._marked = self._marked, None

    @property
    def is_held(self) -> bool:
        """It has to answer first."""
        return self._answers and self._beyond > max(HOLD_BYTES, self._burst)

    # Room

    @property
    def needs_look(self) -> bool:
        return not self._answers and (self._pause_s > 0 or self._since_look >= LOOK_BYTES)

    def look(self, room: int, now_s: float) -> bool:
        """Whether it may be sent something now."""
        self._since_look = 0
        self._largest = max(self._largest, room)
        if self._largest - room <= self._burst:
            self._pause_s = 0.0
            return True
        if self._pause_s == 0:
            self._pause_s, self._until_s = PAUSE_S, now_s + PAUSE_S
            return False
        if now_s < self._until_s:
            return False
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        self._until_s = now_s + self._pause_s
        return True
