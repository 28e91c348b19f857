"""A broker without its sockets: the real log, and the counter of what its feed has dropped."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker import control
from broker.control import Head, ReplayPage
from broker.log import Durability, Log
from broker.retention import Keep
from broker.selector import Selector
from broker.wire import DROPS_MODULO, DROPS_SHIFT, STAMP, Position, pack_records

Wire = tuple[bytes, bytes, bytes]


class Broker:
    """The log and its forwarder."""

    def __init__(self, folder: Path, durability: Durability, rules: frozenset[int], keep: Keep) -> None:
        self.folder, self.durability, self.rules, self.keep = folder, durability, rules, keep
        self.path = folder / "log.db"
        self.boots = 0
        self.epochs: list[int] = []  # in their order
        self.ledger: list[tuple[Position, str]] = []  # all that was ever accepted
        self.drops = 0
        self.log = self._open()

    def _new_epoch(self) -> int:
        return 100 + (len(self.epochs) if 8 in self.rules else 0)

    def _open(self) -> Log:
        log = Log.open(
            self.path, self.durability, self.keep, boot_id=f"boot{self.boots}", now_s=0.0,
            new_epoch=self._new_epoch, reserve=5 if 10 in self.rules else 0,
        )  # fmt: skip
        if log.epoch not in self.epochs:
            self.epochs.append(log.epoch)
        return log

    def append(self, topics: Sequence[str]) -> list[Wire]:
        batch = [(topic.encode(), b'{"v":1}', 0) for topic in topics]
        events = self.log.append(batch, 1_000_000)
        for topic, stamp, _ in events:
            _, _, _, _, epoch, seq, _, _ = STAMP.unpack(stamp)
            self.ledger.append((Position(epoch, seq), topic.decode()))
        return events

    def head(self) -> Head:
        return self.log.head(self.drops)

    def kill(self) -> None:
        self.log.abandon()
        self.log = self._open()
        self.drops = 0

    def lose_power(self, saved: Path | None) -> None:
        """The machine comes up again with what the disk had at the time of `saved`."""
        self.log.abandon()
        if saved is not None:
            self._restore(saved)
        if 9 in self.rules:
            self.boots += 1
        self.log = self._open()
        self.drops = 0

    def _restore(self, saved: Path) -> None:
        for name in ("log.db-wal", "log.db-shm", "log.db.lock"):
            (self.folder / name).unlink(missing_ok=True)
        for file in saved.iterdir():
            shutil.copyfile(file, self.folder / file.name)

    def roll_back(self, saved: Path) -> None:
        """Killed in the middle of a commit."""
        self.log.abandon()
        self._restore(saved)
        self.log = self._open()
        self.drops = 0

    def save(self) -> Path:
        """A picture of the disk as it is now."""
        saved = self.folder / f"saved{len(list(self.folder.glob('saved*')))}"
        saved.mkdir()
        for name in ("log.db", "log.db-wal"):
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, saved / name)
        return saved

    def maintain(self, now_s: float) -> None:
        while self.log.maintain(now_s):
            pass
        if 11 not in self.rules:
            self.log._index.forgotten = 0

    def answer(self, request: Any) -> tuple[Any, bytes]:
        """A page, and its records."""
        at, log = self.head(), self.log
        if isinstance(request, control.Replay):
            select = Selector(request.patterns, request.prefixes)
            events, through, damaged = log.replay(select, request.after, request.upto, request.limit)
            holes = log.holes(select, request.after, request.upto)
            page = ReplayPage(at=at, through=through, damaged=damaged, holes=holes)
            return page, pack_records(events)
        if isinstance(request, control.Last):
            events, truncated, damaged = log.last(
                Selector(request.patterns), request.count, request.upto, request.limit
            )
            last = control.LastPage(at=at, truncated=truncated, damaged=damaged)
            return last, pack_records(events)
        if isinstance(request, control.Newest):
            events, through, damaged = log.newest(
                Selector(request.patterns), request.after, request.upto, request.limit
            )
            newest = control.NewestPage(at=at, through=through, damaged=damaged)
            return newest, pack_records(events)
        tails, through = log.tails(Selector(request.patterns, request.prefixes), request.after)
        return control.TailsPage(at=at, tails=tails, through=through), b""


def system_stamp(drops: int) -> bytes:
    return STAMP.pack(1, drops % DROPS_MODULO << DROPS_SHIFT, 0, 0, 0, 0, 0, 0)


def with_drops(stamp: bytes, drops: int) -> bytes:
    version, flags, *rest = STAMP.unpack(stamp)
    return STAMP.pack(version, flags | drops % DROPS_MODULO << DROPS_SHIFT, *rest)
