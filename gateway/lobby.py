"""Connections that nobody has adopted yet: how many there may be, and for how long. Pure.

Such a one costs a descriptor and asks for nothing, so whoever opens many of them is refused some.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Generic, TypeVar

from gateway.upgrade import Refusal

T = TypeVar("T")

RETRY_S = 1  # when whoever was refused may ask again


class Lobby:
    """How many are here, in all and of each address."""

    def __init__(self, most: int = 10_000, most_of_address: int = 1_000) -> None:
        self.count = 0
        self._most, self._most_of_address = most, most_of_address
        self._counts: dict[str, int] = {}

    def enter(self, address: str) -> Refusal | None:
        """Count one more of that address, or say why it must go."""
        count = self._counts.get(address, 0)
        if count >= self._most_of_address:
            message = f"{count} connections of {address} are in the middle of a request"
            return _too_many(HTTPStatus.TOO_MANY_REQUESTS, f"{message}: `arrivals_per_address_max`")
        if self.count >= self._most:
            message = f"{self.count} connections are in the middle of a request: `arrivals_max`"
            return _too_many(HTTPStatus.SERVICE_UNAVAILABLE, message)
        self._counts[address] = count + 1
        self.count += 1
        return None

    def leave(self, address: str) -> None:
        self.count -= 1
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]


def _too_many(status: HTTPStatus, message: str) -> Refusal:
    return Refusal(status, "too_many_arrivals", message, {"Retry-After": str(RETRY_S)})


class Waiting(Generic[T]):
    """Things that have the same time for something, oldest first."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since_s: dict[T, float] = {}

    def add(self, thing: T, now_s: float) -> None:
        """From now on. One that is here already must be discarded first."""
        self._since_s[thing] = now_s

    def discard(self, thing: T) -> bool:
        """Whether it was here."""
        return self._since_s.pop(thing, None) is not None

    def late(self, now_s: float) -> list[T]:
        """Those whose time is over; they do not wait here any more."""
        found = self.since(now_s - self._limit_s)
        for thing in found:
            del self._since_s[thing]
        return found

    def since(self, then_s: float) -> list[T]:
        """Those that wait since then or longer."""
        found: list[T] = []
        for thing, since_s in self._since_s.items():
            if since_s > then_s:
                break
            found.append(thing)
        return found

    @property
    def next_s(self) -> float | None:
        """When the first of them will be late; None for nobody."""
        return next(iter(self._since_s.values())) + self._limit_s if self._since_s else None

    def all(self) -> list[T]:
        return list(self._since_s)

    def oldest(self) -> T:
        return next(iter(self._since_s))

    def __len__(self) -> int:
        return len(self._since_s)
