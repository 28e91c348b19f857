"""What is kept of a producer: packed and read again, and its runs."""

from __future__ import annotations

from struct import pack
from zlib import crc32

import pytest

from broker.control import Run
from broker.producers import RUNS_MAX, Producer, joined, maybe_unpack

KEPT = Producer(3, 120, (Run(1, 10, 100), Run(101, 200, 20)), 7.5)
PASSING = KEPT._replace(is_passing=True)


@pytest.mark.parametrize("producer", [Producer(), KEPT, PASSING], ids=["new", "with runs", "passing"])
def test_what_was_packed_is_read_again(producer: Producer) -> None:
    assert maybe_unpack("p", producer.pack("p")) == producer


@pytest.mark.parametrize("place", [0, 4, 12, 20, -1], ids=["check", "incarnation", "last", "heard", "runs"])
def test_a_flipped_bit_is_seen(place: int) -> None:
    data = bytearray(KEPT.pack("p"))
    data[place] ^= 1
    assert maybe_unpack("p", bytes(data)) is None


def test_a_row_of_before_there_were_passing_ones_is_of_one_that_stays() -> None:
    kept = pack(">QQdQQQ", 3, 120, 7.5, 1, 10, 120)
    row = pack(">I", crc32(kept, crc32(b"p"))) + kept
    assert maybe_unpack("p", row) == Producer(3, 120, (Run(1, 10, 120),), 7.5, is_passing=False)


def test_another_s_row_is_damage() -> None:
    assert maybe_unpack("q", KEPT.pack("p")) is None


@pytest.mark.parametrize("size", [0, 3, 27, 30])
def test_a_row_cut_short_is_damage(size: int) -> None:
    assert maybe_unpack("p", KEPT.pack("p")[:size]) is None


@pytest.mark.parametrize(
    ("runs", "known", "left"),
    [
        pytest.param([], 0, [], id="none"),
        pytest.param([(1, 10, 5), (6, 15, 5)], 0, [(1, 10, 10)], id="one goes on from the other"),
        pytest.param([(1, 10, 5), (6, 16, 5)], 0, [(1, 10, 5), (6, 16, 5)], id="somebody was between"),
        pytest.param([(1, 10, 5), (6, 20, 5)], 5, [(6, 20, 5)], id="the first is known"),
        pytest.param([(1, 10, 5), (6, 20, 5)], 3, [(4, 13, 2), (6, 20, 5)], id="a part of it is known"),
        pytest.param([(1, 10, 5)], 9, [], id="all is known"),
    ],
)
def test_runs_are_joined_and_forgotten(
    runs: list[tuple[int, int, int]], known: int, left: list[tuple[int, int, int]]
) -> None:
    assert joined((Run(*run) for run in runs), known) == tuple(Run(*run) for run in left)


def test_of_too_many_runs_the_newest_are_kept() -> None:
    runs = [Run(n, 2 * n, 1) for n in range(1, RUNS_MAX + 11)]
    assert joined(runs, 0) == tuple(runs[10:])
