"""The publishes of one connection: in their order, whatever becomes of one. Pure.

One at a time is with the broker, and those behind it wait for its answer; other commands do not.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.protocol import Publish
from gateway.publishing import Outcome, Published, Publishing, Refused


class Publishes:
    """Kept as long as the connection, once it has published: the next one may follow the last."""

    __slots__ = ("_asked", "_confirmed", "_publishing", "_settled", "_waiting", "_wake")

    def __init__(
        self,
        publishing: Publishing,
        settled: Callable[[Publish, Outcome], None],
        wake: Callable[[], None],
    ) -> None:
        """
        Args:
            settled: called with each and what became of it, perhaps from within `add`.
            wake: called when that was not within `add`.
        """
        self._publishing, self._settled, self._wake = publishing, settled, wake
        self._asked: Publish | None = None  # the one that the broker has yet to answer
        self._confirmed: int | None = None  # id of the last one, if that was
        self._waiting: list[Publish] = []  # few; an empty deque takes 700 bytes

    def __len__(self) -> int:
        """How many wait for the one before them."""
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """There is one that has no answer."""
        return self._asked is not None

    def add(self, publish: Publish) -> None:
        self._waiting.append(publish)
        self._go_on()

    def drop(self) -> None:
        """The client is gone: nothing more of it is published, and nobody hears what became of the last."""
        self._asked = None
        self._waiting.clear()

    def _go_on(self) -> None:
        """Those that wait, as far as the broker is not to be waited for."""
        while self._waiting and self._asked is None:
            publish = self._waiting.pop(0)
            if publish.follows not in (None, self._confirmed):
                message = f"publish {publish.follows}, which it follows, was not confirmed"
                self._settle(publish, Refused("unavailable", message))
                continue
            self._asked = publish
            if refused := self._publishing.submit(publish.draft, self._answered):
                self._settle(publish, refused)

    def _answered(self, outcome: Outcome) -> None:
        """The broker has answered, or its time is over."""
        if self._asked is None:
            return  # dropped
        self._settle(self._asked, outcome)
        self._go_on()
        self._wake()

    def _settle(self, publish: Publish, outcome: Outcome) -> None:
        self._asked = None
        self._confirmed = publish.id if isinstance(outcome, Published) else None
        self._settled(publish, outcome)
