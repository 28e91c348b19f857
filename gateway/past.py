"""Reading on from a position, page by page: from the ring while that covers it, else from the log. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from broker.control import ReplayPage
from broker.errors import ControlError
from broker.wire import Position
from gateway.event import Event, Gap

if TYPE_CHECKING:
    from gateway.hub import Hub, Interest

PAGE_EVENTS = 256
PAGE_BYTES = 64 << 10


class Past:
    """Everything of an interest after `position`, in order, with the holes in their places.

    Holds at most the page of the log that it is in the middle of, which others may share. The holes
    of a page come first: who breaks off in its middle has been told of them.
    """

    __slots__ = (
        "_asked", "_events", "_forgotten", "_holes", "_hub", "_index", "_through", "_told", "interest",
        "position",
    )  # fmt: skip

    def __init__(self, hub: Hub, interest: Interest, position: Position) -> None:
        self._hub = hub
        self.interest = interest
        self.position = position  # what `read` has returned goes up to here
        self._asked = False
        self._events: Sequence[Event] = ()  # of a page of the log
        self._index = 0
        self._through: int | None = None  # where that page ends
        self._told: list[Event | Gap] = []  # holes of which the page itself speaks
        self._forgotten = 0  # what is forgotten up to here was told
        self._holes: dict[str, int] = {}  # topic -> what is gone up to here was told

    def read(self, upto: int, wake: Callable[[], None]) -> list[Event | Gap] | None:
        """The next events and gaps, perhaps none of them, up to seq `upto` of the hub's epoch.

        None: the log was asked, `wake` will be called. At the end when `position.seq` >= upto.
        The position must be of the hub's epoch.
        """
        if self._through is not None:
            return self._slice()
        if self._asked:
            return None
        seq = self.position.seq
        if seq >= upto or not self.interest.patterns:
            self._move(max(seq, upto))
            return []
        covered = self._hub.covers(self.interest)
        if covered is None or seq < covered:
            self._ask(upto, wake)
            return None
        return self._read_ring(upto)

    def _read_ring(self, upto: int) -> list[Event | Gap]:
        events = self._hub.ring.after(self.position.seq, upto, PAGE_EVENTS)
        found: list[Event | Gap] = []
        size = 0
        for event in events:
            if self.interest.matches(event.topic):
                found.append(event)
                size += len(event.payload)
                if size > PAGE_BYTES:
                    self._move(event.seq)
                    return found
        self._move(events[-1].seq if len(events) == PAGE_EVENTS else upto)
        return found

    def _ask(self, upto: int, wake: Callable[[], None]) -> None:
        self._asked = True
        position = self.position

        def done(page: ReplayPage | ControlError, events: Sequence[Event]) -> None:
            self._asked = False
            if isinstance(page, ReplayPage):
                if page.at.epoch_number != self._hub.epoch:
                    self._hub.after_flush(wake)  # the broker is in another log already; we are about to hear
                    return
                if page.at.epoch_number == position.epoch:
                    self._take(page, events, upto)
            wake()

        self._hub.log.replay(self.interest.texts, position.seq, upto, done)

    def _take(self, page: ReplayPage, events: Sequence[Event], upto: int) -> None:
        after = self.position.seq
        self._events, self._index, self._through = events, 0, max(after, min(page.through, upto))
        if page.at.forgotten > max(after, self._forgotten):
            # Whole topics may have gone, and their names with them.
            self._forgotten = page.at.forgotten
            self._told.append(self._gap("**", after, page.at.forgotten + 1, "forgotten"))
        for first, last in page.damaged:
            self._told.append(self._gap("**", max(after, first - 1), last + 1, "damaged"))
        for topic, seq, _ in page.holes:
            told = max(after, self._holes.get(topic, 0))
            if seq > told:
                self._holes[topic] = seq
                self._told.append(self._gap(topic, told, seq + 1, "retention"))

    def _slice(self) -> list[Event | Gap]:
        found, self._told = self._told, []
        size = 0
        for event in self._events[self._index : self._index + PAGE_EVENTS]:
            self._index += 1
            found.append(event)
            size += len(event.payload)
            if size > PAGE_BYTES:
                break
        if self._index < len(self._events):
            self._move(self._events[self._index - 1].seq)
        else:
            assert self._through is not None
            through, self._events, self._through = self._through, (), None
            self._move(through)
        return found

    def _gap(self, pattern: str, after: int, before: int, cause: str) -> Gap:
        epoch = self.position.epoch
        return Gap(pattern, Position(epoch, after), Position(epoch, before), cause)

    def _move(self, seq: int) -> None:
        self.position = Position(self.position.epoch, seq)
