"""What the log keeps for gateways: small values by name, so that any of them finds what another one kept.

All are held in memory. Of each its first value is kept, and told when it is committed; that it was used
is written now and then only, for the order in which they go.
"""

from __future__ import annotations

import logging
from itertools import islice
from math import inf

from broker.errors import PayloadTooLarge
from broker.index import Index
from broker.shelf import SECRET, VALUE_MAX_BYTES, Item, Shelf
from broker.store import Change, Store

log = logging.getLogger(__name__)

NOTE_S = 3_600.0  # between two writes of one value for its use
NOTED_AT_ONCE = 8
TELL_S = 60.0  # between two lines of the log that say how many went


class Kept:
    """Not thread-safe."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store, self._index = store, index
        self._shelf = Shelf()
        self._noted_s: dict[str, float] = {}  # by name: when it was last written, of the log's age clock
        self._due: dict[str, None] = {}  # names whose use has yet to be written
        self._forgot, self._told_s = 0, -inf  # how many went since that was last told, and when it was

    def __len__(self) -> int:
        return len(self._shelf)

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return self._shelf.size

    def load(self) -> None:
        """Raises LogError, CannotCommit."""
        damaged: list[int] = []
        for number, item in self._store.kept():
            if item is None:
                log.error("damaged kept number=%d: dropped", number)
                damaged.append(number)
            else:
                self._shelf.put(item)
        if damaged:
            self._store.commit(Change(drop=damaged))

    def maybe(self, name: str) -> bytes | None:
        """What is kept under it."""
        item = self._shelf.maybe(name)
        if item is None:
            return None
        self._shelf.use(name)
        if self._index.clock_s - self._noted_s.get(name, -inf) >= NOTE_S:
            self._due[name] = None
        return item.value

    def keep(self, name: str, value: bytes) -> bytes:
        """What is kept under it: this, from now on, unless there is something.

        Raises:
            PayloadTooLarge.
            CannotCommit: nothing has changed. What is kept is answered all the same.
        """
        if len(value) > VALUE_MAX_BYTES:
            raise PayloadTooLarge(len(value), VALUE_MAX_BYTES)
        if (found := self.maybe(name)) is not None:
            return found
        item = Item(self._shelf.next_number, name, value)
        leaving = self._shelf.leaving(len(value))
        # Gateways would seal on with a secret that a power cut has undone, and those that start then with
        # another. There is one in the life of a set, so that the loop may wait for the disk.
        is_secret = name.startswith(SECRET)
        self._store.commit(Change(keep=[item], drop=[each.number for each in leaving]), durable=is_secret)
        self._shelf.remove(leaving)
        for each in leaving:
            self._noted_s.pop(each.name, None)
            self._due.pop(each.name, None)
        self._forgot += len(leaving)
        if leaving and self._index.clock_s - self._told_s >= TELL_S:
            log.info("forgot kept=%d, the last of them name=%s", self._forgot, leaving[-1].name)
            self._told_s, self._forgot = self._index.clock_s, 0
        self._shelf.put(item)
        self._noted_s[name] = self._index.clock_s
        return value

    def note_uses(self) -> bool:
        """One bounded piece: that some were used is written; whether there were any. Raises CannotCommit."""
        names = list(islice(self._due, NOTED_AT_ONCE))
        if not names:
            return False
        items = [item for name in names if (item := self._shelf.maybe(name))]
        again = [item._replace(number=number) for number, item in enumerate(items, self._shelf.next_number)]
        self._store.commit(Change(keep=again, drop=[item.number for item in items]))
        for item in again:
            self._shelf.put(item)
            self._noted_s[item.name] = self._index.clock_s
            del self._due[item.name]
        return True
