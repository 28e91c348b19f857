"""What can happen very often: counted by its kind, and told in a line a kind now and then. Pure."""

from __future__ import annotations

from collections import Counter


class Tally:
    """How often each kind of thing happened, and the newest case of each since it was last told."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._untold: dict[str, tuple[int, str]] = {}

    def note(self, kind: str, case: str = "") -> None:
        self.counts[kind] += 1
        self._untold[kind] = self._untold.get(kind, (0, ""))[0] + 1, case

    def take(self) -> list[tuple[str, int, str]]:
        """Kind, how many since this was last asked, and the newest of them."""
        untold, self._untold = self._untold, {}
        return [(kind, count, case) for kind, (count, case) in untold.items()]
