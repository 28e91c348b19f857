"""What is missing of a producer's events, by their counts: every order in which they can come."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.arrivals import HOLE_MAX, TOTAL_MAX, WORST, Arrivals
from broker.control import Missing
from broker.wire import META, Content, pack_meta, producer_hash

LARGEST = (1 << 64) - 1


def heard(*counts: int | tuple[int, int], is_first: bool = True) -> Arrivals:
    """Of one producer; a count with its clock, or with one that goes as the counts go."""
    arrivals = Arrivals(is_first=is_first)
    for each in counts:
        count, time_us = each if isinstance(each, tuple) else (each, each)
        note(arrivals, 1, count, time_us)
    return arrivals


def note(arrivals: Arrivals, number: int, count: int, time_us: int | None = None) -> None:
    clock = min(count if time_us is None else time_us, (1 << 63) - 1)
    arrivals.note(pack_meta(number, count, clock, Content.JSON))


@pytest.mark.parametrize(
    ("counts", "missing", "late", "unclear"),
    [
        pytest.param([1, 2, 3], 0, 0, 0, id="all"),
        pytest.param([1, 2, 5, 6], 2, 0, 0, id="a hole"),
        pytest.param([1, 3, 5, 9], 5, 0, 0, id="several"),
        pytest.param([4, 5], 3, 0, 0, id="the first ones"),
        pytest.param([1, 4, 2, 3, 5], 2, 2, 0, id="the end of an old link after the first of the new one"),
        pytest.param([1, 5, 3, 6], 3, 1, 0, id="some of it"),
        pytest.param([2, 1, 3], 1, 1, 0, id="the very first comes late"),
        pytest.param([1, 2, 2, 1, 3], 0, 0, 0, id="twice, which ZeroMQ never does"),
        pytest.param([1, 2, 3, (1, 10), (2, 11)], 0, 0, 0, id="a program was started again"),
        pytest.param([1, 4, (1, 10), (3, 11)], 3, 0, 0, id="and holes before and after"),
        pytest.param([1, 2, 9, (4, 10), (5, 11)], 6, 0, 3, id="begun anew, and nobody knows from where"),
        pytest.param([0, 1, 2], 0, 0, 0, id="one that counts from 0"),
        pytest.param([1, LARGEST, 5], 0, 0, 0, id="no hole can be so large"),
        pytest.param([LARGEST, LARGEST], 0, 0, 0, id="the largest count"),
        pytest.param([1, 2 + HOLE_MAX], HOLE_MAX, 0, 0, id="the largest hole"),
    ],
)
def test_counts(counts: list[int | tuple[int, int]], missing: int, late: int, unclear: int) -> None:
    arrivals = heard(*counts)
    assert (arrivals.missing, arrivals.late, arrivals.unclear) == (missing, late, unclear)


@pytest.mark.parametrize(
    ("counts", "missing", "unclear"),
    [
        pytest.param([7, 8], 0, 6, id="from a broker before this one"),
        pytest.param([7, 9], 1, 6, id="and a hole"),
        pytest.param([1, 3], 1, 0, id="a new producer"),
        pytest.param([2 + HOLE_MAX], 0, 0, id="made up"),
    ],
)
def test_in_a_log_that_had_events_a_first_count_is_where_counting_begins(
    counts: list[int], missing: int, unclear: int
) -> None:
    arrivals = heard(*counts, is_first=False)
    assert (arrivals.missing, arrivals.unclear) == (missing, unclear)


@given(st.sets(st.integers(2, 60)), st.integers(1, 60), st.booleans())
def test_sent_is_arrived_and_missing(lost: set[int], newest: int, is_first: bool) -> None:
    arrived = [count for count in range(1, newest + 1) if count not in lost]
    arrivals = heard(*arrived, is_first=is_first)
    assert len(arrived) + arrivals.missing == arrived[-1]


def test_every_producer_has_a_count_of_its_own_and_the_worst_are_named() -> None:
    arrivals = Arrivals(is_first=True)
    for number in range(1, 3 * WORST):
        note(arrivals, number, 1)
        note(arrivals, number, 2 + number)
    assert arrivals.missing == sum(range(1, 3 * WORST))
    worst = arrivals.worst()
    assert [each.missing for each in worst] == list(range(3 * WORST - 1, 2 * WORST - 1, -1))
    assert worst[0] == Missing(producer=f"{29:016x}", missing=29, last=31, first=1, begun=1)
    assert arrivals.newest == f"{29:016x}"


def test_how_far_the_worst_are_is_told_as_of_now() -> None:
    arrivals = heard(1, 4)
    assert [(each.missing, each.last) for each in arrivals.worst()] == [(2, 4)]
    note(arrivals, 1, 5)
    assert [(each.missing, each.last) for each in arrivals.worst()] == [(2, 5)]


def test_what_came_late_is_not_missing_of_its_producer() -> None:
    arrivals = heard(1, 4)
    assert [each.missing for each in arrivals.worst()] == [2]
    note(arrivals, 1, 2)
    assert [each.missing for each in arrivals.worst()] == [1]
    note(arrivals, 1, 3)
    assert arrivals.worst() == []


def test_the_longest_silent_is_forgotten_and_what_it_lost_meanwhile_is_unclear() -> None:
    arrivals = Arrivals(is_first=True, producers_max=10)
    for number in range(1, 30):
        note(arrivals, 99, number)
        note(arrivals, number, 1)
        assert len(arrivals) <= 10
    note(arrivals, 99, 32)
    note(arrivals, 1, 5)
    assert (arrivals.missing, arrivals.unclear) == (2, 4)


def test_hostile_metas_take_bounded_memory_and_disturb_nobody() -> None:
    random_ = random.Random(1)
    arrivals = Arrivals(is_first=True)
    for count in range(1, 2_000):
        note(arrivals, producer_hash("honest"), 2 * count)
        for _ in range(10):
            arrivals.note(random_.randbytes(META.size))
    assert len(arrivals) <= 10_000
    assert [each.missing for each in arrivals.worst() if each.producer == f"{producer_hash('honest'):016x}"]
    # One in four thousand million has a count that could be one.
    assert arrivals.missing == 1_999


def test_no_total_grows_beyond_what_json_readers_count() -> None:
    arrivals = heard(1)
    arrivals.missing = arrivals.unclear = TOTAL_MAX - 1
    note(arrivals, 1, 5)
    note(arrivals, 1, 4, 10)
    assert (arrivals.missing, arrivals.unclear) == (TOTAL_MAX, TOTAL_MAX)
