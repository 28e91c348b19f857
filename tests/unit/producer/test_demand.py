"""Whether anybody watches: prefixes, and every way in which it is not known."""

from __future__ import annotations

from typing import Any

import pytest

from broker import control
from broker.control import PREFIXES_MAX, DemandPage
from broker.topics import Pattern
from broker.upstream import ASK_AGAIN_S, MISSED_AFTER_S, STALE_AFTER_S
from broker.wire import DEMAND_TOPIC, DROPS_SHIFT, pack_stamp
from producer.demand import PATIENCE_S, REFRESH_S, SETTLE_S, Demand, Prefixes
from producer.questions import Done
from tests.support.events import EPOCH, OTHER_EPOCH, head

BEAT_S = 1.0


@pytest.mark.parametrize(
    ("prefixes", "topic", "covered"),
    [
        pytest.param(["room/a"], "room/a", True, id="the topic"),
        pytest.param(["room/"], "room/a", True, id="what it begins with"),
        pytest.param(["ro"], "room/a", True, id="part of a segment"),
        pytest.param([""], "room/a", True, id="everything"),
        pytest.param(["cpu/", "room/", "room/b"], "room/a", True, id="one of several"),
        pytest.param(["room/ab"], "room/a", False, id="a longer one"),
        pytest.param(["cpu/"], "room/a", False, id="another"),
        pytest.param([], "room/a", False, id="nothing"),
        pytest.param(["caf\\xc3"], "café", True, id="half a character"),
        pytest.param(["\\xff"], "room/a", True, id="no text"),
    ],
)
def test_a_topic_is_covered_by_what_it_begins_with(prefixes: list[str], topic: str, covered: bool) -> None:
    assert Prefixes(prefixes, is_whole=True).cover(topic.encode()) is covered
    changed = Prefixes(["other"], is_whole=True)
    for prefix in prefixes:
        changed.change(prefix, True)
    assert changed.cover(topic.encode()) is covered
    for prefix in prefixes:
        changed.change(prefix, False)
    assert changed.cover(topic.encode()) is False


@pytest.mark.parametrize(
    ("prefixes", "pattern", "met"),
    [
        pytest.param(["room/a"], "room/*", True, id="one of its topics"),
        pytest.param(["room/"], "room/**", True, id="all of its topics"),
        pytest.param(["ro"], "room/*", True, id="more than its topics"),
        pytest.param(["room/a"], "room/a", True, id="a topic"),
        pytest.param(["room/ab"], "room/a", False, id="a topic and a longer one"),
        pytest.param(["cpu/"], "room/*", False, id="others"),
        pytest.param(["cpu/"], "**", True, id="any"),
        pytest.param([], "**", False, id="none"),
    ],
)
def test_a_pattern_meets_what_may_be_of_one_of_its_topics(
    prefixes: list[str], pattern: str, met: bool
) -> None:
    assert Prefixes(prefixes, is_whole=True).meet(Pattern(pattern)) is met


def test_prefixes_that_look_alike_when_cut_off_are_two() -> None:
    prefixes = Prefixes(["caf\\xc3", "caf\\xc4"], is_whole=True)
    prefixes.change("caf\\xc3", False)
    prefixes.change("caf\\xc3", False)
    assert prefixes.cover("café".encode())


def test_an_answer_that_is_not_whole_covers_everything() -> None:
    assert Prefixes(["a"], is_whole=False).cover(b"b")
    assert Prefixes(["a"], is_whole=False).meet(Pattern("b"))


