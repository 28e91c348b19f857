"""What gateways share about clients that come back: the key of their tokens, and sets of subscriptions.

Both are kept by the broker, each once: whichever gateway comes first names it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from broker.errors import ControlError
from broker.wire import Position
from gateway.interest import Interest, Wants
from gateway.socketio.recovery import KEY_NAME, Sealer, new_key
from gateway.socketio.sets import maybe_wants, set_name, set_text

if TYPE_CHECKING:
    from gateway.socketio.feed_client import FeedClient

log = logging.getLogger(__name__)

KNOWN_MAX = 10_000  # sets, by name
WAIT_LOOKS = 5  # for the key, of those who can begin without it
EMPTY: Wants = frozenset()
_EMPTY_NAME = set_name(EMPTY)
_PREFIX = "set:"

Looked = Callable[[str | ControlError | None], None]


class Keeping(Protocol):
    """Small values, kept for all gateways (see `Kept`). Answers come later, never before the call returns."""

    def keep(self, name: str, value: str, done: Looked) -> None: ...
    def look(self, name: str, done: Looked) -> None: ...


class Feeds:
    """Not thread-safe."""

    def __init__(self, keeping: Keeping, tell_others: Callable[[str], None]) -> None:
        """`tell_others`: that this token's client is here now (see `replace`)."""
        self._keeping, self._tell_others = keeping, tell_others
        self._key = new_key()  # until it is known which one is kept
        self._sealer: Sealer | None = None
        self._epoch = 0  # of the log in which that is kept, and those
        self._kept: set[str] = set()  # names of sets
        self._known: OrderedDict[str, Wants] = OrderedDict()
        self._clients: dict[str, FeedClient] = {}  # by token
        self._waiting: list[tuple[float, Callable[[], None]]] = []  # for the key; until which look
        self._looks = 0

    # Tokens

    def look(self, epoch: int) -> None:
        """Ask for the key in a new log, which may know nothing of the one before; to be called about once a
        second. Without it clients get no token, and begin anew after a break.
        """
        self._ask(epoch)
        self._looks += 1
        self._call([each for each in self._waiting if each[0] <= self._looks])

    def await_key(self, epoch: int, call: Callable[[], None], looks: float) -> None:
        """Call when there are tokens, perhaps at once, or after so many looks without."""
        if self._sealer is not None:
            call()
            return
        self._waiting.append((self._looks + looks, call))
        self._ask(epoch)

    def _call(self, waiting: list[tuple[float, Callable[[], None]]]) -> None:
        if waiting:
            self._waiting = [each for each in self._waiting if each not in waiting]
            for _, call in waiting:
                call()

    def _ask(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._kept.clear()

        def done(key: str | ControlError | None) -> None:
            if isinstance(key, str):
                self._key, self._sealer = key, Sealer(key)
                self._call(self._waiting)
            else:
                self._epoch = 0

        self._keeping.keep(KEY_NAME, self._key, done)

    def is_of(self, pid: str, offset: Position) -> bool:
        """See Sealer.is_of."""
        return self._sealer is not None and self._sealer.is_of(pid, offset)

    def new_pid(self, client: FeedClient, position: Position) -> str | None:
        """`position`: where the client begins."""
        if self._sealer is None:
            return None
        pid = self._sealer.new_pid(position)
        self._clients[pid] = client
        return pid

    def replace(self, pid: str, client: FeedClient) -> None:
        """It is here now: an older connection of it ends first, be it at another gateway."""
        self.part(pid)
        self._clients[pid] = client
        self._tell_others(pid)

    def part(self, pid: str) -> None:
        if (older := self._clients.pop(pid, None)) is not None:
            older.end(reason="the same client has come anew")

    def forget(self, client: FeedClient) -> None:
        if client.pid is not None and self._clients.get(client.pid) is client:
            del self._clients[client.pid]

    # Sets

    def keep(self, interest: Interest) -> None:
        """So that others find it by its name."""
        name = set_name(interest.wants)
        if name in self._kept or not interest.wants:
            return
        self._note(name, interest.wants)
        self._kept.add(name)

        def done(kept: str | ControlError | None) -> None:
            if isinstance(kept, ControlError):
                self._kept.discard(name)  # the next who has it tries again

        self._keeping.keep(_PREFIX + name, set_text(interest.wants), done)

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
        while len(self._known) > KNOWN_MAX:
            oldest, _ = self._known.popitem(last=False)
            self._kept.discard(oldest)
