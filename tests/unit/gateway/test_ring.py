"""The ring: what it has is found by seq, and it says from where on that is everything."""

from __future__ import annotations

import pytest

from gateway.ring import EVENT_OVERHEAD_BYTES, Ring
from tests.support.events import event

PAYLOAD = b"x" * 50
WEIGHT = EVENT_OVERHEAD_BYTES + 2 * len(PAYLOAD)


def ring_with(*seqs: int, room_for: int = 1_000) -> Ring:
    """A ring for so many events of one size, after these were appended."""
    ring = Ring(room_for * WEIGHT)
    for seq in seqs:
        ring.append(event("a", seq, payload=PAYLOAD))
    return ring


def seqs(ring: Ring, after: int = 0, upto: int = 1 << 62, limit: int = 1_000) -> list[int]:
    return [found.seq for found in ring.after(after, upto, limit)]


@pytest.mark.parametrize(
    ("after", "upto", "limit", "found"),
    [
        pytest.param(0, 99, 9, [2, 4, 6, 8], id="all of it"),
        pytest.param(2, 99, 9, [4, 6, 8], id="after is left out"),
        pytest.param(3, 99, 9, [4, 6, 8], id="after a seq that it does not have"),
        pytest.param(0, 6, 9, [2, 4, 6], id="upto is taken in"),
        pytest.param(0, 7, 9, [2, 4, 6], id="up to a seq that it does not have"),
        pytest.param(2, 6, 9, [4, 6], id="a stretch in the middle"),
        pytest.param(0, 99, 2, [2, 4], id="the first ones where the limit cuts"),
        pytest.param(4, 8, 1, [6], id="one of a stretch"),
        pytest.param(8, 99, 9, [], id="nothing after the newest"),
        pytest.param(6, 4, 9, [], id="an end before the begin"),
        pytest.param(0, 99, 0, [], id="none wanted"),
    ],
)
def test_after(after: int, upto: int, limit: int, found: list[int]) -> None:
    assert seqs(ring_with(2, 4, 6, 8), after, upto, limit) == found


def test_an_empty_ring_has_nothing() -> None:
    ring = ring_with()
    assert (len(ring), ring.floor, seqs(ring)) == (0, 0, [])


def test_the_oldest_leave_when_the_budget_is_spent() -> None:
    ring = ring_with(2, 4, 6, room_for=3)
    assert (len(ring), ring.floor) == (3, 0)
    ring.append(event("a", 8, payload=PAYLOAD))
    assert (len(ring), ring.floor, seqs(ring)) == (3, 2, [4, 6, 8])


def test_a_large_event_drives_out_as_many_as_it_needs() -> None:
    ring = ring_with(2, 4, 6, room_for=3)
    ring.append(event("a", 8, payload=PAYLOAD + b"x" * (WEIGHT // 2)))  # payloads count twice
    assert (len(ring), ring.floor, seqs(ring)) == (2, 4, [6, 8])


def test_an_event_larger_than_the_budget_leaves_at_once() -> None:
    ring = ring_with(2, room_for=3)
    ring.append(event("a", 4, payload=b"x" * (3 * WEIGHT)))
    assert (len(ring), ring.floor, seqs(ring)) == (0, 4, [])
    ring.append(event("a", 6, payload=PAYLOAD))
    assert seqs(ring, after=ring.floor) == [6]


def test_long_use_keeps_the_newest() -> None:
    ring = ring_with(*range(1, 5_001), room_for=10)
    assert (len(ring), ring.floor) == (10, 4_990)
    assert seqs(ring) == list(range(4_991, 5_001))
    assert len(ring._events) < 2_500  # those that left are let go in bulk


def test_a_hole_raises_the_floor_and_nothing_lowers_it() -> None:
    ring = ring_with(2, 4)
    ring.raise_floor(3)
    ring.raise_floor(1)
    assert ring.floor == 3
    assert seqs(ring, after=3) == [4]


def test_eviction_does_not_lower_a_raised_floor() -> None:
    ring = ring_with(2, 4, room_for=2)
    ring.raise_floor(5)
    ring.append(event("a", 6, payload=PAYLOAD))
    assert ring.floor == 5


def test_after_a_clear_only_what_comes_next_is_there() -> None:
    ring = ring_with(2, 4, 6, room_for=2)
    ring.clear(floor=1)  # another log may be at a lower seq
    assert (len(ring), ring.floor) == (0, 1)
    for seq in (2, 3):
        ring.append(event("a", seq, payload=PAYLOAD))
    assert (ring.floor, seqs(ring)) == (1, [2, 3])  # the bytes of the old ones count no more
