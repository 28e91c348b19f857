"""How the one ordered stream finds losses that no later event betrays: by counted drops, beats and tails."""

from __future__ import annotations

import pytest

from broker.upstream import ASK_AGAIN_S
from gateway.event import Event
from tests.support.events import event
from tests.support.upstream import standing

# The broker's count of drops


def test_a_drop_is_asked_about_before_the_stream_goes_on() -> None:
    scene = standing("a", "b")
    scene.come(event("b", 14, 9, drops=1), event("b", 15, 14, drops=1))
    assert scene.told() == []
    assert scene.asked() == ["replay a b after 10 upto 13"]
    scene.replayed(event("a", 12, 9), through=13)  # the lost last one of a quiet topic
    assert scene.told() == ["a 12", "up to 13", "b 14", "b 15"]


@pytest.mark.parametrize("through", [pytest.param(13, id="exactly"), pytest.param(20, id="and further on")])
def test_a_drop_that_was_somebody_elses_costs_a_question(through: int) -> None:
    scene = standing("a", "b")
    scene.come(event("b", 14, 9, drops=1))
    scene.replayed(through=through)
    assert scene.told() == ["up to 13", "b 14"]
    scene.come(event("b", 15, 14, drops=1))
    assert scene.told() == ["b 15"]
    assert scene.asked() == ["replay a b after 10 upto 13"]


def test_a_drop_with_nothing_between_needs_no_question() -> None:
    scene = standing("a")
    scene.come(event("a", 11, 9, drops=1), event("a", 12, 11, drops=1))
    assert scene.told() == ["a 11", "a 12"]
    assert scene.asked() == []


def test_drops_count_modulo_32() -> None:
    scene = standing("a")
    scene.beat(10, drops=64)
    scene.come(event("a", 15, 9, drops=32))
    assert scene.told() == ["a 15"]
    assert scene.asked() == []


def test_a_beat_that_counts_a_drop_asks_first_and_looks_at_tails_then() -> None:
    scene = standing("a")
    scene.beat(14, drops=1)
    assert scene.asked() == ["replay a after 10 upto 14"]
    scene.replayed(event("a", 12, 9), through=14)
    assert scene.told() == ["a 12", "up to 14"]
    assert scene.asked() == ["tails a after 10"]


def test_a_marker_that_counts_a_drop_asks_first() -> None:
    scene = standing("a")
    scene.upstream.follow("b")
    scene.upstream.settle()
    scene.marker(14, drops=1)
    assert scene.asked() == ["+b", "barrier", "replay a after 10 upto 14"]
    scene.replayed(event("a", 12, 9), through=14)
    assert scene.told() == ["a 12", "up to 14", "up to 14", "in force: b"]


# Beat and tails


def test_tails_that_agree_move_the_position() -> None:
    scene = standing("a")
    scene.come(event("a", 11, 9, nth=5))
    scene.beat(20)
    assert scene.asked() == ["tails a after 10"]
    scene.tails(("a", 11, 5), through=20)
    assert scene.told() == ["a 11", "up to 20"]
    scene.beat(20)
    assert scene.asked() == []  # nothing is new
    scene.beat(25)
    assert scene.asked() == ["tails a after 20"]


def test_the_lost_last_event_of_a_quiet_topic_is_filled() -> None:
    scene = standing("a", "b")
    scene.beat(15)
    scene.tails(("a", 12, 5), ("b", 14, 3), through=15)
    assert scene.asked() == ["tails a b after 10", "replay a b after 10 upto 15"]
    scene.replayed(event("a", 12, 9), event("b", 14, 9), through=15)
    assert scene.told() == ["a 12", "b 14", "up to 15"]


