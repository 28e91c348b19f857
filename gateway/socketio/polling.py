"""What a session that polls is sent: gathered while a poll waits, and its answer at the end of the turn.

Between two polls nothing is taken: the session then goes on by its position, as any slow reader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.socketio.forms import SEPARATOR

TAKE_BYTES = 64 << 10  # of an answer, and what was offered at once beyond it


class Poll(Protocol):
    """A GET that is to be answered."""

    @property
    def is_being_taken(self) -> bool:
        """Its answer is on its way."""

    def answer(self, body: bytes) -> None: ...
    def look(self) -> None:
        """Has its client gone?"""


class Polling:
    """Not thread-safe."""

    __slots__ = ("_answered", "_later", "_messages", "_missed", "_parts", "_poll", "_since_s", "_size")

    def __init__(self, later: Callable[[Callable[[], None]], None]) -> None:
        """`later`: runs a function soon, not at once."""
        self._later = later
        self._poll: Poll | None = None
        self._answered: Poll | None = None  # the one before
        self._missed = False  # a ping, by having no poll there
        self._parts: list[bytes | memoryview] = []
        self._size = 0
        self._messages, self._since_s = 0, 0.0  # that came since then

    @property
    def is_waiting(self) -> bool:
        """A poll is here that has no answer."""
        return self._poll is not None

    @property
    def takes_more(self) -> bool:
        return self._poll is not None and self._size < TAKE_BYTES

    @property
    def is_being_taken(self) -> bool:
        """The answer to the poll before is on its way."""
        return self._answered is not None and self._answered.is_being_taken

    @property
    def may_know_of_ping(self) -> bool:
        """A poll was there for the last one, or has come since."""
        return not self._missed

    def note_ping(self) -> None:
        self._missed = self._poll is None

    def look(self) -> None:
        if self._poll is not None:
            self._poll.look()

    @property
    def has_parts(self) -> bool:
        """Something is gathered."""
        return bool(self._parts)

    def open(self, poll: Poll) -> None:
        assert self._poll is None
        self._poll, self._answered, self._missed = poll, None, False

    def write(self, data: bytes | memoryview) -> int:
        """How much of it was taken: all or nothing."""
        if not self.takes_more:
            return 0
        if not self._parts:
            self._later(self.answer)
        self._parts.append(data)
        self._size += len(data)
        return len(data)

    def answer(self) -> None:
        """The poll that waits, if there is anything for it."""
        if self._parts:
            self.finish(b"")

    def finish(self, last: bytes) -> None:
        """Answer the poll that waits with what there is, and this packet behind it."""
        body = b"".join([*self._parts, last])
        self._parts.clear()
        self._size = 0
        poll, self._poll = self._poll, None
        if poll is not None:
            self._answered = poll
            poll.answer(body.removesuffix(SEPARATOR))

    def count(self, messages: int, now_s: float, most_per_s: float) -> bool:
        """So many have come. False: more than may in a second."""
        if now_s - self._since_s >= 1:
            self._messages, self._since_s = 0, now_s
        self._messages += messages
        return self._messages <= most_per_s
