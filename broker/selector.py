"""Which topics a reader wants: any of some patterns, or of some prefixes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topics import pattern

_REMEMBERED = 20_000


class Selector:
    """Patterns are compared whole, prefixes are prefixes of bytes. Remembers its verdicts, bounded."""

    def __init__(self, patterns: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        """Raises BadPattern."""
        compiled = [pattern(text) for text in patterns]
        self._literals = frozenset(p.text.encode() for p in compiled if p.is_literal)
        self._wild = tuple(p for p in compiled if not p.is_literal)
        self._prefixes = tuple(text.encode() for text in prefixes)
        self._verdicts: dict[bytes, bool] = {}

    @property
    def maybe_literals(self) -> frozenset[bytes] | None:
        """The topics chosen, where they can be listed; None with wildcards or prefixes."""
        return None if self._wild or self._prefixes else self._literals

    def matches(self, topic: bytes) -> bool:
        verdict = self._verdicts.get(topic)
        if verdict is None:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[topic] = self._judge(topic)
        return verdict

    def _judge(self, topic: bytes) -> bool:
        if topic in self._literals or topic.startswith(self._prefixes):
            return True
        name = topic.decode()
        return any(wild.matches(name) for wild in self._wild)
