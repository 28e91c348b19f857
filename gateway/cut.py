"""A subscribe on its way: its place in the flow, and the past that it asked for up to there. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.control import LastPage, ReplayPage
from broker.errors import ControlError
from broker.gap import Gap
from broker.topics import Pattern
from broker.wire import Position
from gateway.past import PAGE_EVENTS, Found, Newest, Past
from gateway.protocol import Subscribe
from gateway.records import Records

if TYPE_CHECKING:
    from gateway.hub import Hub


class Cut:
    """The connection finds the place, `at`; then it reads until `is_read`, and replies.

    Begins anew in another log.
    """

    __slots__ = (
        "_asked", "_found", "_hub", "_past", "_records", "_wake", "at", "claimed", "epoch", "is_recovered",
        "is_truncated", "not_before", "wanted",
    )  # fmt: skip

    def __init__(self, hub: Hub, wanted: Subscribe, wake: Callable[[], None]) -> None:
        self._hub, self.wanted, self._wake = hub, wanted, wake
        self.claimed: frozenset[Pattern] = frozenset()  # their prefixes are counted at the hub for it
        self.restart()

    def restart(self) -> None:
        self.epoch = self._hub.epoch  # of all seqs that it counts in
        self.at: Position | None = None  # G: where the flow stands still for it, None before
        self.not_before = 0  # G is at this seq or later
        self.is_recovered = True
        self.is_truncated = False
        self._asked = False
        self._found: list[Gap] = []  # to be told first
        self._past: Past | Newest | None = None  # reads what came after `since`
        self._records: Records | None = None  # the `history`, None until the log has told

    @property
    def is_read(self) -> bool:
        """There is no more of the past that was asked for."""
        if self._found:
            return False
        if self.wanted.since is not None:
            return bool(self.at and self._past and self._past.position.seq >= self.at.seq)
        return not self.wanted.history or (self._records is not None and not self._records)

    def read(self) -> Found | None:
        """Its next page, perhaps of nothing. None: the log was asked and `wake` will be called; if `at` is
        None then, a later place is to be found.
        """
        assert self.at
        if self._found:
            found, self._found = self._found, []
            return found
        if self.wanted.since is not None:
            return self._read_since(self.at, self.wanted.since)
        if self._records is None:
            self._ask_history(self.at)
            return None
        page, self._records = self._records[:PAGE_EVENTS], self._records[PAGE_EVENTS:]
        return page

    def _read_since(self, at: Position, since: Position) -> Found | None:
        if self._past is None:
            return self._begin(at, since)
        items = self._past.read(at.seq, self._wake)
        if items and not isinstance(items, Records) and any(isinstance(item, Gap) for item in items):
            self.is_recovered = False
        return items

    def _begin(self, at: Position, since: Position) -> Found | None:
        """Find out where the past begins that was asked for."""
        hub = self._hub
        if since.epoch != hub.epoch:
            # All that this log has since it began, and nothing is known of the other one.
            self._past = self._reading(Position(hub.epoch, min(hub.start, at.seq)))
            return self._missing(since, Position(hub.epoch, hub.start + 1), "epoch")
        if since.seq <= at.seq:
            self._past = self._reading(since)
            return ()
        # Beyond us: another gateway was ahead of us, or nobody ever was there. The log knows.
        self._ask_ahead(at, since)
        return None

    def _reading(self, start: Position) -> Past | Newest:
        interest = self._hub.interest(self.wanted.wants)
        is_less = interest.conflates and not interest.collects
        return (Newest if is_less else Past)(self._hub, interest, start)

    def _missing(self, after: Position, before: Position, cause: str) -> list[Gap]:
        self.is_recovered = False
        return [Gap(text, after, before, cause) for text in self._texts]

    @property
    def _texts(self) -> list[str]:
        return sorted(wanted.text for wanted in self.wanted.patterns)

    # Asking the log

    def _ask_ahead(self, at: Position, since: Position) -> None:
        if self._asked:
            return
        self._asked = True

        def done(page: ReplayPage | ControlError, _: Records) -> None:
            self._asked = False
            if isinstance(page, ReplayPage) and self._still_stands(at, page):
                if since.seq <= page.at.head:
                    # Let the flow come by there, so that nothing is sent twice.
                    self.at, self.not_before = None, since.seq
                else:
                    self._past = self._reading(at)
                    self._found = self._missing(since, Position(at.epoch, at.seq + 1), "future")
            self._go_on(page)

        self._hub.log.replay(self._texts, at.seq, at.seq, done)  # of no stretch: where the log stands now

    def _ask_history(self, at: Position) -> None:
        if self._asked:
            return
        self._asked = True

        def done(page: LastPage | ControlError, records: Records) -> None:
            self._asked = False
            if isinstance(page, LastPage) and self._still_stands(at, page):
                self._records = records
                self.is_truncated = page.truncated
                self.is_recovered = not page.damaged
            self._go_on(page)

        self._hub.log.last(self._texts, self.wanted.history, at.seq, done)

    def _still_stands(self, at: Position, page: ReplayPage | LastPage) -> bool:
        return self.at == at and page.at.epoch_number == self._hub.epoch

    def _go_on(self, page: ReplayPage | LastPage | ControlError) -> None:
        if not isinstance(page, ControlError) and page.at.epoch_number != self._hub.epoch:
            self._hub.after_flush(self._wake)  # the broker is in another log already; we are about to hear
        else:
            self._wake()
