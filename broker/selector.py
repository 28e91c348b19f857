"""Which topics a reader wants: any of some patterns, or of some prefixes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topics import SYSTEM, pattern

_SYSTEM = SYSTEM.encode()
_REMEMBERED = 20_000


class Selector:
    """Patterns are compared whole, prefixes are prefixes of bytes. Remembers its verdicts, bounded.

    `starts`: with one of these, in order, begins every topic that it chooses.
    """

    def __init__(self, patterns: Iterable[str] = (), prefixes: Iterable[str] = ()) -> None:
        """Raises BadPattern."""
        compiled = [pattern(text) for text in patterns]
        self._literals = frozenset(p.text.encode() for p in compiled if p.is_literal)
        self._wild = tuple(p for p in compiled if not p.is_literal)
        self._prefixes = tuple(text.encode() for text in prefixes)
        self._takes_all = any(p.text == "**" for p in compiled)
        self._verdicts: dict[bytes, bool] = {}
        self.starts = _apart({*(p.prefix.encode() for p in compiled), *self._prefixes})

    @property
    def maybe_literals(self) -> frozenset[bytes] | None:
        """The topics chosen, where they can be listed; None with wildcards or prefixes."""
        return None if self._wild or self._prefixes else self._literals

    def matches(self, topic: bytes) -> bool:
        if self._takes_all and not topic.startswith(_SYSTEM):
            return True
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


def _apart(starts: Iterable[bytes]) -> list[bytes]:
    """In order, without those that begin with another one."""
    found: list[bytes] = []
    for start in sorted(starts):
        if not (found and start.startswith(found[-1])):
            found.append(start)
    return found
