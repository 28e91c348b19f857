"""Patterns by topic and topics by pattern, found by the depth of the name, not by their number. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from broker.topics import SYSTEM, Pattern

V = TypeVar("V")


class _Node(Generic[V]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[V]] = {}
        self.values: dict[V, None] = {}  # a set that keeps its order


class PatternTrie(Generic[V]):
    """Values filed under patterns."""

    def __init__(self) -> None:
        self._root: _Node[V] = _Node()

    def add(self, pattern: Pattern, value: V) -> None:
        node = self._root
        for segment in pattern.text.split("/"):
            node = node.children.setdefault(segment, _Node())
        node.values[value] = None

    def discard(self, pattern: Pattern, value: V) -> None:
        path = [self._root]
        segments = pattern.text.split("/")
        for segment in segments:
            if (child := path[-1].children.get(segment)) is None:
                return
            path.append(child)
        path[-1].values.pop(value, None)
        while len(path) > 1 and not path[-1].values and not path[-1].children:
            path.pop()
            del path[-1].children[segments[len(path) - 1]]

    def match(self, topic: str) -> dict[V, None]:
        """The values of all patterns that match, each once."""
        found: dict[V, None] = {}
        nodes = [self._root]
        segments = topic.split("/")
        for place, segment in enumerate(segments):
            wild = place > 0 or not topic.startswith(SYSTEM)
            following: list[_Node[V]] = []
            for node in nodes:
                if child := node.children.get(segment):
                    following.append(child)
                if wild:
                    if child := node.children.get("*"):
                        following.append(child)
                    if child := node.children.get("**"):
                        found |= child.values
            nodes = following
        for node in nodes:
            found |= node.values
        return found


class TopicTrie:
    """A set of topics."""

    def __init__(self) -> None:
        self._root: _Node[str] = _Node()

    def add(self, topic: str) -> None:
        node = self._root
        for segment in topic.split("/"):
            node = node.children.setdefault(segment, _Node())
        node.values[topic] = None

    def clear(self) -> None:
        self._root = _Node()

    def matching(self, pattern: Pattern) -> Iterator[str]:
        """The topics that the pattern matches."""
        nodes = [self._root]
        for place, segment in enumerate(pattern.text.split("/")):
            if segment not in ("*", "**"):
                nodes = [node.children[segment] for node in nodes if segment in node.children]
                continue
            nodes = [
                child
                for node in nodes
                for name, child in node.children.items()
                if place > 0 or not name.startswith(SYSTEM)
            ]
            if segment == "**":
                while nodes:
                    node = nodes.pop()
                    yield from node.values
                    nodes.extend(node.children.values())
                return
        for node in nodes:
            yield from node.values