class Scene:
    """A demand and the broker it hears."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.barrier_number = 0
        self._asked: list[str] = []
        self._questions: list[Done] = []
        self.demand = Demand(self)
        self.demand.begin(self.now_s)

    def asked(self) -> list[str]:
        asked, self._asked = self._asked, []
        return asked

    def watched(self, *topics: str) -> list[bool]:
        return [self.demand.is_watched(topic) for topic in topics]

    # demand.Link

    def set_filter(self, prefix: bytes, is_on: bool) -> None:
        self._asked.append(f"{'+' if is_on else '-'}{prefix.decode()}")

    def barrier(self, number: int) -> None:
        self.barrier_number = number
        self._asked.append("barrier")

    def ask(self, request: control.AnyRequest, done: Done) -> None:
        assert isinstance(request, control.Demand)
        self._questions.append(done)
        self._asked.append("demand")

    # What the broker does

    def connect(self) -> None:
        self.demand.on_connected(self.now_s)

    def marker(self, *, number: int | None = None, **fields: int) -> None:
        self.demand.on_marker(number or self.barrier_number, head(5, **fields), self.now_s)

    def answer(self, *prefixes: str, which: int = -1) -> None:
        self._questions[which](DemandPage(at=head(5), prefixes=list(prefixes)), ())
        self.demand.turn(self.now_s)

    def change(self, prefix: str, wanted: bool, drops: int = 0) -> None:
        stamp = pack_stamp(drops << DROPS_SHIFT, 0, EPOCH, 0, 0, 0)
        payload = control.encode({"prefix": prefix, "wanted": wanted})
        self.demand.on_event(DEMAND_TOPIC, stamp, payload)
        self.demand.turn(self.now_s)

    def beat(self, **fields: int) -> None:
        self.demand.on_beat(head(5, **fields), self.now_s)
        self.demand.turn(self.now_s)

    def pass_time(self, seconds: float, *, beats: bool = True) -> None:
        """In steps, with the beats that belong to them."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(self.now_s + BEAT_S / 2, until_s)
            if beats:
                self.beat()
            self.demand.tick(self.now_s)
            self.demand.turn(self.now_s)


def settled(*prefixes: str) -> Scene:
    """These are asked for, and that is known."""
    scene = Scene()
    scene.connect()
    scene.marker()
    scene.answer(*prefixes)
    scene.pass_time(SETTLE_S)
    scene.asked()
    return scene


def test_everything_is_watched_until_the_answer_and_the_first_seconds_are_over() -> None:
    scene = Scene()
    assert scene.asked() == ["+$broker/demand"]
    assert scene.watched("a") == [True]
    scene.connect()
    scene.marker()
    assert scene.asked() == ["barrier", "demand"]
    scene.answer("b")
    scene.pass_time(SETTLE_S - 0.1)
    assert scene.watched("a", "b") == [True, True]
    scene.pass_time(0.1)
    assert scene.watched("a", "b") == [False, True]
    assert scene.asked() == []


def test_changes_are_taken_as_they_come() -> None:
    scene = settled("a")
    scene.change("b", True)
    scene.change("a", False)
    scene.change("a", False)
    assert scene.watched("a", "b") == [False, True]


@pytest.mark.parametrize(
    ("before", "after", "watched"),
    [
        pytest.param([("a", True)], [], True, id="before the answer, which does not have it"),
        pytest.param([], [("a", True)], True, id="after it"),
        pytest.param([("a", True)], [("a", False)], False, id="before and after"),
        pytest.param([("a", True), ("a", False)], [], False, id="twice before"),
    ],
)
def test_changes_around_the_answer_count(
    before: list[tuple[str, bool]], after: list[tuple[str, bool]], watched: bool
) -> None:
    scene = Scene()
    scene.connect()
    scene.change("a", not watched)  # before the marker: the answer has it
    scene.marker()
    for change in before:
        scene.change(*change)
    scene.answer("x")
    for change in after:
        scene.change(*change)
    scene.pass_time(SETTLE_S)
    assert scene.watched("a") == [watched]


def test_a_marker_that_was_under_way_proves_nothing() -> None:
    scene = Scene()
    scene.connect()
    scene.connect()
    scene.asked()
    scene.marker(number=scene.barrier_number - 1)
    assert scene.asked() == []
    scene.marker()
    scene.marker()
    assert scene.asked() == ["demand"]


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda scene: scene.connect(), id="a new connection"),
        pytest.param(lambda scene: scene.beat(epoch=OTHER_EPOCH), id="another log"),
        pytest.param(lambda scene: scene.beat(drops=1), id="a drop, by a beat"),
        pytest.param(lambda scene: scene.change("c", True, drops=1), id="a drop, by a change"),
    ],
)
def test_whatever_may_have_been_missed_is_asked_for(lose: Any) -> None:
    scene = settled("b")
    lose(scene)
    assert scene.asked() == ["barrier"]
    assert scene.watched("a") == [True]
    scene.change("a", True)  # of before the marker
    scene.marker(drops=1)
    scene.answer("b")
    scene.pass_time(SETTLE_S, beats=False)
    assert scene.watched("a") == [True]  # silent meanwhile


