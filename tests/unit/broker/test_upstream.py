"""The one ordered stream, rule by rule: what arrives, what is asked of the broker, what goes on."""

from __future__ import annotations

import pytest

from broker.upstream import (
    ASK_AGAIN_S,
    HELD_MAX_BYTES,
    MISSED_AFTER_S,
    PREFIXES_MAX,
    STALE_AFTER_S,
)
from gateway.event import Event
from tests.support.events import EPOCH, event
from tests.support.upstream import Scene, standing

# Barrier


def test_the_first_barrier_gives_the_position() -> None:
    scene = Scene()
    assert scene.upstream.follow("a") is False
    scene.upstream.settle()
    assert scene.asked() == ["+a"]  # there is no connection yet to ask on
    scene.upstream.on_connected(0.0)
    assert scene.asked() == ["barrier"]
    scene.marker(10, start=3)
    assert scene.told() == ["fresh", f"epoch {EPOCH:x} from 3, at 10", "up to 10", "in force: a"]
    assert scene.asked() == []
    assert (scene.upstream.epoch, scene.upstream.seen, scene.upstream.covers("a")) == (EPOCH, 10, 10)
    assert scene.upstream.follow("a") is True


def test_one_barrier_does_for_all_that_was_followed_before_it() -> None:
    scene = standing("a")
    for prefix in ("b", "c/"):
        scene.upstream.follow(prefix)
    scene.upstream.settle()
    scene.upstream.settle()
    assert scene.asked() == ["+b", "+c/", "barrier"]
    scene.marker(12)
    assert scene.told() == ["up to 12", "in force: b c/"]


def test_what_was_followed_after_a_barrier_waits_for_the_next() -> None:
    scene = standing("a")
    scene.upstream.follow("b")
    scene.upstream.settle()
    first = scene.barrier_number
    scene.upstream.follow("c")
    scene.upstream.settle()
    scene.marker(12, number=first)
    assert scene.told() == ["up to 12", "in force: b"]
    assert scene.upstream.covers("c") is None
    scene.marker(13)
    assert scene.told() == ["up to 13", "in force: c"]


def test_a_second_prefix_comes_into_force_while_the_first_flows() -> None:
    scene = standing("a")
    scene.upstream.follow("b")
    scene.upstream.settle()
    scene.come(event("a", 11, 9), event("b", 12, 8), event("a", 13, 11))
    assert scene.told() == ["a 11", "a 13"]  # b's is at or below the head of the marker: by replay
    scene.marker(13)
    scene.come(event("b", 14, 12))
    assert scene.told() == ["up to 13", "in force: b", "b 14"]
    assert scene.asked() == ["+b", "barrier"]


def test_nothing_is_looked_at_before_the_first_marker() -> None:
    scene = Scene()
    scene.upstream.follow("a")
    scene.come(event("a", 5))
    scene.beat(5)
    scene.upstream.on_connected(0.0)
    scene.come(event("a", 6, 5))
    scene.beat(6)
    assert scene.told() == ["fresh"]
    assert scene.asked() == ["+a", "barrier"]


def test_a_barrier_that_is_not_answered_is_asked_for_again_and_either_marker_does() -> None:
    scene = standing("a")
    scene.upstream.follow("b")
    scene.upstream.settle()
    first = scene.barrier_number
    scene.asked()
    scene.pass_time(ASK_AGAIN_S)
    assert scene.asked() == []
    scene.pass_time(0.1)
    assert scene.asked() == ["barrier"]
    scene.marker(10, number=first)
    assert scene.told() == ["up to 10", "in force: b"]
    scene.pass_time(ASK_AGAIN_S + 0.1)
    assert scene.asked() == []


# Holes


