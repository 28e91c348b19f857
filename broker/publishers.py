"""What the log keeps of those who publish confirmed: producers, and the keys of clients.

Producers are few and asked for with each of their requests, so they are held in memory; keys are many
and asked for once, so they are looked up in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from broker.index import Index
from broker.producers import PRODUCERS_MAX, Producer, maybe_unpack
from broker.store import Change, Key, Store

log = logging.getLogger(__name__)

KEY_S = 86_400.0
KEYS_MAX = 100_000
FORGET_CHECK_S = 10.0
EXPIRE_AT_ONCE = 500


class Publishers:
    """Changes with commits of the log alone: who commits tells it by `committed`."""

    def __init__(self, store: Store, index: Index, forget_s: float) -> None:
        """`forget_s`: how long a producer may be silent; of the log's age clock, as are all seconds here."""
        self._store, self._index, self._forget_s = store, index, forget_s
        self.producers: dict[str, Producer] = {}
        self.key_count = 0
        self._checked_s = 0.0

    def load(self) -> None:
        for name, data in self._store.producers():
            if producer := maybe_unpack(name, data):
                self.producers[name] = producer
            else:
                # To go on with a wrong number would confirm what was never logged.
                log.error("damaged producer=%r: it begins anew", name)
        self.key_count = self._store.key_count()

    def maybe_key(self, subject: str, key: str) -> Key | None:
        """What was published under it in the last KEY_S seconds. Raises LogError."""
        found = self._store.maybe_key(subject, key)
        return found if found and found.made_s > self._index.clock_s - KEY_S else None

    def change(self, producers: Mapping[str, Producer], keys: list[Key]) -> Change:
        """To be committed with their events."""
        packed = [(name, producer.pack(name)) for name, producer in producers.items()]
        return Change(producers=packed, keys=keys)

    def committed(self, producers: Mapping[str, Producer], keys: list[Key]) -> None:
        self.producers |= producers
        self.key_count += len(keys)

    def forget(self) -> bool:
        """One bounded piece: what is too old or too much; whether it did something. Raises CannotCommit."""
        is_due = self._index.clock_s - self._checked_s >= FORGET_CHECK_S
        if not is_due and self.key_count <= KEYS_MAX and len(self.producers) <= PRODUCERS_MAX:
            return False
        if silent := self._silent():
            self._store.commit(Change(forget_producers=silent))
            for name in silent:
                del self.producers[name]
            log.info("forgot producers=%d", len(silent))
            return True
        if expired := self._expired():
            self._store.commit(Change(expire_keys=expired[-1]))
            self.key_count -= len(expired)
            return True
        self._checked_s = self._index.clock_s
        self.key_count = self._store.key_count()  # one that expired and was used again was counted twice
        return False

    def _silent(self) -> list[str]:
        since_s = self._index.clock_s - self._forget_s
        silent = [name for name, producer in self.producers.items() if producer.heard_s < since_s]
        if not silent and len(self.producers) > PRODUCERS_MAX:
            # Nobody asks for a passing one again. Who comes back with an id of his own, and is not known any
            # more, would publish all that he has a second time.
            passing = [name for name, producer in self.producers.items() if producer.is_passing]
            by_silence = sorted(passing or self.producers, key=lambda name: self.producers[name].heard_s)
            # A hundredth at once: to find them costs a look at all.
            silent = by_silence[: len(self.producers) // 100]
        return silent

    def _expired(self) -> list[int]:
        """Numbers of keys, the oldest first."""
        since_s, excess = self._index.clock_s - KEY_S, self.key_count - KEYS_MAX
        return [
            number
            for place, (number, made_s) in enumerate(self._store.oldest_keys(EXPIRE_AT_ONCE))
            if made_s <= since_s or place < excess
        ]
