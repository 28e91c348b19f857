"""One event, as a subscriber gets it. Pure."""

from __future__ import annotations

from typing import Any

from broker.wire import DROPS_SHIFT, FLAG_UNLOGGED, Content, Position, unpack_stamp
from producer.payload import decode

_UNREAD: Any = object()


class Event:
    """What was published, and its place in the log. The payload is decoded when it is first asked for.

    `seq` grows over all topics, `nth` is the topic's own count, `prev` the seq of the event before it on
    the topic. Times are the broker's.
    """

    __slots__ = (
        "_content", "_data", "_declared", "drops", "epoch", "nth", "payload", "prev", "seq", "time_us",
        "topic", "unlogged",
    )  # fmt: skip

    def __init__(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        """Of three frames. Raises MalformedFrames: a stamp that is none; UnicodeDecodeError: a topic."""
        flags, self.nth, self.epoch, self.seq, self.prev, self.time_us = unpack_stamp(stamp)
        self.topic = topic.decode()
        self.payload = payload
        self.drops = flags >> DROPS_SHIFT
        self.unlogged = bool(flags & FLAG_UNLOGGED)  # the log could not be written: it is nowhere else
        self._declared = flags >> 1 & 3
        self._data: Any = _UNREAD
        self._content = Content.UNKNOWN

    @property
    def data(self) -> Any:
        """What was given to `publish`: what JSON makes of it, str for text, bytes for anything else."""
        if self._data is _UNREAD:
            self._data, self._content = decode(self.payload, self._declared)
        return self._data

    @property
    def content(self) -> Content:
        """What `data` is: JSON, TEXT or BINARY."""
        _ = self.data
        return self._content

    @property
    def text(self) -> str:
        """The payload as text, whatever it is; what is not UTF-8 in it is replaced."""
        return self.payload.decode(errors="replace")

    @property
    def position(self) -> str:
        """`epoch.seq`: a `since` that brings all that comes after this."""
        return str(Position(self.epoch, self.seq))

    @property
    def time(self) -> float:
        """Seconds since the Unix epoch."""
        return self.time_us / 1e6

    def __repr__(self) -> str:
        return f"Event({self.topic} {self.position} {len(self.payload)} bytes)"
