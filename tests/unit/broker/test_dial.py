"""When a link that says nothing is given up."""

from __future__ import annotations

import pytest

from broker.dial import SILENT_S, STOOD_STILL_S, Silence

LOOK_S = 0.25


def looked(silence: Silence, since_s: float, upto_s: float) -> list[float]:
    """When it was over, of looks four times a second."""
    times = [since_s + LOOK_S * n for n in range(1, 1 + int((upto_s - since_s) / LOOK_S))]
    return [now_s for now_s in times if silence.is_over(now_s)]


def test_a_link_that_never_stood_is_not_given_up() -> None:
    silence = Silence()
    silence.on_word(0.0)
    assert looked(silence, 0.0, 60.0) == []


def test_one_that_says_nothing_is_given_up_once() -> None:
    silence = Silence()
    silence.on_link(10.0)
    assert looked(silence, 10.0, 60.0) == [10.0 + SILENT_S + LOOK_S]
    silence.on_link(60.0)
    assert looked(silence, 60.0, 90.0) == [60.0 + SILENT_S + LOOK_S]


def test_each_word_begins_anew() -> None:
    silence = Silence()
    silence.on_link(0.0)
    for second in range(20):
        silence.on_word(float(second))
        assert looked(silence, float(second), second + 1.0) == []
    assert looked(silence, 20.0, 40.0) == [19.0 + SILENT_S + LOOK_S]


@pytest.mark.parametrize("pause_s", [STOOD_STILL_S + LOOK_S, 60.0])
def test_time_in_which_nobody_looked_is_not_held_against_it(pause_s: float) -> None:
    silence = Silence()
    silence.on_link(0.0)
    assert looked(silence, 0.0, 3.0) == []
    back_s = 3.0 + pause_s
    assert looked(silence, back_s - LOOK_S, back_s + 0.25) == []
    assert looked(silence, back_s + 0.25, back_s + 30.0) != []
