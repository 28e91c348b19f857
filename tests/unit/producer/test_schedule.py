"""Beats: no drift, and no making up for what was slept through."""

from __future__ import annotations

import pytest

from producer.schedule import next_beat


@pytest.mark.parametrize(
    ("beat", "elapsed_s", "expected"),
    [
        pytest.param(0, 0.001, 1, id="quick work: the next"),
        pytest.param(1, 0.049, 2, id="woken a little early: not the same again"),
        pytest.param(3, 0.19, 4, id="slow work within the interval"),
        pytest.param(3, 0.22, 4, id="late by less than an interval: at once, on the old grid"),
        pytest.param(3, 1.02, 20, id="slept through many: the newest of them"),
    ],
)
def test_the_next_beat(beat: int, elapsed_s: float, expected: int) -> None:
    assert next_beat(beat, elapsed_s, 0.05) == expected


def test_lateness_does_not_add_up() -> None:
    beat, late_s = 0, 0.003
    for _ in range(1_000):
        beat = next_beat(beat, beat * 0.05 + late_s, 0.05)
    assert beat == 1_000
