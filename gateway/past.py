"""Reading on from a position, page by page: from the ring while that covers it, else from the log. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from broker.control import NewestPage, ReplayPage
from broker.errors import ControlError
from broker.gap import Gap, maybe_lost
from broker.wire import Position
from gateway.delivery import ALL
from gateway.event import Event
from gateway.interest import Interest
from gateway.records import Records

if TYPE_CHECKING:
    from gateway.hub import Hub

PAGE_EVENTS = 256
PAGE_BYTES = 64 << 10
NO_RECORDS = Records()
# Of the newest values: what is sent waits behind it, and at 1 KB/s this takes 4 seconds.
NEWEST_PAGE_BYTES = 4 << 10

Found = Sequence[Event | Gap]
Done = Callable[[ReplayPage | NewestPage | ControlError, Records], None]


class Reading(ABC):
    """A place in what an interest is due.

    Holds at most the page of the log that it is in the middle of, which others may share. The holes
    of a page come first, by themselves: who breaks off in its middle has been told of them.
    """

    __slots__ = (
        "_asked", "_events", "_forgotten", "_hub", "_index", "_through", "_told", "interest", "position",
    )  # fmt: skip

    def __init__(self, hub: Hub, interest: Interest, position: Position) -> None:
        self._hub = hub
        self.interest = interest
        self.position = position  # what `read` has returned goes up to here
        self._asked = False
        self._events = NO_RECORDS  # of a page of the log
        self._index = 0
        self._through: int | None = None  # where that page ends
        self._told: list[Event | Gap] = []  # holes of which the page itself speaks
        self._forgotten = 0  # what is forgotten up to here was told

    def pass_over_forgotten(self, upto: int) -> None:
        """What is forgotten up to there was no loss to this reader."""
        self._forgotten = upto

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

        def done(page: ReplayPage | NewestPage | ControlError, events: Records) -> None:
            self._asked = False
            if not isinstance(page, ControlError):
                if page.at.epoch_number != self._hub.epoch:
                    self._hub.after_flush(wake)  # the broker is in another log already; we are about to hear
                    return
                if page.at.epoch_number == position.epoch:
                    self._take(page, events, upto)
            wake()

        self._ask_log(upto, done)

    def _take(self, page: ReplayPage | NewestPage, events: Records, upto: int) -> None:
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
        if self._told:
            told, self._told = self._told, []
            return told
        events, start = self._events, self._index
        self._index = end = events.end(start, PAGE_EVENTS, max_bytes)
        if end < len(events):
            self._move(events.seq(end - 1))
        else:
            assert self._through is not None
            through, self._events, self._through = self._through, NO_RECORDS, None
            self._move(through)
        return events[start:end]

    def _gap(self, pattern: str, after: int, before: int, cause: str, lost: int | None = None) -> Gap:
        epoch = self.position.epoch
        return Gap(pattern, Position(epoch, after), Position(epoch, before), cause, lost)

    def _move(self, seq: int) -> None:
        self.position = Position(self.position.epoch, seq)


class Past(Reading):
    """All events after `position`, in order, with the holes in their places; of the topics of which
    the interest wants all.
    """

    __slots__ = ("_had", "_holes")

    def __init__(self, hub: Hub, interest: Interest, position: Position) -> None:
        super().__init__(hub, interest, position)
        # topic -> what is gone up to this seq, and number, was told
        self._holes: dict[str, tuple[int, int]] = {}
        self._had = NO_RECORDS  # the page up to the position, if one ends there

    def read(self, upto: int, wake: Callable[[], None]) -> Found | None:
        if self._through is not None:
            begun, page = self._index, self._events
            found = self._slice(PAGE_BYTES)
            if self._through is None:
                self._had = page
            half = len(self._events) // 2
            if self._through is not None and self._through < upto and begun <= half < self._index:
                self._hub.log.ahead(self.interest.texts(is_full=True), self._through)
            return found
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
        self._had = NO_RECORDS
        self._holes = {topic: (seq, 0) for topic, (seq, _) in self._holes.items()}
        events = self._hub.ring.after(self.position.seq, upto, PAGE_EVENTS)
        found: list[Event | Gap] = []
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

    def _take(self, page: ReplayPage | NewestPage, events: Records, upto: int) -> None:
        super()._take(page, events, upto)
        assert isinstance(page, ReplayPage)
        had, self._had = self._had, NO_RECORDS
        if page.holes or self._holes:
            self._take_holes(page, events, had.newest())

    def _take_holes(self, page: ReplayPage, events: Records, had: dict[bytes, tuple[int, int]]) -> None:
        """`had`: seq and nth of the newest of each topic, in a page that ends at the position."""
        at = self.position.seq
        # Of a hole that reaches further than we have come some events stood, perhaps newer than what is gone.
        holes = self._holes = {
            topic: (seq, nth and max(nth, had.get(topic.encode(), (0, 0))[1]))
            for topic, (seq, nth) in self._holes.items()
            if seq > at
        }
        told = {topic: holes.get(topic, (at, 0))[0] for topic, _, _ in page.holes}
        # Retention takes whole chunks: of what is older than the newest that is gone, some may stand. By
        # their numbers: after a restart the log knows that of the newest, and of its seq only a bound.
        kept = events.count_within({topic.encode(): (told[topic], nth) for topic, _, nth in page.holes})
        for topic, seq, nth in page.holes:
            after = told[topic]
            if seq <= after:
                continue
            # Nobody counts for a reader. But it may be at the very beginning, or have had one just now.
            known = holes.get(topic) or had.get(topic.encode(), (at, 0))
            stand = kept[topic.encode()] if seq <= page.through else None
            lost = maybe_lost(*known, nth, page.at.forgotten, stand)
            if lost != 0:
                holes[topic] = seq, nth
                self._told.append(self._gap(topic, after, seq + 1, "retention", lost))


class Newest(Reading):
    """Of each topic that changed after `position` the newest event, the longest unchanged first; of the
    topics of which the interest wants less than all.

    One that changes while this reads is read where it is then: so a reader goes round once through
    whatever is due, however far behind it is. What changed again beyond `upto` comes in the flow.
    """

    __slots__ = ("_owed", "_upto")

    def __init__(
        self,
        hub: Hub,
        interest: Interest,
        position: Position,
        owed: frozenset[str] | None = None,
        upto: int = 0,
    ) -> None:
        """`owed`: the topics that the reader lacks of what came up to seq `upto`; None for all."""
        super().__init__(hub, interest, position)
        self._owed, self._upto = owed, upto

    def read(self, upto: int, wake: Callable[[], None]) -> Found | None:
        if self.position.seq >= upto:
            return []
        if not self._told and self._is_covered():
            self._events, self._through = NO_RECORDS, None  # of a page: there is newer
            return self._read_ring(upto)
        if self._through is not None:
            return [self._bare(item) for item in self._slice(NEWEST_PAGE_BYTES) if self._is_wanted(item)]
        if not self._asked:
            self._ask(upto, wake)
        return None

    def _read_ring(self, upto: int) -> Found:
        found: list[Event | Gap] = []
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
        if isinstance(item, Gap):
            return True
        if self._owed is not None and item.seq <= self._upto and item.topic not in self._owed:
            return False
        return self.interest.delivery(item.topic) not in (None, ALL)

    def _bare(self, item: Event | Gap) -> Event | Gap:
        return item if isinstance(item, Gap) else item.bare()

    def _ask_log(self, upto: int, done: Done) -> None:
        self._hub.log.newest(self.interest.texts(is_full=False), self.position.seq, upto, done)
