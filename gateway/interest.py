"""What a connection wants: patterns, and of each how much. Pure."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakValueDictionary

from broker.topics import Pattern
from gateway.delivery import ALL, Delivery

CACHED_TOPICS = 100_000


class Want(NamedTuple):
    """A subscription."""

    pattern: Pattern
    delivery: Delivery = ALL


Wants = frozenset[Want]


class Interest:
    """A set of subscriptions, shared by all connections that have the same."""

    __slots__ = ("__weakref__", "_cache", "collects", "conflates", "name", "wants")

    def __init__(self, wants: Wants) -> None:
        self.wants = wants
        self.collects = any(wanted.delivery == ALL for wanted in wants)  # all of some topics
        self.conflates = any(wanted.delivery != ALL for wanted in wants)  # less of some
        self.name: str | None = None  # in offsets of Socket.IO, once somebody wants it (see `sets`)
        self._cache: dict[str, Delivery | None] | None = None

    @property
    def is_mixed(self) -> bool:
        """All of some topics, and less of others."""
        return self.collects and self.conflates

    def has(self, pattern: Pattern) -> bool:
        text = pattern.text
        return any(wanted.pattern.text == text for wanted in self.wants)

    def lacking(self, patterns: frozenset[Pattern]) -> frozenset[Pattern]:
        """Those that it does not have."""
        return frozenset(each for each in patterns if not self.has(each))

    def delivery(self, topic: str) -> Delivery | None:
        """How much of a topic; of several the fullest. None: it is not wanted."""
        if (cache := self._cache) is None:
            cache = self._cache = {}
        elif topic in cache:
            return cache[topic]
        elif len(cache) >= CACHED_TOPICS:
            cache.clear()
        found = max((wanted.delivery for wanted in self.wants if wanted.pattern.matches(topic)), default=None)
        cache[topic] = found
        return found

    def texts(self, *, is_full: bool) -> list[str]:
        """The patterns of which everything is wanted, or the others."""
        return sorted(wanted.pattern.text for wanted in self.wants if (wanted.delivery == ALL) == is_full)

    def with_(self, more: Wants) -> Wants:
        """A subscription to a pattern that there is replaces it."""
        texts = {wanted.pattern.text for wanted in more}
        return more.union(wanted for wanted in self.wants if wanted.pattern.text not in texts)

    def without(self, pattern: Pattern) -> Wants:
        return frozenset(wanted for wanted in self.wants if wanted.pattern != pattern)


class Interests:
    """Each set once, as long as anybody has it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Wants, Interest] = WeakValueDictionary()

    def of(self, wants: Wants) -> Interest:
        if (found := self._known.get(wants)) is None:
            found = self._known[wants] = Interest(wants)
        return found