@pytest.mark.parametrize(
    ("seen_of_a", "gap"),
    [
        pytest.param([], "gap a 10..14 late", id="nothing was seen of the topic"),
        pytest.param([event("a", 11, 9, nth=4)], "gap a 11..14 late lost=2", id="how many is known"),
    ],
)
def test_a_loss_found_when_later_events_are_out_is_a_gap(seen_of_a: list[Event], gap: str) -> None:
    scene = standing("a", "b")
    scene.come(*seen_of_a, event("b", 14, 9))
    scene.beat(14)
    scene.told()
    scene.tails(("a", 13, 6), ("b", 14, 2), through=14)
    scene.come(event("a", 15, 13, nth=7))
    assert scene.told() == [gap, "up to 14", "a 15"]
    assert scene.asked() == ["tails a b after 10"]


def test_a_tail_newer_than_the_beat_is_on_its_way() -> None:
    scene = standing("a")
    scene.beat(15)
    scene.tails(("a", 16, 5), through=17)
    assert scene.told() == ["up to 15"]
    scene.come(event("a", 16, 9))
    assert scene.told() == ["a 16"]
    assert scene.asked() == ["tails a after 10"]


def test_tails_that_are_cut_off_are_asked_on() -> None:
    scene = standing("a")
    scene.beat(20)
    scene.tails(through=15)
    assert scene.told() == ["up to 15"]
    scene.beat(20)
    assert scene.asked() == ["tails a after 10", "tails a after 15"]


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(("c", 12, 1), id="of a topic that is not followed"),
        pytest.param(("ab", 12, 1), id="of a name that begins alike"),
        pytest.param(("a", 10, 1), id="from before the barrier"),
    ],
)
def test_tails_that_are_not_ours_to_miss(tail: tuple[str, int, int]) -> None:
    scene = standing("a")
    scene.beat(15)
    scene.tails(tail, through=15)
    assert scene.told() == ["up to 15"]
    assert scene.asked() == ["tails a after 10"]


def test_a_beat_behind_a_hole_waits_its_turn() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    scene.beat(14)
    assert scene.asked() == ["replay a after 10 upto 14"]
    scene.replayed(event("a", 13, 9), event("a", 14, 13), through=14)
    assert scene.asked() == ["tails a after 10"]


def test_tails_that_come_while_a_hole_is_filled_leave_it_to_the_log() -> None:
    scene = standing("a", "b")
    scene.beat(15)
    scene.come(event("a", 17, 16))
    scene.tails(("b", 14, 3), through=15)
    assert scene.told() == []
    scene.replayed(event("b", 14, 9), event("a", 16, 9), event("a", 17, 16), through=17)
    assert scene.told() == ["b 14", "a 16", "a 17", "up to 17"]
    assert scene.asked() == ["tails a b after 10", "replay a b after 10 upto 17"]


def test_tails_that_are_not_answered_are_asked_for_by_the_next_beat() -> None:
    scene = standing("a")
    scene.beat(15)
    first = scene.tails_number
    scene.beat(15)
    assert scene.asked() == ["tails a after 10"]
    scene.pass_time(ASK_AGAIN_S + 0.1)
    scene.beat(15)
    assert scene.asked() == ["tails a after 10"]
    scene.tails(("a", 12, 5), through=15, number=first)
    assert scene.told() == []
    assert scene.asked() == []


def test_without_a_prefix_there_are_no_tails_to_ask_for() -> None:
    scene = standing()
    scene.beat(15)
    assert scene.asked() == []


@pytest.mark.parametrize(
    ("forgotten", "told"),
    [
        pytest.param(12, ["gap ** 10..13 forgotten", "up to 15"], id="since it last looked"),
        pytest.param(99, ["gap ** 10..16 forgotten", "up to 15"], id="also beyond what it looks at"),
        pytest.param(10, ["up to 15"], id="before that"),
    ],
)
def test_a_topic_that_is_forgotten_with_what_was_dropped_is_told(forgotten: int, told: list[str]) -> None:
    """No tail of it is left that could show the loss."""
    scene = standing("a")
    scene.beat(15)
    scene.tails(through=15, forgotten=forgotten)
    assert scene.told() == told
    scene.beat(16)
    scene.tails(through=16, forgotten=forgotten)
    assert "gap ** 10..13 forgotten" not in scene.told()
