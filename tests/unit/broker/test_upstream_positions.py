"""The one ordered stream where the log is another, or it goes on from a position of its own."""

from __future__ import annotations

from typing import Any

import pytest

from broker.wire import Position
from tests.support.events import EPOCH, OTHER_EPOCH, event
from tests.support.upstream import Scene, standing

# Another log


@pytest.mark.parametrize(
    "betrayed",
    [
        pytest.param(lambda scene: scene.come(event("a", 4, epoch=OTHER_EPOCH)), id="by an event"),
        pytest.param(lambda scene: scene.beat(5, epoch=OTHER_EPOCH), id="by a beat"),
        pytest.param(lambda scene: scene.marker(5, epoch=OTHER_EPOCH), id="by a marker"),
        pytest.param(lambda scene: scene.upstream.on_connected(1.0), id="by a break"),
    ],
)
def test_another_epoch_is_told_and_all_of_it_is_replayed(betrayed: Any) -> None:
    scene = standing("a", "b")
    scene.come(event("a", 11, 9))
    scene.told()
    betrayed(scene)
    assert scene.told() == []
    assert scene.asked() == ["barrier"]
    scene.marker(5, epoch=OTHER_EPOCH, start=3)
    assert scene.told() == ["epoch 1d from 3, at 3", "gap ** 11..1d.4 epoch"]
    assert scene.asked() == ["replay a b after 3 upto 5"]
    assert scene.upstream.covers("a") == 3
    scene.replayed(event("a", 4, 0, epoch=OTHER_EPOCH), through=5, epoch=OTHER_EPOCH)
    scene.come(event("a", 6, 4, epoch=OTHER_EPOCH))
    assert scene.told() == ["a 4", "up to 5", "up to 5", "a 6"]


def test_a_replay_out_of_another_epoch_is_not_taken() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    scene.asked()
    scene.replayed(event("a", 2, 1, epoch=OTHER_EPOCH), through=14, epoch=OTHER_EPOCH)
    assert scene.told() == []
    assert scene.asked() == ["barrier"]


def test_tails_of_another_epoch_are_not_taken() -> None:
    scene = standing("a")
    scene.beat(15)
    scene.tails(("a", 12, 5), through=15, epoch=OTHER_EPOCH)
    assert scene.told() == []
    assert scene.asked() == ["tails a after 10"]


# Going on from a position


def resumed(*prefixes: str, after: Position) -> Scene:
    """Connected, and before its first marker."""
    scene = Scene()
    for prefix in prefixes:
        scene.upstream.follow(prefix)
    scene.upstream.resume(after)
    scene.upstream.on_connected(scene.now_s)
    scene.asked()
    return scene


def test_who_resumes_gets_what_came_since_and_then_what_comes() -> None:
    scene = resumed("a", after=Position(EPOCH, 10))
    scene.come(event("a", 13, 11))
    scene.marker(13)
    assert scene.asked() == ["replay a after 10 upto 13"]
    scene.replayed(event("a", 11, 9), event("a", 13, 11), through=13)
    scene.come(event("a", 14, 13))
    assert scene.told() == ["fresh", "a 11", "a 13", "up to 13", "up to 13", "a 14"]


def test_who_resumes_where_the_log_is_asks_for_nothing() -> None:
    scene = resumed("a", after=Position(EPOCH, 10))
    scene.marker(10)
    scene.come(event("a", 11, 9))
    assert scene.told() == ["fresh", "up to 10", "a 11"]
    assert scene.asked() == []


def test_who_resumes_is_told_of_what_is_gone() -> None:
    scene = resumed("", after=Position(EPOCH, 3))
    scene.marker(20)
    scene.replayed(event("a", 9, 8), through=20, forgotten=5, holes=[("a", 8, 4)])
    assert scene.told() == [
        "fresh",
        "gap ** 3..6 forgotten",
        "gap a 3..9 retention",
        "a 9",
        "up to 20",
        "up to 20",
    ]


@pytest.mark.parametrize(
    "after",
    [pytest.param(Position(OTHER_EPOCH, 99), id="another"), pytest.param(Position(0, 0), id="before any")],
)
def test_who_resumes_from_another_log_gets_all_of_this_one(after: Position) -> None:
    scene = resumed("a", after=after)
    scene.marker(5, start=3)
    assert scene.told() == [
        "fresh", f"epoch {EPOCH:x} from 3, at 3", f"gap ** {after.epoch:x}.{after.seq}..4 epoch",
    ]  # fmt: skip
    assert scene.asked() == ["replay a after 3 upto 5"]


def test_a_position_that_the_log_never_came_to_is_a_gap_and_the_stream_goes_on_from_its_head() -> None:
    scene = resumed("a", after=Position(EPOCH, 11))
    scene.marker(10)
    scene.come(event("a", 11, 9), event("a", 12, 11))
    assert scene.told() == ["fresh", "gap ** 11..11 future", "up to 10", "a 11", "a 12"]
    assert scene.upstream.covers("a") == 10


def test_only_the_first_marker_bears_out_a_position() -> None:
    scene = resumed("a", after=Position(EPOCH, 10))
    scene.marker(10)
    scene.come(event("a", 11, 9))
    scene.told()
    scene.upstream.on_connected(1.0)
    scene.marker(10)  # nothing that a broker says, but what was offered stays offered
    assert scene.told() == ["up to 11"]


def test_what_is_forgotten_is_told_once_however_many_pages_follow() -> None:
    scene = resumed("a", after=Position(EPOCH, 0))
    scene.marker(30)
    for through in (10, 20, 30):
        scene.replayed(through=through, forgotten=25)
    assert scene.told() == ["fresh", "gap ** 0..26 forgotten", "up to 10", "up to 20", "up to 30", "up to 30"]


def test_what_is_forgotten_between_two_pages_is_told_with_the_second() -> None:
    scene = resumed("a", after=Position(EPOCH, 0))
    scene.marker(30)
    scene.replayed(through=10, forgotten=5)
    scene.replayed(through=30, forgotten=15)
    told = ["fresh", "gap ** 0..6 forgotten", "up to 10", "gap ** 10..16 forgotten", "up to 30", "up to 30"]
    assert scene.told() == told
