"""How long commits wait for company: by what the one before took, never long, never without need."""

from __future__ import annotations

import pytest

from broker.pace import GATHER_S, GATHER_TURNS, GATHERED, Pace


def test_the_first_does_not_wait() -> None:
    assert Pace().wait_s(5.0) == 0.0


@pytest.mark.parametrize(
    ("took_s", "messages", "wait_s"),
    [
        pytest.param(0.0002, 1, 0.0002 * GATHER_TURNS, id="a small one, by what it took"),
        pytest.param(0.0002, GATHERED - 1, 0.0002 * GATHER_TURNS, id="just not large"),
        pytest.param(0.0002, GATHERED, 0.0, id="a large one"),
        pytest.param(0.5, 1, GATHER_S, id="one that was held up"),
        pytest.param(0.0, 0, 0.0, id="one that took no time"),
    ],
)
def test_the_next_waits(took_s: float, messages: int, wait_s: float) -> None:
    pace = Pace()
    pace.note(5.0, 5.0 + took_s, messages)
    assert pace.wait_s(5.0 + took_s) == pytest.approx(wait_s)


def test_whoever_comes_later_waits_for_the_rest_only() -> None:
    pace = Pace()
    pace.note(5.0, 5.0002, 1)
    assert pace.wait_s(5.0004) == pytest.approx(0.0002 * (GATHER_TURNS - 1))
    assert pace.wait_s(5.0 + 0.0002 * (GATHER_TURNS + 2)) == 0.0


def test_commits_that_follow_each_other_take_their_share_of_the_time() -> None:
    pace, now_s, busy_s = Pace(), 100.0, 0.0
    for number in range(1000):
        now_s += pace.wait_s(now_s)
        took_s = 0.0001 + number % 5 * 0.0001
        pace.note(now_s, now_s + took_s, 1)
        now_s += took_s
        busy_s += took_s
    assert busy_s / (now_s - 100.0) == pytest.approx(1 / (1 + GATHER_TURNS), rel=0.01)
