"""Small values under names, and which of them go when there are too many. Pure.

The longest unused goes first; secrets last of all, for they are asked for only when a gateway starts, and
tokens that were sealed with one that is gone are worth nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

KEPT_MAX = 10_000
KEPT_MAX_BYTES = 16 << 20  # of all values
VALUE_MAX_BYTES = 64 << 10
SECRET = "key:"  # how the names of secrets begin


class Item(NamedTuple):
    """A value, as the log has it. Numbers are given in the order of use, as far as that was written."""

    number: int
    name: str
    value: bytes


class Shelf:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, Item] = OrderedDict()  # the longest unused first
        self.size = 0  # bytes of all values
        self.next_number = 1  # larger than any that is here, or was

    def __len__(self) -> int:
        return len(self._items)

    def maybe(self, name: str) -> Item | None:
        return self._items.get(name)

    def use(self, name: str) -> None:
        """It is the one used last."""
        self._items.move_to_end(name)

    def put(self, item: Item) -> None:
        """A new one is the one used last; one that is written anew stands where it stood."""
        before = self._items.get(item.name)
        self._items[item.name] = item
        self.size += len(item.value) - (len(before.value) if before else 0)
        self.next_number = max(self.next_number, item.number + 1)

    def remove(self, items: Iterable[Item]) -> None:
        for item in items:
            del self._items[item.name]
            self.size -= len(item.value)

    def leaving(self, size: int) -> list[Item]:
        """Those that have to go before there is room for one more, of so many bytes."""
        count, excess = len(self._items) + 1 - KEPT_MAX, self.size + size - KEPT_MAX_BYTES
        found: list[Item] = []
        for is_secret in (False, True):
            for item in self._items.values():
                if count <= 0 and excess <= 0:
                    return found
                if item.name.startswith(SECRET) == is_secret:
                    found.append(item)
                    count -= 1
                    excess -= len(item.value)
        return found