@pytest.mark.parametrize(
    ("arriving", "told"),
    [
        pytest.param([event("a", 11, 9), event("a", 12, 11)], ["a 11", "a 12"], id="one after the other"),
        pytest.param([event("a", 11, 10)], ["a 11"], id="the one before it is the barrier's last"),
        pytest.param([event("a", 11, 9), event("a", 11, 9)], ["a 11"], id="a duplicate"),
        pytest.param([event("a", 10, 9)], [], id="not beyond the barrier"),
        pytest.param([event("a", 12, 9), event("a", 11, 9)], ["a 12"], id="older than what was offered"),
        pytest.param([event("a", 11, 9), event("b", 30, 9), event("a", 31, 11)], ["a 11", "b 30", "a 31"],
                     id="other topics' events between"),
        pytest.param([event("ab", 11, 9), event("b", 12, 9)], ["b 12"], id="of a name that begins alike"),
        pytest.param([event("b", 15, 9), event("a", 16, 14, nth=1)], ["b 15", "a 16"],
                     id="the first of a topic names what was forgotten before the newest seen"),
        pytest.param([event("a", 12, 11, unlogged=True)], ["gap a 10..12 late", "a 12"],
                     id="an unlogged one waits for no log"),
    ],
)  # fmt: skip
def test_what_lacks_nothing_goes_on_at_once(arriving: list[Event], told: list[str]) -> None:
    scene = standing("a", "b")
    scene.come(*arriving)
    assert scene.told() == told
    assert scene.asked() == []


@pytest.mark.parametrize(
    "arriving",
    [
        pytest.param(event("a", 14, 12), id="prev was not seen"),
        pytest.param(event("a", 14, 11), id="the first one after the barrier was not seen"),
        pytest.param(event("a", 14, 12, nth=1), id="the first of a topic, forgotten beyond the newest seen"),
    ],
)
def test_a_hole_is_asked_for_and_not_passed(arriving: Event) -> None:
    scene = standing("a", "b")
    scene.come(arriving)
    assert scene.told() == []
    assert scene.asked() == ["replay a b after 10 upto 14"]


def test_a_hole_is_filled_in_order_and_what_was_held_goes_on() -> None:
    scene = standing("a", "b")
    scene.come(event("a", 11, 9), event("a", 14, 13), event("b", 15, 9), event("a", 16, 14))
    assert scene.told() == ["a 11"]
    assert scene.asked() == ["replay a b after 11 upto 14"]
    scene.replayed(event("b", 12, 9), event("a", 13, 11), event("a", 14, 13), through=14)
    assert scene.told() == ["b 12", "a 13", "a 14", "up to 14", "b 15", "a 16"]
    assert scene.asked() == []


def test_a_second_hole_among_what_was_held_is_filled_in_its_turn() -> None:
    scene = standing("a", "b")
    scene.come(event("a", 12, 11), event("a", 15, 14), event("b", 16, 9))
    scene.replayed(event("a", 11, 9), event("a", 12, 11), through=12)
    assert scene.told() == ["a 11", "a 12", "up to 12"]
    assert scene.asked() == ["replay a b after 10 upto 12", "replay a b after 12 upto 15"]
    scene.replayed(event("a", 14, 12), event("a", 15, 14), through=15)
    assert scene.told() == ["a 14", "a 15", "up to 15", "b 16"]


def test_a_fill_may_take_several_pages() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    scene.asked()
    scene.replayed(event("a", 11, 9), through=12)
    assert scene.told() == ["a 11", "up to 12"]
    assert scene.asked() == ["replay a after 12 upto 14"]
    scene.replayed(event("a", 13, 11), event("a", 14, 13), through=14)
    assert scene.told() == ["a 13", "a 14", "up to 14"]


def test_a_replay_that_is_not_answered_is_asked_again_and_its_late_answer_is_ignored() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    first = scene.replay_number
    scene.pass_time(ASK_AGAIN_S + 0.1)
    assert scene.asked() == ["replay a after 10 upto 14", "replay a after 10 upto 14"]
    scene.replayed(event("a", 13, 9), event("a", 14, 13), through=14, number=first)
    assert scene.told() == []
    scene.replayed(event("a", 13, 9), event("a", 14, 13), through=14)
    assert scene.told() == ["a 13", "a 14", "up to 14"]
    scene.replayed(event("a", 13, 9), event("a", 14, 13), through=14)
    assert scene.told() == []  # nor is an answer taken twice


def test_a_log_that_is_not_so_far_yet_is_asked_again_later() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    scene.asked()
    scene.replayed(through=10)
    assert scene.asked() == []
    scene.pass_time(ASK_AGAIN_S + 0.1)
    assert scene.asked() == ["replay a after 10 upto 14"]


