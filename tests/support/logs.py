"""Logs for tests: opened without ceremony, read whole, killed as a broker is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from broker.chunk import Chunk
from broker.log import Durability, Log
from broker.retention import Keep
from broker.selector import Selector
from broker.wire import Stamp, unpack_stamp

ALL = Selector(["**"])
NOW_US = 1_790_000_000_000_000


@dataclass(slots=True)
class Bench:
    """One log at a time in one place; `now_s` is its clock, epochs are 1, 2, 3."""

    path: Path
    durability: Durability = "process"
    keep: Keep = field(default_factory=Keep)
    reserve: int = 100
    boot_id: str = "first boot"
    now_s: float = 0.0
    _epochs: Iterator[int] = field(default_factory=lambda: count(1))
    _log: Log | None = None

    @property
    def log(self) -> Log:
        assert self._log is not None
        return self._log

    def open(self) -> Log:
        self._log = Log.open(
            self.path,
            self.durability,
            self.keep,
            boot_id=self.boot_id,
            now_s=self.now_s,
            new_epoch=self._epochs.__next__,
            reserve=self.reserve,
        )
        return self._log

    def again(self) -> Log:
        """After a clean stop."""
        self.log.close()
        return self.open()

    def killed(self) -> Log:
        """After a kill -9."""
        self.log.abandon()
        return self.open()

    def after_power_failure(self) -> Log:
        self.boot_id += "+1"
        return self.killed()

    def wait(self, seconds: float) -> None:
        """The clock goes on, and retention does all it has to do."""
        self.now_s += seconds
        while self.log.maintain(self.now_s):
            pass

    def end(self) -> None:
        if self._log is not None:
            self._log.abandon()


@contextmanager
def bench(folder: Path, **settings: object) -> Iterator[Bench]:
    made = Bench(folder / "log.db", **settings)  # type: ignore[arg-type]  # passed on as they are
    made.open()
    try:
        yield made
    finally:
        made.end()


def put(log: Log, *events: str, payload: bytes = b"x", now_us: int = NOW_US) -> list[Stamp]:
    """Append one event for each topic, in one commit; their stamps."""
    return [
        unpack_stamp(stamp) for _, stamp, _ in log.append([(t.encode(), payload, 0) for t in events], now_us)
    ]


def read(log: Log, select: Selector = ALL, after: int = 0, upto: int | None = None) -> list[tuple[str, int]]:
    """Topic and seq of all that replay gives, page by page. Asserts that nothing is damaged."""
    return [
        (topic, seq) for topic, seq, _ in pages(lambda at: log.replay(select, at, upto), log, after, upto)
    ]


Page = tuple[list[tuple[bytes, bytes, bytes]], int, list[tuple[int, int]]]


def pages(
    ask: Callable[[int], Page], log: Log, after: int = 0, upto: int | None = None
) -> Iterator[tuple[str, int, bytes]]:
    """Topic, seq and payload of all events, in the pages that `ask` gives."""
    end = min(log.head().head, log.head().head if upto is None else upto)
    while after < end:
        events, through, damaged = ask(after)
        assert not damaged
        assert through > after, "a page that goes nowhere would be asked for ever"
        for topic, stamp, payload in events:
            assert after < unpack_stamp(stamp).seq <= through
            yield topic.decode(), unpack_stamp(stamp).seq, payload
        after = through


def seqs(stamps: list[Stamp]) -> list[int]:
    return [stamp.seq for stamp in stamps]


@contextmanager
def full_disk(log: Log) -> Iterator[None]:
    """SQLite's own error, from the real store: no further page may be allocated in the block."""
    db = log._store._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        with suppress(sqlite3.ProgrammingError):  # closed meanwhile: the limit was the connection's own
            db.execute("PRAGMA max_page_count = 1073741823")


@contextmanager
def read_only(log: Log) -> Iterator[None]:
    """Every commit in the block is refused."""
    db = log._store._db
    db.execute("PRAGMA query_only = 1")
    yield
    db.execute("PRAGMA query_only = 0")


def chunk_count(log: Log) -> int:
    return len(log._index.chunks)


def bodies_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first seqs of the chunks that are read from now on, each time that one is."""
    found: list[int] = []
    body = log._reader.body

    def noting(chunk: Chunk) -> bytes:
        found.append(chunk.first)
        return body(chunk)

    monkeypatch.setattr(log._reader, "body", noting)
    return found
