"""How many sessions poll, of each address. Pure.

Between two polls such a one holds no connection, so it counts nowhere else once it is in a namespace.
"""

from __future__ import annotations

from http import HTTPStatus

from gateway.upgrade import Refusal

RETRY_S = 5  # when whoever was refused may ask again


class Pollers:
    """Not thread-safe."""

    def __init__(self, most_of_address: int) -> None:
        self._most = most_of_address
        self._counts: dict[str, int] = {}

    def maybe_refusal(self, address: str) -> Refusal | None:
        """Why there may be no session more of that address, None if there may."""
        if (count := self._counts.get(address, 0)) < self._most:
            return None
        message = f"{count} sessions of {address} poll: `polling_sessions_per_address_max`"
        headers = {"Retry-After": str(RETRY_S)}
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_sessions", message, headers)

    def enter(self, address: str) -> None:
        self._counts[address] = self._counts.get(address, 0) + 1

    def leave(self, address: str) -> None:
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]
