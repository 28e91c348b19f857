"""What the clients of a run wrote down, and the log they are held against. Pure."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from broker.wire import Position


class Seen(Struct, array_like=True, frozen=True):
    """An event as a client got it."""

    epoch: int
    seq: int
    topic: str
    producer: str
    number: int
    sent_ns: int
    is_whole: bool

    @property
    def identity(self) -> tuple[str, int, str]:
        return self.producer, self.number, self.topic


class Gap(Struct, array_like=True, frozen=True):
    """What a client was told that it cannot have."""

    pattern: str
    after: str
    before: str
    cause: str


class Break(Struct, array_like=True):
    """An end of a connection, and when the client was back: had its reply elsewhere."""

    gateway: int
    lost_ns: int  # by the monotonic clock
    code: int  # of the close; 0 if nothing was said
    reason: str
    was_silent: bool  # the client gave it up
    position: str  # up to where it had everything
    back_ns: int = 0  # 0: never


class Arrival(Struct, array_like=True, frozen=True):
    """Up to which of its entries a watched client had got, and when."""

    came_ns: int
    gateway: int
    entries: int


class Story(Struct):
    """One client. `entries`, as they came: n stands for event n of the journal, -1 - n for its gap n."""

    pattern: str
    since: str = ""  # everything after this position is due
    entries: list[int] = []
    breaks: list[Break] = []
    arrivals: list[Arrival] = []  # of a watched one
    stale: list[tuple[int, bool]] = []  # when it was told that its gateway does not hear the broker, or does
    gateway: int = 0  # where it was last
    recovered: list[bool] = []  # of each reply: whether it said that nothing is missing
    is_following: bool = False
    position: str = ""


class Journal(Struct):
    events: list[Seen] = []
    gaps: list[Gap] = []
    clients: list[Story] = []
    errors: list[str] = []  # what no client of ours should be told


class Kept(NamedTuple):
    """An event as the log has it."""

    at: Position
    topic: str
    producer: str
    number: int

    @property
    def identity(self) -> tuple[str, int, str]:
        return self.producer, self.number, self.topic
