"""Who publishes confirmed, and how far each of them is in the log. Pure.

Kept in the log's own transactions, a row a producer: crc32 u32 of the name and the rest; incarnation,
its highest bit set for a passing one, last and heard_s; then the runs. Big-endian. The checksum, because
a `last` that is too large would have events confirmed that were never logged.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from struct import error as StructError
from typing import NamedTuple
from zlib import crc32

from broker.control import Run

# A producer that never says what it knows gets the seqs of its newest events, as far as these reach.
RUNS_MAX = 256
PRODUCERS_MAX = 10_000

_PASSING = 1 << 63  # incarnations are smaller
_CHECK = Struct(">I")
_HEAD = Struct(">QQd")
_RUN = Struct(">QQQ")


class Producer(NamedTuple):
    """One producer, as of the log's head."""

    incarnation: int = 0
    last: int = 0  # number of its newest event in the log
    runs: tuple[Run, ...] = ()  # where those are of which it has not heard
    heard_s: float = 0.0  # age clock of the log when it last said something
    is_passing: bool = False  # nobody will come again with its id

    def pack(self, name: str) -> bytes:
        incarnation = self.incarnation | _PASSING * self.is_passing
        parts = [_HEAD.pack(incarnation, self.last, self.heard_s)]
        parts += (_RUN.pack(run.first, run.seq, run.count) for run in self.runs)
        kept = b"".join(parts)
        return _CHECK.pack(_check(name, kept)) + kept


def maybe_unpack(name: str, data: bytes) -> Producer | None:
    """None for a row that is damaged."""
    try:
        (check,), kept = _CHECK.unpack_from(data), data[_CHECK.size :]
        if check != _check(name, kept):
            return None
        incarnation, last, heard_s = _HEAD.unpack_from(kept)
        runs = tuple(Run(*run) for run in _RUN.iter_unpack(kept[_HEAD.size :]))
    except StructError:
        return None
    return Producer(incarnation & ~_PASSING, last, runs, heard_s, bool(incarnation & _PASSING))


def joined(runs: Iterable[Run], known: int) -> tuple[Run, ...]:
    """The runs of numbers beyond `known`, those that go on from each other as one, the newest RUNS_MAX."""
    found: list[Run] = []
    for run in runs:
        skipped = max(known + 1 - run.first, 0)
        if skipped >= run.count:
            continue
        run = Run(run.first + skipped, run.seq + skipped, run.count - skipped)
        before = found[-1] if found else None
        if before and (before.first + before.count, before.seq + before.count) == (run.first, run.seq):
            found[-1] = Run(before.first, before.seq, before.count + run.count)
        else:
            found.append(run)
    return tuple(found[-RUNS_MAX:])


def _check(name: str, kept: bytes) -> int:
    return crc32(kept, crc32(name.encode()))
