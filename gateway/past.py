"""Reading on from a position, page by page: from the ring while that covers it, else from the log. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from broker.control import NewestPage, ReplayPage
from broker.errors import ControlError
from broker.wire import Position
from gateway.delivery import ALL
from gateway.event import Event, Gap
from gateway.interest import Interest

if TYPE_CHECKING:
    from gateway.hub import Hub

PAGE_EVENTS = 256
PAGE_BYTES = 64 << 10
# Of the newest values: what is sent waits behind it, and at 1 KB/s this takes 4 seconds.
NEWEST_PAGE_BYTES = 4 << 10

Found = list[Event | Gap]
Done = Callable[[ReplayPage | NewestPage | ControlError, Sequence[Event]], None]


class Reading(ABC):
    """A place in what an interest is due.

    Holds at most the page of the log that it is in the middle of, which others may share. The holes
    of a page come first: who breaks off in its middle has been told of them.
    """

    __slots__ = (
        "_asked", "_events", "_forgotten", "_hub", "_index", "_through", "_told", "interest", "position",
    )  # fmt: skip

    def __init__(self, hub: Hub, interest: Interest, position: Position) -> None:
        self._hub = hub
        self.interest = interest
        self.position = position  # what `read` has returned goes up to here
        self._asked = False
        self._events: Sequence[Event] = ()  # of a page of the log
        self._index = 0
        self._through: int | None = None  # where that page ends
        self._told: Found = []  # holes of which the page itself speaks
        self._forgotten = 0  # what is forgotten up to here was told

    @abstractmethod
    def read(self, upto: int, wake: Callable[[], None]) -> Found | None:
        """The next events and gaps, perhaps none of them, up to seq `upto` of the hub's epoch.

        None: the log was asked, `wake` will be called. At the end when `position.seq` >= upto.
        The position must be of the hub's epoch.
        """

    @abstractmethod
    def _ask_log(self, upto: int, done: Done) -> None:
        """For a page from the position on."""

    def _is_covered(self) -> bool:
        """By the ring."""
        covered = self._hub.covers(self.interest)
        return covered is not None and self.position.seq >= covered

    def _ask(self, upto: int, wake: Callable[[], None]) -> None:
        self._asked = True
        position = self.position

        def done(page: ReplayPage | NewestPage | ControlError, events: Sequence[Event]) -> None:
            self._asked = False
            if not isinstance(page, ControlError):
                if page.at.epoch_number != self._hub.epoch:
                    self._hub.after_flush(wake)  # the broker is in another log already; we are about to hear
                    return
                if page.at.epoch_number == position.epoch:
                    self._take(page, events, upto)
            wake()

        self._ask_log(upto, done)

    def _take(self, page: ReplayPage | NewestPage, events: Sequence[Event], upto: int) -> None:
        after = self.position.seq
        self._events, self._index, self._through = events, 0, max(after, min(page.through, upto))
        if page.at.forgotten > max(after, self._forgotten):
            # Whole topics may have gone, and their names with them.
            self._forgotten = page.at.forgotten
            self._told.append(self._gap("**", after, page.at.forgotten + 1, "forgotten"))
        for first, last in page.damaged:
            self._told.append(self._gap("**", max(after, first - 1), last + 1, "damaged"))

    def _slice(self, max_bytes: int) -> Found:
        """The next of the page."""
        found, self._told = self._told, []
        size = 0
        for event in self._events[self._index : self._index + PAGE_EVENTS]:
            self._index += 1
            found.append(event)
            size += len(event.payload)
            if size > max_bytes:
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


class Past(Reading):
    """All events after `position`, in order, with the holes in their places; of the topics of which
    the interest wants all.
    """

    __slots__ = ("_holes",)

    def __init__(self, hub: Hub, interest: Interest, position: Position) -> None:
        super().__init__(hub, interest, position)
        self._holes: dict[str, int] = {}  # topic -> what is gone up to here was told

    def read(self, upto: int, wake: Callable[[], None]) -> Found | None:
        if self._through is not None:
            return self._slice(PAGE_BYTES)
        if self._asked:
            return None
        seq = self.position.seq
        if seq >= upto or not self.interest.collects:
            self._move(max(seq, upto))
            return []
        if not self._is_covered():
            self._ask(upto, wake)
            return None
        return self._read_ring(upto)

    def _read_ring(self, upto: int) -> Found:
        events = self._hub.ring.after(self.position.seq, upto, PAGE_EVENTS)
        found: Found = []
        size = 0
        for event in events:
            if self.interest.delivery(event.topic) == ALL:
                found.append(event)
                size += len(event.payload)
                if size > PAGE_BYTES:
                    self._move(event.seq)
                    return found
        self._move(events[-1].seq if len(events) == PAGE_EVENTS else upto)
        return found

    def _ask_log(self, upto: int, done: Done) -> None:
        self._hub.log.replay(self.interest.texts(is_full=True), self.position.seq, upto, done)

    def _take(self, page: ReplayPage | NewestPage, events: Sequence[Event], upto: int) -> None:
        super()._take(page, events, upto)
        assert isinstance(page, ReplayPage)
        for topic, seq, _ in page.holes:
            told = max(self.position.seq, self._holes.get(topic, 0))
            if seq > told:
                self._holes[topic] = seq
                self._told.append(self._gap(topic, told, seq + 1, "retention"))


class Newest(Reading):
    """Of each topic that changed after `position` the newest event, the longest unchanged first; of the
    topics of which the interest wants less than all.

    One that changes while this reads is read where it is then: so a reader goes round once through
    whatever is due, however far behind it is. What changed again beyond `upto` comes in the flow.
    """

    __slots__ = ()

    def read(self, upto: int, wake: Callable[[], None]) -> Found | None:
        if self.position.seq >= upto:
            return []
        if not self._told and self._is_covered():
            self._events, self._through = (), None  # of a page: there is newer
            return self._read_ring(upto)
        if self._through is not None:
            return [self._bare(item) for item in self._slice(NEWEST_PAGE_BYTES) if self._is_wanted(item)]
        if not self._asked:
            self._ask(upto, wake)
        return None

    def _read_ring(self, upto: int) -> Found:
        found: Found = []
        size = 0
        for event in self._hub.ring.newest_after(self.position.seq, upto):
            if self._is_wanted(event):
                found.append(event.bare())
                size += len(event.payload)
                if size > NEWEST_PAGE_BYTES:
                    self._move(event.seq)
                    return found
        self._move(upto)
        return found

    def _is_wanted(self, item: Event | Gap) -> bool:
        return isinstance(item, Gap) or self.interest.delivery(item.topic) not in (None, ALL)

    def _bare(self, item: Event | Gap) -> Event | Gap:
        return item if isinstance(item, Gap) else item.bare()

    def _ask_log(self, upto: int, done: Done) -> None:
        self._hub.log.newest(self.interest.texts(is_full=False), self.position.seq, upto, done)
