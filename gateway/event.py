"""What goes through a gateway in order: events and gaps. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from broker.wire import DROPS_SHIFT, FLAG_UNLOGGED, Position, unpack_stamp


class Event:
    """One event of the feed or the log, with the output forms made of it so far.

    A plain slotted class rather than a frozen dataclass: one is made for each event of the feed, and
    the forms are filled in when the first connection wants them.
    """

    __slots__ = (
        "content", "drops", "epoch", "native", "nth", "payload", "prev", "raw", "seq", "sse", "time_us",
        "topic", "unlogged",
    )  # fmt: skip

    def __init__(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        """Of three frames. Raises MalformedFrames: a stamp that is none; UnicodeDecodeError: a topic."""
        flags, self.nth, self.epoch, self.seq, self.prev, self.time_us = unpack_stamp(stamp)
        self.topic = topic.decode()
        self.payload = payload
        self.content = flags >> 1 & 3
        self.drops = flags >> DROPS_SHIFT
        self.unlogged = bool(flags & FLAG_UNLOGGED)
        self.native: bytes | None = None
        self.raw: bytes | None = None
        self.sse: bytes | None = None

    def __repr__(self) -> str:
        return f"Event({self.topic} {self.seq} prev={self.prev} nth={self.nth} {len(self.payload)} bytes)"


@dataclass(frozen=True, slots=True)
class Gap:
    """Events on `pattern` with after < seq < before that cannot be had; `before` may be of a newer epoch."""

    pattern: str
    after: Position
    before: Position
    cause: str  # retention, forgotten, epoch, future, late, damaged, unlogged
    lost: int | None = None  # how many, where that is known
