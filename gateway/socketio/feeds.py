"""What gateways share about clients that come back: the key of their tokens, and sets of subscriptions.

Both are kept by the broker, each once: whichever gateway comes first names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.errors import ControlError
from broker.wire import Position
from gateway.socketio.kept_sets import Keeping, KeptSets
from gateway.socketio.recovery import KEY_NAME, Sealer, new_key

if TYPE_CHECKING:
    from gateway.socketio.feed_client import FeedClient

WAIT_LOOKS = 5  # for the key, of those who can begin without it


class Feeds:
    """Not thread-safe."""

    def __init__(self, keeping: Keeping, tell_others: Callable[[str], None]) -> None:
        """`tell_others`: that this token's client is here now (see `replace`)."""
        self.sets = KeptSets(keeping)
        self._keeping, self._tell_others = keeping, tell_others
        self._key = new_key()  # until it is known which one is kept
        self._sealer: Sealer | None = None
        self._epoch = 0  # of the log in which that is kept
        self._clients: dict[str, FeedClient] = {}  # by token
        # For the key: until which look, and what is called then.
        self._waiting: dict[FeedClient, tuple[float, Callable[[], None]]] = {}
        self._looks = 0

    def look(self, epoch: int) -> None:
        """Ask for the key in a new log, which may know nothing of the one before; to be called about once a
        second. Without it clients get no token, and begin anew after a break.
        """
        self._ask(epoch)
        self.sets.look()
        self._looks += 1
        for client in [client for client, (looks, _) in self._waiting.items() if looks <= self._looks]:
            self._call(client)

    def await_key(self, client: FeedClient, epoch: int, call: Callable[[], None], looks: float) -> None:
        """Call when there are tokens, perhaps at once, or after so many looks without; not if it has gone."""
        if self._sealer is not None:
            call()
            return
        self._waiting[client] = self._looks + looks, call
        self._ask(epoch)

    def _call(self, client: FeedClient) -> None:
        if client in self._waiting:  # or one before it ended it
            _, call = self._waiting.pop(client)
            call()

    def _ask(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self.sets.begin_anew()

        def done(key: str | ControlError | None) -> None:
            if isinstance(key, str):
                self._key, self._sealer = key, Sealer(key)
                for client in list(self._waiting):
                    self._call(client)
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
        self._waiting.pop(client, None)
        if client.pid is not None and self._clients.get(client.pid) is client:
            del self._clients[client.pid]
