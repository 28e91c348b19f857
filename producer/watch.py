"""Whether anybody watches what is published here, as a thread hears it from the broker."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from threading import Lock

from broker.topics import Pattern
from producer.demand import Demand
from producer.feed import Feed

log = logging.getLogger(__name__)


class Watch:
    """Of one broker. Threads may share it."""

    def __init__(self, feed: str, control: str) -> None:
        """Connects in the background. Raises BadSetting: not an address."""
        self._lock = Lock()
        self._feed = Feed(feed, control)
        self._demand = Demand(self._feed)
        self._demand.begin(time.monotonic())
        self._feed.start(self._demand, "penstock-watch")
        # The thread knows nothing of this object: with a Publisher that was forgotten, it ends.
        self._forgotten = weakref.finalize(self, self._feed.close)

    def is_watched(self, topic: str) -> bool:
        """Also True while that is not known."""
        return self._demand.is_watched(topic)

    def tell(self, pattern: Pattern, told: Callable[[bool], object]) -> Callable[[], None]:
        """See `demand.Demand.tell`. An error of `told` is logged."""

        def guarded(is_watched: bool) -> None:
            try:
                told(is_watched)
            except Exception:
                log.exception("a callback failed pattern=%s watched=%s", pattern.text, is_watched)

        with self._lock:
            end = self._demand.tell(pattern, guarded)
        self._feed.wake()

        def undo() -> None:
            with self._lock:
                end()

        return undo

    def close(self) -> None:
        """May be called twice."""
        self._forgotten()
