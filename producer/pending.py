"""What has come and was not taken yet, between the feed's thread and that of the reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition

from broker.gap import Gap
from broker.wire import Position
from producer.event import Event

EVENTS_MAX = 10_000
BYTES_MAX = 8 << 20
ITEM_BYTES = 300  # of one beside its payload

Place = Event | Position | None


class Pending:
    """Two threads may use it: one that puts, one that takes.

    A deque's own methods are atomic, so that neither pays for a lock while there is something to take.
    """

    def __init__(self, position: Position | None, wake: Callable[[], None]) -> None:
        """`wake` is called when there is room again, if that was asked for by `await_room`."""
        self._wake = wake
        self._items: deque[Event | Gap] = deque()
        self._condition = Condition()
        self._is_ended = False
        self._error: BaseException | None = None
        self._is_begun = False
        self._is_room_awaited = False
        # Of those who put:
        self._coming: list[Event | Gap] = []
        self._put_events = self._put_bytes = 0
        self._tip: Place = position  # what has come goes up to here
        # Of those who take:
        self._taken_events = self._taken_bytes = 0
        self._place: Place = position  # what was taken goes up to here
        # Set after what it counts is there to be taken:
        self._reached: Place = position

    # The feed's thread

    def put(self, item: Event | Gap) -> None:
        """To be taken after the next `flush`."""
        self._coming.append(item)
        self._put_events += 1
        self._put_bytes += _size(item)
        self._tip = _beyond(item, self._tip)

    def begin(self) -> None:
        """All that is published from now on will be put."""
        if not self._is_begun:
            with self._condition:
                self._is_begun = True
                self._condition.notify_all()

    def reach(self, position: Position) -> None:
        """All that is due up to there was put."""
        self._tip = position

    def flush(self) -> None:
        coming, self._coming = self._coming, []
        if coming:
            self._items.extend(coming)
        self._reached = self._tip
        if coming:
            with self._condition:
                self._condition.notify()

    @property
    def is_full(self) -> bool:
        return self._is_filled(EVENTS_MAX, BYTES_MAX)

    def await_room(self) -> bool:
        """Whether half of it is free; if not, `wake` will be called."""
        self._is_room_awaited = True
        # Asked after that was said: who takes the last one in between has seen it.
        return not self._is_filled(EVENTS_MAX // 2, BYTES_MAX // 2)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing is taken any more; `error`: why, if nobody wanted it."""
        with self._condition:
            self._error = self._error or error
            self._is_ended = True
            self._condition.notify_all()

    # The reader's

    def take(self, timeout_s: float | None) -> Event | Gap | None:
        """The next one. None: none came in time, or it has ended. Raises the error that ended it."""
        if not self._items and not self._is_ended:
            with self._condition:
                self._condition.wait_for(lambda: self._items or self._is_ended, timeout_s)
        if self._is_ended or not self._items:
            if self._error is not None:
                raise self._error
            return None
        item = self._items.popleft()
        self._taken_events += 1
        self._taken_bytes += _size(item)
        self._place = _beyond(item, self._place)
        if self._is_room_awaited and not self._is_filled(EVENTS_MAX // 2, BYTES_MAX // 2):
            self._is_room_awaited = False
            self._wake()
        return item

    def await_begin(self, timeout_s: float | None) -> bool:
        """Whether it has begun, within that time."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_begun or self._is_ended, timeout_s)
        return self._is_begun and not self._is_ended

    @property
    def is_ended(self) -> bool:
        return self._is_ended

    @property
    def position(self) -> Position | None:
        """All that is due up to there was taken."""
        reached = self._reached
        if not self._items:
            self._place = reached
        place = self._place
        return Position(place.epoch, place.seq) if isinstance(place, Event) else place

    def _is_filled(self, events: int, size: int) -> bool:
        return self._put_events - self._taken_events >= events or self._put_bytes - self._taken_bytes >= size


def _size(item: Event | Gap) -> int:
    return len(item.payload) + ITEM_BYTES if isinstance(item, Event) else ITEM_BYTES


def _beyond(item: Event | Gap, place: Place) -> Place:
    """Where one is who was at `place` and got this.

    A gap moves nobody within its log: whoever breaks off behind one is told it again.
    """
    if isinstance(item, Event):
        return item
    before = item.before
    if before.epoch != item.after.epoch or before.seq <= item.after.seq:
        return Position(before.epoch, before.seq - 1)
    return place
