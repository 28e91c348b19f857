"""A browser that asks for all there was and counts what comes: a program of the bench of replay.

It looks into nothing that it counts: whoever reads shares the machine with whom it reads from.
"""

from __future__ import annotations

import socket
import time

import msgspec
from msgspec import Struct

from deploy.load.browsers import text_frame
from deploy.load.dialect import PENSTOCK
from deploy.load.errors import Failed
from deploy.load.program import serve

BUFFER_BYTES = 1 << 20
SHORT_BYTES = 4096  # a message of no more is kept: it may be a word to us
SUBSCRIPTION = 1
_WORDS = (b'{"welcome":', b'{"reply":')


class Replay(Struct, tag=True):
    """Connect, and subscribe from the beginning on; answered when the reply has come."""

    host: str
    port: int
    pattern: str
    deadline_s: float


class Replayed(Struct):
    events: int
    size: int  # bytes of frames
    took_s: float  # from the subscribe to its reply
    recovered: bool  # nothing was missing


class _Place(Struct):
    position: str = ""
    recovered: bool = True


class _Words(Struct):
    welcome: _Place | None = None
    reply: int | None = None
    ok: _Place | None = None


_words = msgspec.json.Decoder(_Words).decode


class Messages:
    """What a server sends, as it comes: text frames are counted, wherever reads cut them. Pure."""

    def __init__(self) -> None:
        self.objects = 0  # that have begun
        self.size = 0
        self.maybe_short: bytes | None = None  # the newest message that was short, when it is whole
        self._head = b""  # of the frame under way, while it is not whole
        self._left = 0  # bytes of that frame that are still to come
        self._short: bytes | None = None  # what has come of it, if it is short

    def feed(self, data: bytes | bytearray, end: int) -> None:
        """The first `end` bytes of `data` have come."""
        self.size += end
        at = 0
        while at < end:
            if not self._left:
                upto = min(at + _missing(self._head), end)
                self._head += data[at:upto]
                if not _missing(self._head):
                    self._begin(self._head)
            else:
                upto = min(at + self._left, end)
                self._left -= upto - at
                self.objects += data.count(b"\n", at, upto)
                if self._short is not None:
                    self._short += data[at:upto]
                    if not self._left:
                        self.maybe_short = self._short
            at = upto

    def _begin(self, head: bytes) -> None:
        self._head, self._left = b"", head[1] if head[1] < 126 else int.from_bytes(head[2:], "big")
        self._short = b"" if self._left <= SHORT_BYTES else None
        self.objects += 1


def _missing(head: bytes) -> int:
    """Bytes that an unmasked frame's header still lacks."""
    size = head[1] if len(head) > 1 else 0
    return 2 + (0 if size < 126 else 2 if size == 126 else 8) - len(head)


class Reader:
    def __init__(self, request: Replay) -> None:
        self._deadline_s = time.monotonic() + request.deadline_s
        self._socket = socket.create_connection((request.host, request.port), request.deadline_s)
        self._buffer = bytearray(BUFFER_BYTES)
        self.messages = Messages()

    def greet(self) -> str:
        """The position at which the server welcomes us."""
        self._socket.sendall(PENSTOCK.request.encode())
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += self._buffer[: self._take()]
        early = heard.partition(b"\r\n\r\n")[2]
        self.messages.feed(early, len(early))
        while (welcome := self._words().welcome) is None:
            self._read()
        return welcome.position

    def ask(self, pattern: str, since: str) -> _Place:
        """Returns with the reply."""
        asked = {"subscribe": pattern, "id": SUBSCRIPTION, "since": since}
        self._socket.sendall(text_frame(msgspec.json.encode(asked)))
        while (words := self._words()).reply != SUBSCRIPTION:
            self._read()
        if words.ok is None:
            raise Failed(f"the server refused: {self.messages.maybe_short!r}")
        return words.ok

    def close(self) -> None:
        self._socket.close()

    def _words(self) -> _Words:
        """What the newest message says, if it is a word to us."""
        short = self.messages.maybe_short
        return _words(short) if short and short.startswith(_WORDS) else _Words()

    def _read(self) -> None:
        self.messages.feed(self._buffer, self._take())

    def _take(self) -> int:
        if time.monotonic() > self._deadline_s:
            raise Failed(f"no reply, after {self.messages.objects:,} objects")
        count = self._socket.recv_into(self._buffer)
        if not count:
            raise Failed(f"closed after {self.messages.objects:,} objects: {self.messages.maybe_short!r}")
        return count


def replay(request: Replay) -> Replayed:
    reader = Reader(request)
    try:
        position = reader.greet()
        before, started_s = reader.messages.objects, time.monotonic()
        place = reader.ask(request.pattern, position.partition(".")[0] + ".0")
        return Replayed(
            events=reader.messages.objects - before - 1,
            size=reader.messages.size,
            took_s=time.monotonic() - started_s,
            recovered=place.recovered,
        )
    finally:
        reader.close()


if __name__ == "__main__":
    serve(Replay, replay)
