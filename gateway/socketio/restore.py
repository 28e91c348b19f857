"""A client's way back: first whether nothing is missing of what it would be sent, then that. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.topics import Pattern
from broker.wire import Position
from gateway.cut import Cut
from gateway.delivery import ALL, Delivery
from gateway.interest import Wants
from gateway.protocol import Subscribe
from gateway.socketio.forms import NO_ID

if TYPE_CHECKING:
    from gateway.hub import Hub


@dataclass(frozen=True, slots=True)
class Set(Subscribe):
    """All that a client was subscribed to, in one cut, each pattern with its own delivery."""

    all_wants: Wants = frozenset()

    @property
    def wants(self) -> Wants:
        return self.all_wants


def of_set(wants: Wants, since: Position) -> Set:
    patterns: frozenset[Pattern] = frozenset(want.pattern for want in wants)
    delivery: Delivery = max((want.delivery for want in wants), default=ALL)
    return Set(NO_ID, patterns, 0, since, delivery, wants)


class Restore(Cut):
    """A cut whose past is read twice: to see whether there is a hole in it, and to be sent.

    The client is told that it goes on before the first event, and that must be true then.
    """

    __slots__ = ("is_decided",)

    def __init__(self, hub: Hub, wanted: Set, wake: Callable[[], None]) -> None:
        self.is_decided = False
        super().__init__(hub, wanted, wake)

    def look(self) -> bool | None:
        """Whether nothing is missing; None: the log was asked and `wake` will be called, or, if `at` is None
        then, a later place is to be found.
        """
        while not self.is_read:
            if self._covers():
                break
            if (found := self.read()) is None:
                return None
            if not self.is_recovered:
                break
            if not found and self.at is None:
                return None
        self.is_decided = True
        self._past = None  # from the beginning again
        return self.is_recovered

    def _covers(self) -> bool:
        """The ring has all of it, so there is no hole and nothing to look for."""
        since = self.wanted.since
        assert since and self.at
        if since.epoch != self._hub.epoch or since.seq > self.at.seq:
            return False
        covered = self._hub.covers(self._hub.interest(self.wanted.wants))
        return covered is not None and since.seq >= covered
