"""Which prefixes are needed from upstream, and by how many subscriptions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from broker.topics import Pattern
from gateway.interest import Interest

if TYPE_CHECKING:
    from gateway.connection import Connection


class Prefixes(Protocol):
    """The upstream, as far as it is asked for these (see `Upstream`)."""

    def follow(self, prefix: str) -> bool: ...
    def settle(self) -> None: ...
    def unfollow(self, prefixes: Sequence[str]) -> None: ...
    def covers(self, prefix: str) -> int | None: ...


class Needs:
    """A prefix that nobody needs any more is followed for a while: whoever comes back finds it in force."""

    def __init__(
        self, later: Callable[[Callable[[], None]], None], clock: Callable[[], float], linger_s: float
    ) -> None:
        """
        Args:
            later: runs a function soon, not at once.
            linger_s: how long that while is.
        """
        self.upstream: Prefixes  # set once by whoever joins the two
        self._later, self._clock, self._linger_s = later, clock, linger_s
        self._users: dict[str, int] = {}  # prefix -> how many subscriptions need it
        self._unused: dict[str, float] = {}  # prefix -> since when nobody does
        self._forced: list[str] = []  # those in force of which nobody has been told
        self._waiting: dict[str, set[Connection]] = {}  # for a prefix to be in force

    def claim(self, wanted: Pattern) -> None:
        """One subscription more that needs what this pattern begins with."""
        prefix = wanted.prefix
        self._users[prefix] = self._users.get(prefix, 0) + 1
        self._unused.pop(prefix, None)
        if not self.upstream.follow(prefix):
            self._later(self.upstream.settle)  # one barrier for all that come in the same turn

    def announce(self, wanted: Pattern) -> None:
        """It is about to be claimed: one barrier does for all that come in the same turn."""
        if wanted.prefix not in self._users:
            self.claim(wanted)
            self.release(wanted)

    def release(self, wanted: Pattern) -> None:
        prefix = wanted.prefix
        self._users[prefix] -= 1
        if not self._users[prefix]:
            del self._users[prefix]
            self._unused[prefix] = self._clock()

    def await_force(self, wanted: Pattern, connection: Connection) -> int | None:
        """From which seq on the pattern's prefix is followed; None: not yet, and the connection will be
        among the `woken`.
        """
        in_force = self.upstream.covers(wanted.prefix)
        if in_force is None:
            self._waiting.setdefault(wanted.prefix, set()).add(connection)
        return in_force

    def forget(self, wanted: Pattern, connection: Connection) -> None:
        """It waits no longer."""
        self._waiting.get(wanted.prefix, set()).discard(connection)

    def in_force(self, prefixes: Sequence[str]) -> None:
        self._forced += prefixes

    @property
    def has_woken(self) -> bool:
        return bool(self._forced)

    def woken(self) -> Iterator[Connection]:
        """Who waited for what has come into force, each once a prefix."""
        forced, self._forced = self._forced, []
        for prefix in forced:
            yield from self._waiting.pop(prefix, ())

    def covers(self, interest: Interest) -> int | None:
        """The seq from which on everything of it is followed, None if it is not."""
        earliest = 0
        for wanted in interest.wants:
            since = self.upstream.covers(wanted.pattern.prefix)
            if since is None:
                return None
            earliest = max(earliest, since)
        return earliest

    def expire(self) -> None:
        deadline = self._clock() - self._linger_s
        if gone := [prefix for prefix, since in self._unused.items() if since <= deadline]:
            for prefix in gone:
                del self._unused[prefix]
                self._waiting.pop(prefix, None)
            self.upstream.unfollow(gone)
