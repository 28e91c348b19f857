"""Which prefixes the feed's subscribers ask for. Pure."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from broker.control import PREFIXES_MAX
from broker.topics import SYSTEM
from broker.wire import SYNC_PREFIX

_SYSTEM = SYSTEM.encode()


class Barrier(NamedTuple):
    """A subscriber wants a marker on this topic: what it subscribed to before is in force."""

    topic: bytes


class Change(NamedTuple):
    """A prefix got its first subscriber, or lost its last."""

    prefix: bytes
    wanted: bool


class Demand:
    """The prefixes asked for now, out of the subscription messages of an XPUB socket.

    Without XPUB_VERBOSE the socket tells of the first subscriber of a prefix and of its last one
    leaving, so a set is enough.
    """

    def __init__(self) -> None:
        self._prefixes: set[bytes] = set()
        self.ignored = 0  # messages that are no subscription

    def take(self, frames: list[bytes]) -> Barrier | Change | None:
        """What one message from a subscriber means, None when nothing is to be done."""
        if len(frames) != 1 or frames[0][:1] not in (b"\x00", b"\x01"):
            self.ignored += 1
            return None
        wanted, prefix = frames[0][:1] == b"\x01", frames[0][1:]
        if prefix.startswith(SYNC_PREFIX):
            return Barrier(prefix) if wanted else None
        if prefix.startswith(_SYSTEM) or wanted == (prefix in self._prefixes):
            return None
        if wanted:
            self._prefixes.add(prefix)
        else:
            self._prefixes.remove(prefix)
        return Change(prefix, wanted)

    def __len__(self) -> int:
        return len(self._prefixes)

    def prefixes(self) -> list[str]:
        """In order; bytes that are no UTF-8 (they match no topic) with escapes. PREFIXES_MAX at most, any."""
        some = islice(self._prefixes, PREFIXES_MAX)  # to sort all of a million would take a second
        return [prefix.decode(errors="backslashreplace") for prefix in sorted(some)]
