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

    Holds at most the page of the log that it is in the middle of, which others may share.

    Where retention was at work, a hole shows only by the `prev` of the next event that is kept, and
    that may be newer than all that was asked for. So the check of each event's `prev` goes on, in the
    ring too, until `settled_at`: the head of the log when it was last read.
    """

    __slots__ = (
        "_asked", "_events", "_forgotten", "_hub", "_index", "_last", "_since", "_through", "_told",
        "interest", "position", "settled_at",
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
        self._since: int | None = None  # events are checked against what came after this
        self._last: dict[str, tuple[int, int]] = {}  # topic -> seq and nth, since then
        self.settled_at = 0

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
                self._check(event, found)
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
        if self._since is None:
            self._since = after
        if page.at.trimmed > self._since:
            self.settled_at = page.at.head
        if page.at.forgotten > max(after, self._forgotten):
            # Whole topics may have gone, and their names with them.
            self._forgotten = page.at.forgotten
            self._told.append(self._gap("**", after, page.at.forgotten + 1, "forgotten"))
        for first, last in page.damaged:
            self._told.append(self._gap("**", max(after, first - 1), last + 1, "damaged"))

    def _slice(self) -> list[Event | Gap]:
        found, self._told = self._told, []
        size = 0
        for event in self._events[self._index : self._index + PAGE_EVENTS]:
            self._index += 1
            self._check(event, found)
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

    def _check(self, event: Event, found: list[Event | Gap]) -> None:
        """The event, after the hole that it shows."""
        if self._since is not None:
            seq, nth = self._last.get(event.topic, (self._since, 0))
            # Of a topic's first event, prev is what was forgotten: told with the page.
            if event.prev > seq and event.nth > 1:
                lost = event.nth - 1 - nth if nth else None
                found.append(self._gap(event.topic, seq, event.seq, "retention", lost))
            self._last[event.topic] = (event.seq, event.nth)
        found.append(event)

    def _gap(self, pattern: str, after: int, before: int, cause: str, lost: int | None = None) -> Gap:
        epoch = self.position.epoch
        return Gap(pattern, Position(epoch, after), Position(epoch, before), cause, lost)

    def _move(self, seq: int) -> None:
        self.position = Position(self.position.epoch, seq)
        if seq >= self.settled_at and self._through is None:
            self._since, self._last = None, {}

    @property
    def is_settled(self) -> bool:
        """Nothing of what it went past can turn out to be missing."""
        return self.position.seq >= self.settled_at