def test_a_prefix_comes_into_force_behind_the_hole_before_its_marker() -> None:
    scene = standing("a")
    scene.upstream.follow("b")
    scene.upstream.settle()
    scene.come(event("a", 14, 13))
    scene.marker(15)
    scene.come(event("b", 16, 9))
    assert scene.told() == []
    scene.replayed(event("a", 13, 9), event("a", 14, 13), through=14)
    assert scene.told() == ["a 13", "a 14", "up to 14", "up to 15", "in force: b", "b 16"]


def test_a_replay_of_many_prefixes_asks_for_everything_and_takes_what_is_followed() -> None:
    scene = standing(*(f"t/{number}" for number in range(PREFIXES_MAX + 1)))
    scene.come(event("t/7", 14, 13))
    assert scene.asked() == ["replay  after 10 upto 14"]
    scene.replayed(event("t/7", 12, 9), event("other", 13, 9), event("t/7", 14, 12), through=14)
    assert scene.told() == ["t/7 12", "t/7 14", "up to 14"]


def test_what_waits_too_long_is_thrown_away_and_comes_by_replay() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    payload = b"x" * (1 << 20)
    last = 14 + HELD_MAX_BYTES // len(payload)
    for seq in range(15, last):
        scene.come(event("a", seq, seq - 1, payload=payload))
    scene.asked()
    scene.come(event("a", last, last - 1, payload=payload))
    assert scene.asked() == ["barrier"]
    scene.replayed(event("a", 14, 9), through=14)  # too late
    scene.come(event("a", last + 1, last))  # before the marker
    assert scene.told() == []
    scene.marker(last + 1)
    assert scene.asked() == [f"replay a after 10 upto {last + 1}"]
    scene.replayed(event("a", last + 1, 9), through=last + 1)
    scene.come(event("a", last + 2, last + 1))
    assert scene.told() == [f"a {last + 1}", f"up to {last + 1}", f"up to {last + 1}", f"a {last + 2}"]


# Breaks


def test_a_silent_broker_is_stale_and_what_was_missed_comes_by_replay() -> None:
    scene = standing("a")
    scene.beat(10)
    scene.pass_time(STALE_AFTER_S)
    assert scene.told() == []
    scene.pass_time(0.1)
    scene.pass_time(0.1)
    assert scene.told() == ["stale"]  # once
    scene.asked()
    scene.beat(14)
    assert scene.told() == ["fresh"]
    assert scene.asked() == ["barrier"]
    scene.come(event("a", 15, 13))
    assert scene.told() == []
    scene.marker(15)
    assert scene.asked() == ["replay a after 10 upto 15"]
    scene.replayed(event("a", 13, 9), event("a", 15, 13), through=15)
    scene.come(event("a", 16, 15))
    assert scene.told() == ["a 13", "a 15", "up to 15", "up to 15", "a 16"]


@pytest.mark.parametrize(
    ("before_s", "after_s", "told"),
    [
        pytest.param(0.5, 0.25, [], id="the broker may have gone on"),
        pytest.param(0.5, STALE_AFTER_S - 0.5, [], id="and is given the time that it had"),
        pytest.param(0.5, STALE_AFTER_S - 0.25, ["stale"], id="but no more"),
    ],
)
def test_who_stood_still_does_not_take_that_for_the_silence_of_others(
    before_s: float, after_s: float, told: list[str]
) -> None:
    scene = standing("a")
    scene.beat(10)
    scene.pass_time(before_s)
    scene.stand_still(30)
    scene.pass_time(after_s)
    assert scene.told() == told


@pytest.mark.parametrize(
    ("later_s", "asked"),
    [
        pytest.param(MISSED_AFTER_S, ["tails a after 10"], id="late, but none is missing"),
        pytest.param(MISSED_AFTER_S + 0.1, ["barrier"], id="one at least is missing"),
    ],
)
def test_a_missed_beat_asks_for_a_barrier(later_s: float, asked: list[str]) -> None:
    scene = standing("a")
    scene.beat(10)
    scene.beat(14, later_s=later_s)
    assert scene.asked() == asked


