"""Bytes of a pipe into lines. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    number: int  # 1 for the first
    content: bytes  # without its end, \n or \r\n


class TooLong(NamedTuple):
    """A line beyond the limit: its bytes are not kept."""

    number: int
    size: int  # bytes


class Splitter:
    """Lines out of bytes as they come, in memory for one line at most."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._number = 1
        self._held = bytearray()
        self._size = 0  # of the line so far; more than is held when it is too long

    def feed(self, data: bytes) -> list[Line | TooLong]:
        """The lines that `data` ends."""
        found: list[Line | TooLong] = []
        *ended, begun = data.split(b"\n")
        for part in ended:
            self._add(part)
            found.append(self._take())
        self._add(begun)
        return found

    def end(self) -> list[Line | TooLong]:
        """The last line, if the input ended without its \\n."""
        return [self._take()] if self._size else []

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._max_bytes + 1:  # one more: it may be a \r
            self._held += part
        else:
            self._held.clear()

    def _take(self) -> Line | TooLong:
        content = bytes(self._held).removesuffix(b"\r")
        whole = len(self._held) == self._size and len(content) <= self._max_bytes
        taken = Line(self._number, content) if whole else TooLong(self._number, self._size)
        self._held.clear()
        self._size = 0
        self._number += 1
        return taken
