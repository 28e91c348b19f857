"""Read events from any Python process: `for event in Subscriber("room/**"): print(event.data)`."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from types import TracebackType

from broker.control import PAGE_EVENTS
from broker.errors import BadPattern
from broker.gap import Gap
from broker.topics import Pattern, is_system
from broker.wire import Position
from producer.event import Event
from producer.feed import Feed
from producer.link import CONTROL, FEED
from producer.pending import Pending
from producer.subscription import Subscription

log = logging.getLogger(__name__)


class Subscriber:
    """Events of one broker that match any of some patterns: each once, in strictly increasing seq.

    What a broken link, a restart of the broker or a high-water mark kept back is read from the log and
    comes in its place. What cannot be had any more is told in its place, to `on_gap`. Nothing has to run
    before this does: the broker is waited for.

    One thread reads; any may close. A reader may be as slow as it likes: beyond 10,000 events that
    wait for it here, the others wait in the log. After a fork make a new one in the child.
    """

    def __init__(
        self,
        *patterns: str,
        history: int = 0,
        since: str | None = None,
        feed: str | None = None,
        control: str | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_stale: Callable[[bool], None] | None = None,
    ) -> None:
        """Connects in the background: nothing here waits for the broker.

        Args:
            patterns: `room/*`, `room/**`, or whole topics; at least one.
            history: the newest so many events of each topic first, 0 to 2,000; 2,000 in all (see
                `truncated`). Without it the first event is one that is published from now on.
            since: a `position`: everything after it first, whatever `history` says.
            feed: the broker's address for subscribers.
            control: its address for questions about the log.
            on_gap: called by the reading thread, between the events around the gap; without it gaps are
                warnings in the log.
            on_stale: called by a thread of ours with True when the broker was not heard for three
                seconds, and with False when it is again; without it that is in the log, too.

        Raises:
            BadPattern: not a pattern, or one of `$` topics.
            BadPosition: `since` is not `epoch.seq`.
            BadSetting: not an address.
            ValueError: no pattern, or `history` out of range.
        """
        if not patterns:
            raise ValueError("name at least one pattern: Subscriber('**') gets everything")
        if not 0 <= history <= PAGE_EVENTS:
            raise ValueError(f"history={history}: want 0 to {PAGE_EVENTS}")
        self.patterns = patterns
        position = None if since is None else Position.parse(since)
        wanted = [check_readable(text) for text in patterns]
        self._on_gap = on_gap or _log_gap
        self._feed = Feed(feed or FEED, control or CONTROL)
        self._pending = Pending(position, self._feed.wake)
        self._subscription = Subscription(
            wanted,
            self._feed,
            self._pending,
            since=position,
            history=history,
            on_stale=on_stale or _log_stale(self._feed.address),
        )
        self._subscription.begin(time.monotonic())
        self._feed.start(self._subscription, "penstock-subscriber")
        # The thread knows nothing of this object, so that one that was forgotten is collected and ends it.
        self._forgotten = weakref.finalize(self, self._feed.close)

    @property
    def position(self) -> str | None:
        """A `since` with which another Subscriber of the same patterns goes on where this one is: all
        that is due up to there was returned. None while there is none yet.
        """
        position = self._pending.position
        return None if position is None else str(position)

    @property
    def stale(self) -> bool:
        """Whether the broker is not heard: not yet, or not for three seconds."""
        return self._subscription.is_stale

    @property
    def truncated(self) -> bool:
        """Whether there was more history than one answer holds: then these are the newest of it."""
        return self._subscription.is_truncated

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the broker is heard: what is published after this was True, will come. False: not in time, or
        this Subscriber was closed. Not needed to read; for who has something published and wants to see it.
        """
        return self._pending.await_begin(timeout_s)

    def next(self, timeout_s: float | None = None) -> Event | None:
        """The next event. None: none came within `timeout_s`, or this Subscriber was closed."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            item = self._pending.take(left_s)
            if not isinstance(item, Gap):
                return item
            self._on_gap(item)

    def __iter__(self) -> Subscriber:
        return self

    def __next__(self) -> Event:
        if (event := self.next()) is None:
            raise StopIteration
        return event

    @property
    def closed(self) -> bool:
        return self._pending.is_ended

    def close(self) -> None:
        """End the iteration, at once; `position` stays. May be called again, and by any thread."""
        self._pending.end()
        self._forgotten()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "stale" if self.stale else "open"
        return f"Subscriber({', '.join(self.patterns)}, {state}, position={self.position})"


def check_readable(text: str) -> Pattern:
    """Raises BadPattern."""
    if is_system(text):
        raise BadPattern(text, "names that begin with '$' are the system's own")
    return Pattern(text)


def _log_gap(gap: Gap) -> None:
    log.warning(
        "gap pattern=%s after=%s before=%s cause=%s lost=%s",
        gap.pattern, gap.after, gap.before, gap.cause, "unknown" if gap.lost is None else gap.lost,
    )  # fmt: skip


def _log_stale(address: str) -> Callable[[bool], None]:
    def tell(is_stale: bool) -> None:
        if is_stale:
            log.warning("no broker heard at feed=%s: waiting", address)
        else:
            log.info("broker heard again feed=%s", address)

    return tell
