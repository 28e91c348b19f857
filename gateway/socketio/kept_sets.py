"""Sets of subscriptions, kept by the broker under their names, so that every gateway finds them. Pure.

The broker lets go what was not used for longest. So sets that are in use here are kept again now and then,
and all of them in a log that knows nothing of the one before.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from broker.errors import ControlError
from gateway.interest import Interest, Wants
from gateway.socketio.sets import maybe_wants, name_of, set_name, set_text

KNOWN_MAX = 1_000  # sets by name, also those that nobody here has any more
AGAIN_LOOKS = 600  # after which one in use is kept again
EACH_LOOKS = 60  # between two searches for those
KEEPS_PER_LOOK = 200
EMPTY: Wants = frozenset()
_EMPTY_NAME = set_name(EMPTY)
_PREFIX = "set:"

Looked = Callable[[str | ControlError | None], None]


class Keeping(Protocol):
    """Small values, kept for all gateways (see `Kept`). Answers come later, never before the call returns."""

    def keep(self, name: str, value: str, done: Looked) -> None: ...
    def look(self, name: str, done: Looked) -> None: ...


class KeptSets:
    """Not thread-safe."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._looks = 0
        self._kept: WeakKeyDictionary[Interest, float] = WeakKeyDictionary()  # in use, and as of which look
        self._due: list[Interest] = []
        self._known: OrderedDict[str, Wants] = OrderedDict()

    def look(self) -> None:
        """To be called about once a second."""
        self._looks += 1
        if not self._looks % EACH_LOOKS:
            oldest = self._looks - AGAIN_LOOKS
            self._due += [interest for interest, looks in self._kept.items() if looks <= oldest]
        for _ in range(min(KEEPS_PER_LOOK, len(self._due))):
            self._keep(self._due.pop())

    def begin_anew(self) -> None:
        """In a log that may have none of them."""
        self._due = list(self._kept)

    def keep(self, interest: Interest) -> None:
        """It is in use from now on."""
        if interest.wants and self._kept.get(interest, -math.inf) == -math.inf:
            self._keep(interest)

    def _keep(self, interest: Interest) -> None:
        self._kept[interest] = self._looks
        self._note(name_of(interest), interest.wants)

        def done(kept: str | ControlError | None) -> None:
            if isinstance(kept, ControlError):
                # One that is too large for the broker will not become smaller; it is known here alone.
                self._kept[interest] = math.inf if kept.code == "limit" else -math.inf

        self._keeping.keep(_PREFIX + name_of(interest), set_text(interest.wants), done)

    def find(self, name: str, done: Callable[[Wants | None], None]) -> None:
        """The set of that name, None if nobody knows it; perhaps at once."""
        if name == _EMPTY_NAME:
            done(EMPTY)
            return
        if name in self._known:
            self._known.move_to_end(name)
            done(self._known[name])
            return

        def looked(text: str | ControlError | None) -> None:
            wants = maybe_wants(name, text) if isinstance(text, str) else None
            if wants is not None:
                self._note(name, wants)
            done(wants)

        self._keeping.look(_PREFIX + name, looked)

    def _note(self, name: str, wants: Wants) -> None:
        self._known[name] = wants
        self._known.move_to_end(name)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
