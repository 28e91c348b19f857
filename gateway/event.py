"""What goes through a gateway in order: events, gaps, and notices beside them. Pure."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

from broker.gap import Gap
from broker.wire import DROPS_SHIFT, FLAG_UNLOGGED, unpack_stamp


class Event:
    """One event of the feed or the log, with the output forms made of it so far.

    A plain slotted class rather than a frozen dataclass: one is made for each event of the feed, and
    the forms are filled in when the first connection wants them.
    """

    __slots__ = (
        "_bare", "content", "drops", "epoch", "is_bare", "native", "nth", "payload", "prev", "raw", "seq",
        "socketio", "socketio_done", "sse", "time_us", "topic", "unlogged",
    )  # fmt: skip

    def __init__(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        """Of three frames. Raises MalformedFrames: a stamp that is none; UnicodeDecodeError: a topic."""
        flags, self.nth, self.epoch, self.seq, self.prev, self.time_us = unpack_stamp(stamp)
        self.topic = topic.decode()
        self.payload = payload
        self.content = flags >> 1 & 3
        self.drops = flags >> DROPS_SHIFT
        self.unlogged = bool(flags & FLAG_UNLOGGED)
        self.is_bare = False
        self._bare: Event | None = None
        self.native: bytes | None = None
        self.raw: bytes | None = None
        self.sse: bytes | None = None
        self.socketio: bytes | None = None  # up to what differs between sets of subscriptions
        self.socketio_done: tuple[object, bytes] | None = None  # as the form made it that was asked last

    def bare(self) -> Event:
        """The same for those who get only some of a topic: without `prev`, for no hole shows by it, and
        without a say in how far they have come. Made once.
        """
        if (bare := self._bare) is None:
            bare = self._bare = copy(self)
            bare.is_bare = True
            bare.native = bare.sse = bare.socketio = bare.socketio_done = None
        return bare

    def __repr__(self) -> str:
        return f"Event({self.topic} {self.seq} prev={self.prev} nth={self.nth} {len(self.payload)} bytes)"


class Notice(NamedTuple):
    """Something to be told to all, in no place of the order."""

    text: bytes  # a JSON object


Item = Event | Gap | Notice
