"""What a subscriber is due: the past it asked for, then all that matches, in the order of the log. Pure.

The ordered stream is that of every gateway (`broker.upstream`). Added here are whole names, the past
that a subscriber without a position begins with, and readers who are slower than what comes: where
they have enough to read, the flow goes by, and comes from the log when they have room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from broker import control
from broker.control import Head, LastPage
from broker.gap import Gap
from broker.topics import Pattern
from broker.upstream import ASK_AGAIN_S, STALE_AFTER_S, Upstream
from broker.wire import Position
from producer.event import Event
from producer.questions import Done

MATCHES_MAX = 10_000  # topics of which it is remembered whether they match


class Link(Protocol):
    """How it reaches the broker: see `feed.Feed`."""

    def set_filter(self, prefix: str, is_on: bool) -> None: ...
    def barrier(self, number: int) -> None: ...
    def ask(self, request: control.AnyRequest, done: Done) -> None: ...


class Reader(Protocol):
    """Who gets it: see `pending.Pending`."""

    @property
    def is_full(self) -> bool: ...
    def begin(self) -> None: ...
    def put(self, item: Event | Gap) -> None: ...
    def reach(self, position: Position) -> None: ...
    def flush(self) -> None: ...
    def await_room(self) -> bool: ...
    def end(self, error: BaseException | None) -> None: ...


class Subscription:
    """See `feed.Listener` for who calls what."""

    def __init__(
        self,
        patterns: Sequence[Pattern],
        link: Link,
        reader: Reader,
        *,
        since: Position | None,
        history: int,
        on_stale: Callable[[bool], None],
    ) -> None:
        """`history` counts where there is no `since`."""
        self._patterns = tuple(patterns)
        self._link, self._reader, self._on_stale = link, reader, on_stale
        self._matches: dict[str, bool] = {}
        self._upstream: Upstream[Event] = Upstream(self, self)
        self._since = since
        self._history = 0 if since else history  # how much of it is still awaited
        self._history_upto: int | None = None  # None: where it ends is not known yet
        self._history_s = 0.0
        self._behind_history: list[Gap] = []  # a new log, before the old one has told its history
        self._is_paused = False  # the reader has enough to read
        self._silent_s: float | None = None  # since when it is known that nobody was heard; None: it was told
        self._now_s = 0.0
        self.is_truncated = False

    @property
    def is_stale(self) -> bool:
        return self._upstream.is_stale

    # feed.Listener

    def begin(self, now_s: float) -> None:
        """Before anything else."""
        self._now_s = self._silent_s = now_s
        for prefix in sorted({pattern.prefix for pattern in self._patterns}):
            self._upstream.follow(prefix)
        if self._since:
            self._upstream.resume(self._since)

    def on_connected(self, now_s: float) -> None:
        self._now_s = now_s
        self._upstream.on_connected(now_s)

    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        if self._flows and not topic.startswith(b"$"):
            self._upstream.on_event(Event(topic, stamp, payload))

    def on_marker(self, number: int, at: Head, now_s: float) -> None:
        self._now_s = now_s
        self._upstream.on_marker(number, at, now_s)

    def on_beat(self, at: Head, now_s: float) -> None:
        self._now_s = now_s
        self._upstream.on_beat(at, now_s)

    def tick(self, now_s: float) -> None:
        self._now_s = now_s
        self._upstream.tick(now_s)
        if self._silent_s is not None and now_s - self._silent_s > STALE_AFTER_S:
            self._silent_s = None
            self._on_stale(True)
        if self._history_upto is not None and now_s - self._history_s > ASK_AGAIN_S:
            self._ask_history()

    def turn(self, now_s: float) -> None:
        self._reader.flush()
        if self._reader.is_full:
            self._is_paused = True
        if self._is_paused and self._reader.await_room():
            self._is_paused = False
            self._go_on(now_s)

    def on_end(self, error: BaseException | None) -> None:
        self._reader.end(error)

    # upstream.Downstream

    def offer(self, event: Event) -> None:
        if self._is_wanted(event.topic):
            self._reader.put(event)

    def offer_gap(self, gap: Gap) -> None:
        if gap.pattern == "**" or self._is_wanted(gap.pattern):
            if self._history:
                self._behind_history.append(gap)
            else:
                self._reader.put(gap)

    def advance(self, seq: int) -> None:
        self._reader.begin()
        if not self._history:
            self._reader.reach(Position(self._upstream.epoch, seq))

    def change_epoch(self, epoch: int, start: int, seq: int) -> None:
        if self._history:
            self._history_upto = seq
            self._ask_history()

    def in_force(self, prefixes: Sequence[str]) -> None: ...

    def set_stale(self, is_stale: bool) -> None:
        was_told = self._silent_s is None
        self._silent_s = None
        if is_stale or was_told:
            self._on_stale(is_stale)

    # upstream.Link

    def set_filter(self, prefix: str, is_on: bool) -> None:
        self._link.set_filter(prefix, is_on)

    def barrier(self, number: int) -> None:
        self._link.barrier(number)

    def ask_replay(self, number: int, prefixes: Sequence[str], after: int, upto: int) -> None:
        if self._reader.is_full:
            self._is_paused = True
        if self._flows:
            self._link.ask(
                control.Replay(id=0, prefixes=tuple(prefixes), after=after, upto=upto),
                lambda page, events: self._upstream.on_replay(number, page, events),
            )

    def ask_tails(self, number: int, prefixes: Sequence[str], after: int) -> None:
        if self._flows:
            self._link.ask(
                control.Tails(id=0, prefixes=tuple(prefixes), after=after),
                lambda page, _: self._upstream.on_tails(number, page),
            )

    # Small moves

    @property
    def _flows(self) -> bool:
        return not (self._history or self._is_paused)

    def _go_on(self, now_s: float) -> None:
        """What came meanwhile was not looked at: as after a break, a barrier tells where that ends."""
        self._upstream.on_connected(now_s)

    def _ask_history(self) -> None:
        upto = self._history_upto
        assert upto is not None
        self._history_s = self._now_s
        epoch = self._upstream.epoch

        def done(page: LastPage, events: Sequence[Event]) -> None:
            if self._history_upto == upto and page.at.epoch_number == self._upstream.epoch == epoch:
                self._begin_with(page, events)

        texts = tuple(pattern.text for pattern in self._patterns)
        self._link.ask(control.Last(id=0, patterns=texts, count=self._history, upto=upto), done)

    def _begin_with(self, page: LastPage, events: Sequence[Event]) -> None:
        upto, epoch = self._history_upto, self._upstream.epoch
        assert upto is not None
        self._history, self._history_upto = 0, None
        self.is_truncated = page.truncated
        for first, last in page.damaged:
            self._reader.put(Gap("**", Position(epoch, first - 1), Position(epoch, last + 1), "damaged"))
        for event in events:
            self._reader.put(event)
        for gap in self._behind_history:
            self._reader.put(gap)
        self._behind_history.clear()
        self._reader.reach(Position(epoch, upto))
        self._go_on(self._now_s)

    def _is_wanted(self, topic: str) -> bool:
        if (found := self._matches.get(topic)) is None:
            if len(self._matches) >= MATCHES_MAX:
                self._matches.clear()
            found = self._matches[topic] = any(pattern.matches(topic) for pattern in self._patterns)
        return found
