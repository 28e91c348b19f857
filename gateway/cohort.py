"""Connections that get byte-identical output, and what they are due. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from broker.gap import Gap
from broker.wire import Position
from gateway.delivery import LATEST, Delivery
from gateway.event import Event, Item, Notice
from gateway.forms import Form
from gateway.interest import Interest

if TYPE_CHECKING:
    from gateway.connection import Connection

Slots = dict[Delivery, int]
NOWHERE = Position(0, 0)  # in no log


class Lane:
    """The topics of which a cohort wants less than all, at one rate: of each the newest is kept."""

    __slots__ = ("cohort", "delivery", "pending", "slot")

    def __init__(self, cohort: Cohort, delivery: Delivery) -> None:
        self.cohort, self.delivery = cohort, delivery
        self.pending: dict[str, Event] = {}  # by topic
        self.slot = -1  # of its intervals, the one that it last sent in

    def is_due(self, slots: Slots) -> bool:
        """Something may be sent in this interval."""
        return self.slot != slots[self.delivery]

    def take(self, slots: Slots) -> list[Event]:
        """What is due, in order; it is no longer pending."""
        taken, self.pending = self.pending, {}
        if self.delivery != LATEST:
            self.slot = slots[self.delivery]
        return [event.bare() for event in sorted(taken.values(), key=_seq)]


class Lanes:
    """What a cohort has only if it wants less than all of some topics."""

    __slots__ = ("by_delivery", "newcomers", "told", "told_s")

    def __init__(self, now_s: float) -> None:
        self.by_delivery: dict[Delivery, Lane] = {}
        # Who joined while something was pending which they had already: up to where.
        self.newcomers: dict[Connection, Position] = {}
        self.told: Position | None = None  # the position that was told last, and when
        self.told_s = now_s

    def pending(self) -> Iterable[Event]:
        return (event for lane in self.by_delivery.values() for event in lane.pending.values())

    def forget_newcomers(self) -> None:
        """Those for whom there is no difference any more."""
        oldest: dict[int, int] = {}  # of each epoch
        for event in self.pending():
            oldest[event.epoch] = min(event.seq, oldest.get(event.epoch, event.seq))
        self.newcomers = {
            who: had for who, had in self.newcomers.items() if had.seq >= oldest.get(had.epoch, 1 << 64)
        }


class Cohort:
    """Connections with the same interest and form. `pending` is all they are due since the last flush,
    whether there are any or not: who joins stands at the position of that flush.
    """

    __slots__ = ("flushing", "form", "interest", "lanes", "members", "pending")

    def __init__(self, interest: Interest, form: Form, now_s: float) -> None:
        self.interest, self.form = interest, form
        self.members: set[Connection] = set()
        self.pending: list[Item] = []
        self.flushing: list[Item] | None = None  # what the flush under way sends here
        self.lanes: Lanes | None = Lanes(now_s) if interest.conflates else None

    def lane(self, delivery: Delivery) -> Lane:
        assert self.lanes is not None
        if (found := self.lanes.by_delivery.get(delivery)) is None:
            found = self.lanes.by_delivery[delivery] = Lane(self, delivery)
        return found

    def begin(self, slots: Slots) -> list[Item]:
        """What the flush under way sends; what is offered from now on is for the next."""
        if self.flushing is None:
            if self.lanes:
                for lane in self.lanes.by_delivery.values():
                    if lane.pending and lane.is_due(slots):
                        self.pending += lane.take(slots)
            self.flushing, self.pending = self.pending, []
        return self.flushing

    def settled(self, at: Position, unsent: Iterable[Item], beyond: Position = NOWHERE) -> Position:
        """The position before which nothing is owed to members that stand `at` there, of topics of
        which they want less than all.

        Args:
            unsent: what is still to be sent to them, beside what is pending in the lanes.
            beyond: leave out what they had by then.
        """
        if self.lanes is None:
            return at
        owed = self._owed(self.lanes, unsent, beyond)
        oldest = min((event.seq for event in owed if event.epoch == at.epoch), default=at.seq + 1)
        return Position(at.epoch, min(at.seq, oldest - 1))

    def owed(self, unsent: Iterable[Item], beyond: Position = NOWHERE) -> frozenset[str] | None:
        """The topics of what they are owed from there on, where others have been sent meanwhile: lanes of
        several rates are not at the same place. None: they are at the same.
        """
        if self.lanes is None or len(self.lanes.by_delivery) < 2:
            return None
        return frozenset(event.topic for event in self._owed(self.lanes, unsent, beyond))

    def _owed(self, lanes: Lanes, unsent: Iterable[Item], beyond: Position) -> Iterator[Event]:
        taken = (item for item in unsent if type(item) is Event and item.is_bare)
        return (event for event in chain(taken, lanes.pending()) if not is_had(event, beyond))


def left_to_tell(items: Iterable[Item]) -> list[Item]:
    """Those that will not show from the position of whoever leaves before they were sent. A new log's
    beginning does.
    """
    return [
        item
        for item in items
        if isinstance(item, Notice) or (isinstance(item, Gap) and item.after.epoch == item.before.epoch)
    ]


def position_after(start: Position, items: Iterable[Item]) -> Position:
    """Where a connection stands that stood at `start` and was sent these."""
    epoch, seq = start.epoch, start.seq
    for item in items:
        if isinstance(item, Gap):
            last = item.before.seq - 1
            epoch, seq = item.before.epoch, last if item.before.epoch != epoch else max(seq, last)
        elif isinstance(item, Event) and not item.is_bare:
            epoch, seq = item.epoch, item.seq
    return Position(epoch, seq)


def is_had(event: Event, upto: Position) -> bool:
    """By who had everything up to there."""
    return event.epoch == upto.epoch and event.seq <= upto.seq


def _seq(event: Event) -> int:
    return event.seq