def test_a_drop_does_not_unsettle() -> None:
    scene = settled("b")
    scene.beat(drops=1)
    scene.marker(drops=1)
    scene.answer("b")
    assert scene.watched("a", "b") == [False, True]


def test_a_missed_beat_is_asked_about() -> None:
    scene = settled("b")
    scene.now_s += MISSED_AFTER_S + 0.1
    scene.beat()
    assert scene.asked() == ["barrier"]
    assert scene.watched("a") == [True]


def test_while_the_broker_is_silent_everything_is_watched() -> None:
    scene = settled("b")
    scene.pass_time(STALE_AFTER_S, beats=False)
    assert scene.watched("a") == [False]
    scene.pass_time(0.5, beats=False)
    assert scene.watched("a") == [True]


def test_what_is_not_answered_is_asked_for_again() -> None:
    scene = Scene()
    scene.pass_time(10, beats=False)
    assert scene.asked() == ["+$broker/demand"]  # nobody is there to ask
    scene.connect()
    scene.pass_time(ASK_AGAIN_S + 0.5)
    assert scene.asked() == ["barrier", "barrier"]
    scene.marker()
    scene.pass_time(ASK_AGAIN_S + 0.5)
    assert scene.asked() == ["demand", "demand"]
    scene.answer("b", which=0)
    scene.answer("a", which=1)
    scene.pass_time(SETTLE_S)
    assert scene.watched("a", "b") == [False, True]


def test_an_answer_that_may_be_cut_off_covers_everything_and_is_asked_for_again() -> None:
    scene = settled(*(f"t/{number}" for number in range(PREFIXES_MAX)))
    assert scene.watched("a") == [True]
    scene.pass_time(REFRESH_S - SETTLE_S)
    assert scene.asked() == []
    scene.pass_time(0.1)
    assert scene.asked() == ["barrier"]
    scene.marker()
    scene.answer("b")
    assert scene.watched("a", "b") == [False, True]


# Who wants to be told


def test_who_wants_to_be_told_is_told_what_is_known_and_what_changes() -> None:
    scene = settled("b")
    told: list[tuple[str, bool]] = []
    scene.demand.tell(Pattern("a"), lambda watched: told.append(("a", watched)))
    scene.demand.tell(Pattern("b/**"), lambda watched: told.append(("b/**", watched)))
    assert told == []  # not by the thread that asks
    scene.demand.turn(scene.now_s)
    assert told == [("a", False), ("b/**", True)]
    scene.change("a", True)
    scene.change("c", True)
    assert told[2:] == [("a", True)]


def test_what_is_unknown_for_a_moment_is_not_told() -> None:
    scene = settled("b")
    told: list[bool] = []
    scene.demand.tell(Pattern("a"), told.append)
    scene.demand.turn(scene.now_s)
    scene.beat(drops=1)
    assert told == [False]
    scene.marker(drops=1)
    scene.answer("b")
    assert told == [False]


def test_what_stays_unknown_is_told_as_watched() -> None:
    scene = settled("b")
    told: list[bool] = []
    scene.demand.tell(Pattern("a"), told.append)
    scene.demand.turn(scene.now_s)
    scene.connect()
    scene.pass_time(PATIENCE_S + 0.5)
    assert told == [False, True]
    scene.marker()
    scene.answer("b")
    scene.pass_time(SETTLE_S)
    assert told == [False, True, False]


def test_who_has_ended_it_is_not_told() -> None:
    scene = settled("b")
    told: list[bool] = []
    end = scene.demand.tell(Pattern("a"), told.append)
    scene.demand.turn(scene.now_s)
    end()
    end()
    scene.change("a", True)
    assert told == [False]
