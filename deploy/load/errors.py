"""What can go wrong with a bench, apart from what it finds."""

from __future__ import annotations

from broker.errors import PenstockError


class Unreachable(PenstockError):
    """Whoever is to be measured does not answer at that address."""

    def __init__(self, who: str, address: str, setting: str) -> None:
        super().__init__(f"no {who} at {address}: start one (penstock up), or say where with {setting}")
        self.who, self.address = who, address


class Failed(PenstockError):
    """A load could not be put on; the text says what did not happen."""
