"""Running things soon, and not before what has come on sockets meanwhile.

gevent runs up to fifty of its callbacks, and those that they add, before it looks at a socket again:
a few readers of a long past, who each do a millisecond's work and ask for another turn, would keep
everybody else waiting for fifty.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from gevent.hub import get_hub

log = logging.getLogger(__name__)

TURN_S = 0.002  # then sockets have their turn


class Later:
    """Calls what it is called with, in that order, in the event loop."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], None]] = deque()
        self._timer = get_hub().loop.timer(0)  # is over right after the loop has looked at the sockets

    def __call__(self, call: Callable[[], None]) -> None:
        self._due.append(call)
        self._arm()

    def _arm(self) -> None:
        if self._due and not self._timer.active:
            self._timer.start(self._run)

    def _run(self) -> None:
        until_s = time.monotonic() + TURN_S
        for _ in range(len(self._due)):
            call = self._due.popleft()
            try:
                call()
            except Exception:
                # The others are to have their turns, and `_arm` to be come to.
                log.exception("what was to be done later failed")
            if time.monotonic() > until_s:
                break
        self._arm()
