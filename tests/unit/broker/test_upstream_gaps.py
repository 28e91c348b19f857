"""The one ordered stream where the log no longer has all: which gaps are told, and of how many events."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.event import Event
from tests.support.events import event
from tests.support.upstream import standing


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param({"forgotten": 12}, ["gap ** 10..13 forgotten"], id="topics were forgotten"),
        pytest.param({"forgotten": 99}, ["gap ** 10..14 forgotten"], id="forgotten beyond what is filled"),
        pytest.param({"forgotten": 10}, [], id="forgotten, but all of it was seen"),
        pytest.param({"damaged": [(11, 12)]}, ["gap ** 10..13 damaged"], id="a stretch cannot be read"),
        pytest.param({"damaged": [(5, 11)]}, ["gap ** 10..12 damaged"], id="damaged from what was seen on"),
        pytest.param({"holes": [("a", 12, 7)]}, ["gap a 5..13 retention"], id="of a topic never seen here"),
        pytest.param({"holes": [("b", 12, 9)]}, ["gap b 8..13 retention lost=5"], id="how many is known"),
        pytest.param({"holes": [("b", 12, 0)]}, ["gap b 8..13 retention"], id="how many is not known"),
        pytest.param({"holes": [("b", 12, 3)]}, ["gap b 8..13 retention"], id="of a topic that began anew"),
        pytest.param({"holes": [("b", 8, 4)]}, [], id="a hole in what was seen"),
        pytest.param({"holes": [("c", 12, 7)]}, [], id="of a topic that is not followed"),
        pytest.param({"forgotten": 11, "damaged": [(12, 12)], "holes": [("a", 12, 7), ("b", 11, 5)]},
                     ["gap ** 10..12 forgotten", "gap ** 11..13 damaged", "gap a 5..13 retention",
                      "gap b 8..12 retention"],
                     id="all of it"),
    ],
)  # fmt: skip
def test_what_is_gone_is_told_before_the_page(fields: dict[str, Any], told: list[str]) -> None:
    scene = standing("a", "b", at=5)
    scene.come(event("b", 8, 3, nth=4))
    scene.beat(10)
    scene.tails(("b", 8, 4), through=10)
    scene.come(event("a", 14, 5, drops=1))
    scene.told()
    scene.replayed(event("b", 13, 8, nth=20), through=13, **fields)
    assert scene.told() == [*told, "b 13", "up to 13", "a 14"]


@pytest.mark.parametrize(
    ("lost", "page", "told"),
    [
        pytest.param(7, [("a", 10, 7, 3)], ["gap a 6..8 late lost=1", "a 10"], id="before what is out"),
        pytest.param(9, [("a", 9, 6, 2), ("a", 10, 9, 3)], ["a 9", "a 10"], id="behind it"),
        pytest.param(
            7, [("a", 9, 7, 3), ("a", 10, 9, 4)], ["gap a 6..8 late lost=1", "a 9", "a 10"], id="both"
        ),
    ],
)
def test_a_hole_that_no_counter_told_of(
    lost: int, page: list[tuple[str, int, int, int]], told: list[str]
) -> None:
    """Another topic's event has gone by, and what came before it cannot be put in its place any more."""
    scene = standing("a", "b", at=5)
    scene.come(event("a", 6, nth=1), event("b", 8, nth=1))
    events = [event(topic, seq, prev, nth=nth) for topic, seq, prev, nth in page]
    scene.come(events[-1])
    scene.told()
    scene.replayed(*events, through=10)
    assert scene.told() == [*told, "up to 10"]


def test_what_stands_in_a_hole_is_not_called_lost_and_hides_nothing_behind_it() -> None:
    """Retention takes whole chunks: an older event may stand where newer ones have gone."""
    scene = standing("a", at=5)
    scene.come(event("a", 6, nth=1))
    scene.come(event("a", 20, 19, nth=8))
    scene.told()
    scene.replayed(event("a", 8, 6, nth=2), event("a", 20, 19, nth=8), through=20, holes=[("a", 19, 7)])
    assert scene.told() == ["gap a 6..20 retention lost=5", "a 8", "a 20", "up to 20"]


def test_where_the_page_ends_in_a_hole_nobody_knows_how_many_are_gone() -> None:
    scene = standing("a", at=5)
    scene.come(event("a", 6, nth=1))
    scene.come(event("a", 20, 19, nth=8))
    scene.told()
    scene.replayed(event("a", 8, 6, nth=2), through=8, holes=[("a", 19, 7)])
    assert scene.told() == ["gap a 6..20 retention", "a 8", "up to 8"]
    scene.replayed(event("a", 20, 19, nth=8), through=20, holes=[("a", 19, 7)])
    assert scene.told() == ["a 20", "up to 20"]


def test_a_hole_in_which_all_stands_is_none() -> None:
    """After a restart the log knows the number of the newest that is gone, and its seq only about."""
    scene = standing("a", at=5)
    scene.come(event("a", 6, nth=1))
    scene.come(event("a", 20, 8, nth=3))
    scene.told()
    scene.replayed(event("a", 8, 6, nth=2), event("a", 20, 8, nth=3), through=20, holes=[("a", 19, 2)])
    assert scene.told() == ["a 8", "a 20", "up to 20"]


def test_what_is_gone_is_told_also_where_the_log_knows_only_a_bound_of_its_seq() -> None:
    scene = standing("b")
    scene.come(event("b", 11, 9, nth=1), event("b", 15, 14, nth=4))
    scene.replayed(event("b", 14, 13, nth=3), event("b", 15, 14, nth=4), through=15, holes=[("b", 14, 2)])
    assert scene.told() == ["b 11", "gap b 11..15 retention lost=1", "b 14", "b 15", "up to 15"]


@pytest.mark.parametrize(
    ("last", "hole", "next_hole", "gap", "next_gap"),
    [
        pytest.param(event("b", 20, 16, nth=7), ("b", 14, 3), ("b", 16, 6),
                     "gap b 10..15 retention", "gap b 14..17 retention lost=2",
                     id="it is not counted with the next"),
        pytest.param(event("b", 30, 29, nth=9), ("b", 15, 0), ("b", 29, 8),
                     "gap b 10..16 retention", "gap b 15..30 retention",
                     id="it does not tell how many are gone behind it"),
    ],
)  # fmt: skip
def test_what_stands_in_a_hole_is_nothing_to_count_the_next_by(
    last: Event, hole: tuple[str, int, int], next_hole: tuple[str, int, int], gap: str, next_gap: str
) -> None:
    scene = standing("b")
    scene.come(last)
    scene.replayed(event("b", 13, 11, nth=4), through=15, holes=[hole])
    scene.replayed(last, through=last.seq, holes=[next_hole])
    assert scene.told() == [gap, "b 13", "up to 15", next_gap, f"b {last.seq}", f"up to {last.seq}"]


def test_a_hole_that_was_told_is_not_asked_for_again() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    scene.replayed(through=14, holes=[("a", 14, 9)])
    scene.come(event("a", 15, 14))
    assert scene.told() == ["gap a 10..15 retention", "up to 14", "a 15"]
    assert scene.asked() == ["replay a after 10 upto 14"]