def test_after_a_reconnect_nothing_counts_before_the_new_marker() -> None:
    scene = standing("a")
    scene.upstream.follow("b")
    scene.upstream.settle()
    scene.upstream.on_connected(1.0)
    assert scene.asked() == ["+b", "barrier", "barrier"]
    scene.come(event("a", 13, 11))
    scene.beat(13)
    scene.marker(13, number=scene.barrier_number - 1)  # filters come again in any order: it proves nothing
    assert scene.told() == []
    assert scene.asked() == []
    scene.marker(13)
    assert scene.asked() == ["replay a after 10 upto 13"]
    scene.replayed(event("a", 11, 9), event("a", 13, 11), through=13)
    assert scene.told() == ["a 11", "a 13", "up to 13", "up to 13", "in force: b"]


def test_a_marker_that_came_is_not_asked_for_again_while_the_log_answers() -> None:
    scene = standing("a")
    scene.upstream.on_connected(1.0)
    scene.marker(13)
    scene.asked()
    scene.pass_time(ASK_AGAIN_S + 0.1)
    assert scene.asked() == ["replay a after 10 upto 13"]


def test_a_reconnect_in_the_middle_of_a_hole_starts_over() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13), event("a", 15, 14))
    scene.upstream.on_connected(1.0)
    scene.replayed(event("a", 13, 9), event("a", 14, 13), through=14)
    assert scene.told() == []
    scene.marker(16)
    assert scene.asked() == ["replay a after 10 upto 14", "barrier", "replay a after 10 upto 16"]
    scene.replayed(event("a", 13, 9), event("a", 14, 13), event("a", 15, 14), through=16)
    assert scene.told() == ["a 13", "a 14", "a 15", "up to 16", "up to 16"]


def test_a_reconnect_that_missed_nothing_asks_no_log() -> None:
    scene = standing("a")
    scene.upstream.on_connected(1.0)
    scene.marker(10, drops=7)
    scene.come(event("a", 11, 9, drops=7))
    assert scene.told() == ["up to 10", "a 11"]
    assert scene.asked() == ["barrier"]


def test_a_reconnect_with_nothing_followed_only_moves_on() -> None:
    scene = standing()
    scene.upstream.on_connected(1.0)
    scene.marker(20)
    assert scene.upstream.seen == 20
    assert scene.asked() == ["barrier"]


# Wishes that end


def test_what_is_no_longer_followed_is_neither_offered_nor_missed() -> None:
    scene = standing("a", "b")
    scene.come(event("a", 11, 9), event("b", 12, 9))
    scene.told()
    scene.upstream.unfollow(["a"])
    scene.come(event("a", 13, 11), event("b", 14, 12))
    assert scene.told() == ["b 14"]
    assert scene.upstream.covers("a") is None
    assert scene.asked() == ["-a"]


def test_what_is_followed_again_is_not_held_against_what_was_seen_before() -> None:
    scene = standing("a/")
    scene.come(event("a/x", 11, 9))
    scene.upstream.unfollow(["a/"])
    assert scene.upstream.follow("a/") is False
    scene.upstream.settle()
    scene.marker(20)
    scene.come(event("a/x", 21, 19))  # 19 is from the time when nobody followed
    assert scene.told() == ["a/x 11", "up to 20", "in force: a/", "a/x 21"]
    assert scene.asked() == ["-a/", "+a/", "barrier"]
    assert scene.upstream.covers("a/") == 20


@pytest.mark.parametrize("leaving", ["a/x", "a/", ""])
def test_what_another_prefix_follows_is_still_missed(leaving: str) -> None:
    scene = standing("a/x", "a/", "")
    scene.come(event("a/x", 11, 9))
    scene.told()
    scene.upstream.unfollow([leaving])
    scene.come(event("a/x", 14, 13))
    assert scene.told() == []
    assert len(scene.asked()) == 2  # the filter, and the replay


def test_what_is_left_before_its_barrier_never_comes_into_force() -> None:
    scene = standing("a")
    scene.upstream.follow("b")
    scene.upstream.settle()
    scene.upstream.unfollow(["b"])
    scene.marker(12)
    assert scene.told() == ["up to 12"]
    assert scene.asked() == ["+b", "barrier", "-b"]


def test_leaving_what_is_not_followed_changes_nothing() -> None:
    scene = standing("a")
    scene.upstream.unfollow(["b"])
    assert scene.asked() == []
