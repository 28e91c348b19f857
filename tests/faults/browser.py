"""One client of the native protocol without its socket, cheap enough for thousands in a process. Pure.

Clients that keep up get byte-identical frames, so a frame is read once for all of them: the book knows
it by its bytes, and a client appends what it says to its entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct

from broker.wire import Position
from tests.faults.journal import Break, Gap, Journal, Seen, Story
from tests.faults.numbered import read

PAGES_MAX = 5_000  # frames that the book remembers
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A

ASK_ID = 1
PING_ID = 2


class _Gap(Struct):
    pattern: str
    after: str
    before: str
    cause: str


class _Ok(Struct):
    position: str = ""
    recovered: bool = False


class _Welcome(Struct):
    position: str


class _Notice(Struct):
    code: str
    stale: bool = False
    slow: bool = False


class Told(Struct):
    """One object that a gateway says; of the fields those that it has."""

    topic: str = ""
    seq: int = 0
    data: msgspec.Raw = msgspec.Raw()
    history: int | None = None
    gap: _Gap | None = None
    reply: int | None = None
    ok: _Ok | None = None
    error: dict[str, str] | None = None
    welcome: _Welcome | None = None
    at: str = ""
    notice: _Notice | None = None


class Page(NamedTuple):
    """A frame. `live` is all of it where it holds untagged events alone, else `told` is."""

    live: tuple[int, ...]  # entries
    last_seq: int
    told: tuple[Told, ...]


class Book:
    """What all clients of a process have been told, each event once."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._entries: dict[tuple[int, int, str, bytes], int] = {}
        self._pages: dict[tuple[int, bytes], Page] = {}
        self._decode = msgspec.json.Decoder(Told).decode

    def page(self, epoch: int, frame: bytes) -> Page:
        """What a frame says to a client that is in that epoch."""
        key = epoch, frame
        if (page := self._pages.get(key)) is None:
            if len(self._pages) >= PAGES_MAX:
                self._pages.clear()
            page = self._pages[key] = self._read(epoch, frame)
        return page

    def event(self, epoch: int, told: Told) -> int:
        """The entry of an event."""
        key = epoch, told.seq, told.topic, bytes(told.data)
        if (entry := self._entries.get(key)) is None:
            entry = self._entries[key] = len(self.journal.events)
            said = read(told.topic, key[3])
            self.journal.events.append(Seen(epoch, told.seq, told.topic, *said))
        return entry

    def gap(self, told: _Gap) -> int:
        """The entry of a gap."""
        self.journal.gaps.append(Gap(told.pattern, told.after, told.before, told.cause))
        return -len(self.journal.gaps)

    def _read(self, epoch: int, frame: bytes) -> Page:
        told = tuple(map(self._decode, frame.split(b"\n")))
        if all(each.topic and each.history is None for each in told):
            return Page(tuple(self.event(epoch, each) for each in told), told[-1].seq, ())
        return Page((), 0, told)


class Browser:
    """Follows one pattern, over any number of connections; `story` is what it writes down."""

    __slots__ = ("_asked", "_begins", "_book", "_is_replied", "_past", "_resumes", "epoch", "seq", "story")

    def __init__(
        self, book: Book, pattern: str, since: str, history: int | None, *, resumes: bool = True
    ) -> None:
        """`resumes`: it comes back with its position; else it subscribes afresh, and misses something."""
        self._book = book
        self.story = Story(pattern=pattern, since=since)
        book.journal.clients.append(self.story)
        self.epoch = self.seq = 0
        self._begins = f',"since":"{since}"' if since else f',"history":{history}' if history else ""
        self._asked = self._begins
        self._resumes = resumes
        self._is_replied = False
        self._past: list[Told] = []  # until the reply says that it is whole

    @property
    def is_following(self) -> bool:
        return self._is_replied

    def is_lost(self, now_ns: int, code: int, reason: str, *, was_silent: bool) -> None:
        """The connection has ended."""
        if self._is_replied:
            place = str(Position(self.epoch, self.seq))
            self._asked = f',"since":"{place}"' if self._resumes else self._begins
            self.story.breaks.append(Break(self.story.gateway, now_ns, code, reason, was_silent, place))
        self._is_replied = False
        self._past.clear()

    def receive(self, frame: bytes, now_ns: int) -> bytes:
        """Take a text frame; what is to be said to it."""
        page = self._book.page(self.epoch, frame)
        if page.live:
            self.story.entries += page.live
            self.seq = page.last_seq
            return b""
        return b"".join(self._take(told, now_ns) for told in page.told)

    def _take(self, told: Told, now_ns: int) -> bytes:
        if told.history is not None:
            # Its epoch is the reply's: a gateway that has not heard the broker yet could not tell it.
            self._past.append(told)
        elif told.topic:
            self.story.entries.append(self._book.event(self.epoch, told))
            self.seq = told.seq
        elif told.gap is not None:
            self._gap(told.gap)
        elif told.reply is not None:
            self._reply(told, now_ns)
        elif told.welcome is not None:
            self._go_to(told.welcome.position)
            return text_frame(f'{{"subscribe":"{self.story.pattern}","id":{ASK_ID}{self._asked}}}')
        elif told.at:
            self._go_to(told.at)
        elif told.notice is not None:
            if told.notice.code == "stale":
                self.story.stale.append((now_ns, told.notice.stale))
        else:
            self._book.journal.errors.append(f"nobody knows {msgspec.json.encode(told)!r}")
        return b""

    def _reply(self, told: Told, now_ns: int) -> None:
        if told.reply == PING_ID:
            return
        if told.ok is None:
            self._book.journal.errors.append(f"{self.story.pattern}: {told.error}")
            return
        self._go_to(told.ok.position)
        self.story.since = self.story.since or told.ok.position
        self.story.recovered.append(told.ok.recovered)
        for past in self._past:
            entry = self._book.gap(past.gap) if past.gap else self._book.event(self.epoch, past)
            self.story.entries.append(entry)
        self._past.clear()
        self._is_replied = True
        if self.story.breaks:
            self.story.breaks[-1].back_ns = now_ns

    def _gap(self, gap: _Gap) -> None:
        self.story.entries.append(self._book.gap(gap))
        before = Position.parse(gap.before)
        if before.epoch != self.epoch:
            self.epoch, self.seq = before.epoch, before.seq - 1

    def _go_to(self, text: str) -> None:
        position = Position.parse(text)
        self.epoch, self.seq = position.epoch, position.seq

    def close(self) -> None:
        """The story is complete."""
        self.story.is_following = self._is_replied
        self.story.position = str(Position(self.epoch, self.seq))


def frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """First byte, payload and end of each whole frame; a gateway masks none and divides none."""
    at, have = 0, len(data)
    while at + 2 <= have:
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        if start + size > have:
            return
        yield data[at], data[start : start + size], start + size
        at = start + size


def text_frame(text: str) -> bytes:
    return masked(TEXT, text.encode())


def masked(first: int, payload: bytes) -> bytes:
    """As browsers send it, but masked with zeros, which leave it as it is. At most 65,535 bytes."""
    size = len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload
