"""What a subscriber is due: what arrives, what is asked of the broker, what it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from broker import control
from broker.control import LastPage, ReplayPage
from broker.gap import Gap
from broker.topics import Pattern
from broker.upstream import ASK_AGAIN_S, STALE_AFTER_S
from broker.wire import Position, pack_stamp
from producer.event import Event
from producer.questions import Done
from producer.subscription import Subscription
from tests.support.events import EPOCH, OTHER_EPOCH, head


def event(topic: str, seq: int, prev: int = 0, epoch: int = EPOCH) -> Event:
    return Event(*frames(topic, seq, prev, epoch))


def frames(topic: str, seq: int, prev: int = 0, epoch: int = EPOCH) -> tuple[bytes, bytes, bytes]:
    return topic.encode(), pack_stamp(0, 2 if prev else 1, epoch, seq, prev, 0), b"1"


class Scene:
    """A subscription between a broker and a reader, both of which write down what they are told."""

    def __init__(self, *patterns: str, since: Position | None = None, history: int = 0) -> None:
        self.got: list[str] = []
        self._asked: list[str] = []
        self._questions: list[tuple[control.AnyRequest, Done]] = []
        self.barrier_number = 0
        self.has_begun = False
        self.is_full = False
        self.has_room = True
        self.stale: list[bool] = []
        self.now_s = 100.0
        self.subscription = Subscription(
            [Pattern(text) for text in patterns],
            self,
            self,
            since=since,
            history=history,
            on_stale=self.stale.append,
        )
        self.subscription.begin(self.now_s)

    def asked(self) -> list[str]:
        """What went to the broker since this was last asked."""
        asked, self._asked = self._asked, []
        return asked

    def took(self) -> list[str]:
        """What the reader got since this was last asked."""
        got, self.got = self.got, []
        return got

    # subscription.Link

    def set_filter(self, prefix: str, is_on: bool) -> None:
        self._asked.append(f"{'+' if is_on else '-'}{prefix}")

    def barrier(self, number: int) -> None:
        self.barrier_number = number
        self._asked.append("barrier")

    def ask(self, request: control.AnyRequest, done: Done) -> None:
        self._questions.append((request, done))
        match request:
            case control.Last():
                self._asked.append(
                    f"last {request.count} of {' '.join(request.patterns)} upto {request.upto}"
                )
            case control.Replay():
                prefixes = " ".join(request.prefixes)
                self._asked.append(f"replay {prefixes} after {request.after} upto {request.upto}")
            case control.Tails():
                self._asked.append(f"tails {' '.join(request.prefixes)} after {request.after}")

    # subscription.Reader

    def begin(self) -> None:
        self.has_begun = True

    def put(self, item: Event | Gap) -> None:
        if isinstance(item, Event):
            self.got.append(f"{item.topic} {item.seq}")
        else:
            self.got.append(f"gap {item.pattern} {item.after.seq}..{item.before.seq} {item.cause}")

    def reach(self, position: Position) -> None:
        self.got.append(f"up to {position.seq}")

    def flush(self) -> None: ...

    def await_room(self) -> bool:
        return self.has_room

    def end(self, error: BaseException | None) -> None:
        self.got.append(f"end {error}")

    # What the broker does

    def connect(self) -> None:
        self.subscription.on_connected(self.now_s)

    def marker(self, seq: int, **fields: int) -> None:
        self.subscription.on_marker(self.barrier_number, head(seq, **fields), self.now_s)
        self.turn()

    def come(self, *events: tuple[bytes, bytes, bytes]) -> None:
        for each in events:
            self.subscription.on_event(*each)
        self.turn()

    def turn(self) -> None:
        self.subscription.turn(self.now_s)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.subscription.tick(self.now_s)
        self.turn()

    def answer(self, page: Any, events: Sequence[Event] = (), *, which: int = -1) -> None:
        self._questions[which][1](page, events)
        self.turn()

    def replayed(self, *events: Event, through: int, **fields: Any) -> None:
        self.answer(ReplayPage(at=head(through), through=through, **fields), events)


def standing(*patterns: str, at: int = 10) -> Scene:
    """These are in force, from seq `at` on, and nothing is awaited."""
    scene = Scene(*patterns)
    scene.connect()
    scene.marker(at)
    scene.asked()
    scene.took()
    return scene


def test_it_follows_prefixes_and_compares_whole_names() -> None:
    scene = Scene("a/*", "a/*/x", "b")
    assert scene.asked() == ["+a/", "+b"]
    scene.connect()
    assert not scene.has_begun
    scene.marker(10)
    assert scene.has_begun
    scene.come(frames("a/1", 11), frames("a/1/y", 12), frames("a/1/x", 13), frames("bb", 14), frames("b", 15))
    assert scene.took() == ["up to 10", "a/1 11", "a/1/x 13", "b 15"]


def test_an_event_that_several_patterns_match_comes_once() -> None:
    scene = standing("a/*", "**", "a/1")
    scene.come(frames("a/1", 11))
    assert scene.took() == ["a/1 11"]


def test_what_is_the_system_s_own_is_not_for_everybody() -> None:
    scene = standing("**")
    scene.come(frames("$broker/demand", 0), frames("a", 11))
    assert scene.took() == ["a 11"]


def test_gaps_of_topics_that_are_not_asked_for_are_not_told() -> None:
    scene = standing("a/*")
    scene.come(frames("a/1", 20, 19))
    scene.replayed(event("a/1", 20, 19), through=20, holes=[("a/x/y", 15, 1), ("a/1", 19, 4)])
    assert scene.took() == ["gap a/1 10..20 retention", "a/1 20", "up to 20"]


# The past to begin with


def test_history_comes_first_and_then_what_came_since_the_barrier() -> None:
    scene = Scene("a", "b/**", history=2)
    scene.connect()
    scene.asked()
    scene.marker(10)
    scene.come(frames("a", 11, 9))
    assert scene.has_begun
    assert scene.took() == []  # neither an event nor a position that history would come behind
    assert scene.asked() == ["last 2 of a b/** upto 10"]
    scene.answer(LastPage(at=head(11)), [event("a", 7, 5), event("a", 9, 7)])
    assert scene.took() == ["a 7", "a 9", "up to 10"]
    assert scene.asked() == ["barrier"]
    scene.marker(11)
    assert scene.asked() == ["replay a b/ after 10 upto 11"]
    scene.replayed(event("a", 11, 9), through=11)
    scene.come(frames("a", 12, 11))
    assert scene.took() == ["a 11", "up to 11", "up to 11", "a 12"]
    assert not scene.subscription.is_truncated


def test_history_that_does_not_come_is_asked_for_again_and_taken_once() -> None:
    scene = Scene("a", history=2)
    scene.connect()
    scene.marker(10)
    scene.asked()
    scene.pass_time(ASK_AGAIN_S)
    assert scene.asked() == []
    scene.pass_time(0.1)
    assert scene.asked() == ["last 2 of a upto 10"]
    page = LastPage(at=head(10), truncated=True, damaged=[(3, 4)])
    scene.answer(page, [event("a", 9, 7)], which=-2)
    scene.answer(page, [event("a", 9, 7)], which=-1)
    assert scene.took() == ["gap ** 2..5 damaged", "a 9", "up to 10"]
    assert scene.subscription.is_truncated


def test_history_is_that_of_the_log_there_is_now() -> None:
    scene = Scene("a", history=2)
    scene.connect()
    scene.marker(10)
    scene.connect()
    scene.marker(5, epoch=OTHER_EPOCH, start=3)
    scene.asked()
    scene.answer(LastPage(at=head(5, epoch=OTHER_EPOCH)), [event("a", 9, 7)], which=0)
    assert scene.took() == []
    scene.answer(LastPage(at=head(5, epoch=OTHER_EPOCH)), [event("a", 2, epoch=OTHER_EPOCH)])
    # What was published since the first marker was to come, and may be gone with its log.
    assert scene.took() == ["a 2", "gap ** 10..4 epoch", "up to 3"]
    scene.marker(5, epoch=OTHER_EPOCH, start=3)
    assert scene.asked() == ["barrier", "replay a after 3 upto 5"]


@pytest.mark.parametrize("history", [0, 5])
def test_a_position_goes_before_history(history: int) -> None:
    scene = Scene("a", since=Position(EPOCH, 7), history=history)
    scene.connect()
    scene.asked()
    scene.marker(10)
    assert scene.asked() == ["replay a after 7 upto 10"]
    scene.replayed(event("a", 9, 6), through=10)
    assert scene.took() == ["a 9", "up to 10", "up to 10"]


@pytest.mark.parametrize(
    ("since", "got"),
    [
        pytest.param(Position(EPOCH, 11), ["gap ** 11..11 future", "up to 10"], id="future"),
        pytest.param(Position(OTHER_EPOCH, 3), ["gap ** 3..1 epoch"], id="another log"),
    ],
)
def test_a_position_that_is_none_is_told_first(since: Position, got: list[str]) -> None:
    scene = Scene("a", since=since)
    scene.connect()
    scene.marker(10)
    assert scene.took() == got


def test_another_log_is_told_to_who_was_in_the_one_before() -> None:
    scene = standing("a")
    scene.connect()
    scene.marker(0, epoch=OTHER_EPOCH)
    assert scene.took() == ["gap ** 10..1 epoch", "up to 0"]


# A reader that is slow


def test_the_flow_goes_by_a_reader_who_has_enough_and_comes_from_the_log() -> None:
    scene = standing("a")
    scene.come(frames("a", 11, 9))
    scene.is_full, scene.has_room = True, False
    scene.turn()
    scene.come(frames("a", 12, 11), frames("a", 14, 13))
    scene.subscription.on_beat(head(14), scene.now_s)
    assert scene.took() == ["a 11"]
    assert scene.asked() == []  # neither of what came nor of what is lacking
    scene.is_full, scene.has_room = False, True
    scene.turn()
    assert scene.asked() == ["barrier"]
    scene.marker(14)
    assert scene.asked() == ["replay a after 11 upto 14"]
    scene.replayed(event("a", 12, 11), event("a", 14, 13), through=14)
    scene.come(frames("a", 15, 14))
    assert scene.took() == ["a 12", "a 14", "up to 14", "up to 14", "a 15"]


def test_no_page_of_the_log_is_asked_for_that_there_is_no_room_for() -> None:
    scene = Scene("a", since=Position(EPOCH, 0))
    scene.connect()
    scene.marker(5_000)
    scene.asked()
    scene.is_full, scene.has_room = True, False
    scene.replayed(event("a", 2_000, 1_999), through=2_000, holes=[("a", 1_999, 1)])
    scene.pass_time(ASK_AGAIN_S + 0.1)
    assert scene.asked() == []
    scene.is_full, scene.has_room = False, True
    scene.turn()
    scene.marker(5_000)
    assert scene.asked() == ["barrier", "replay a after 2000 upto 5000"]


# Silence


def test_a_broker_that_falls_silent_and_comes_back_is_told() -> None:
    scene = standing("a")
    assert (scene.stale, scene.subscription.is_stale) == ([], False)
    for _ in range(12):
        scene.pass_time(STALE_AFTER_S / 10)
    assert (scene.stale, scene.subscription.is_stale) == ([True], True)
    scene.subscription.on_beat(head(10), scene.now_s)
    assert (scene.stale, scene.subscription.is_stale) == ([True, False], False)


def test_a_broker_that_was_never_there_is_told_too() -> None:
    scene = Scene("a")
    assert scene.subscription.is_stale
    scene.pass_time(STALE_AFTER_S)
    assert scene.stale == []
    scene.pass_time(0.1)
    scene.pass_time(STALE_AFTER_S)
    assert scene.stale == [True]
    scene.connect()
    scene.marker(10)
    assert scene.stale == [True, False]


def test_the_end_of_the_thread_is_the_reader_s() -> None:
    scene = standing("a")
    scene.subscription.on_end(None)
    assert scene.took() == ["end None"]
