"""Waiting for facts: the one place in the tests where time passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import gevent

T = TypeVar("T")

# Not how long anything may take: two cores that six others share started a gateway in more than 20.
DEADLINE_S = 60.0
LOOK_EVERY_S = 0.02
_NEVER = threading.Event()


def wait_for(
    fact: Callable[[], T | None],
    *,
    what: str | Callable[[], str],
    deadline_s: float = DEADLINE_S,
    pause: Callable[[float], object] = _NEVER.wait,
) -> T:
    """The first true value of `fact`, asked again and again.

    Raises:
        AssertionError: not true within `deadline_s`; the text says `what` was waited for.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        if value := fact():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s:g} s: {what if isinstance(what, str) else what()}")
        pause(LOOK_EVERY_S)


def wait_in_loop(fact: Callable[[], T | None], *, what: str | Callable[[], str]) -> T:
    """The same where the fact is up to other greenlets of this thread, which go on meanwhile."""
    return wait_for(fact, what=what, pause=gevent.sleep)
