"""What a connection has to do and to say before it is in the live flow, or in it again. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gateway.cut import Cut
from gateway.past import Newest, Past
from gateway.protocol import Command


class Behind:
    """What a connection has only while it is not simply live."""

    __slots__ = (
        "commands", "control", "cut", "frames", "is_newest_next", "is_slow", "looks", "newest", "past",
        "queued", "told", "unsent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.past: Past | None = None  # where it is, None while in the flow
        self.newest: Newest | None = None  # and with topics that it does not want in full, if there are any
        self.is_newest_next = True  # the two take turns
        self.unsent: memoryview | None = None
        self.control: bytes | None = None  # a ping or pong; the newest pong answers for all before it
        self.told: deque[bytes] = deque()  # objects to be sent as soon as there is room
        self.frames: list[Iterator[Command]] = []  # of the client; while there are any, COMMANDS_MAX wait
        self.commands: deque[Command] = deque()
        self.cut: Cut | None = None
        # What the shell sees of a socket that takes nothing:
        self.looks = 0  # in a row at which nothing had moved
        self.queued: int | None = None  # bytes in the kernel at the last look
        self.is_slow = False  # it has been told
