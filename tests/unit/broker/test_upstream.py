"""The one ordered stream, rule by rule: what arrives, what is asked of the broker, what goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from broker.control import ReplayPage, TailsPage
from broker.gap import Gap
from broker.upstream import (
    ASK_AGAIN_S,
    HELD_MAX_BYTES,
    MISSED_AFTER_S,
    PREFIXES_MAX,
    STALE_AFTER_S,
    Upstream,
)
from broker.wire import Position
from gateway.event import Event
from tests.support.events import EPOCH, OTHER_EPOCH, event, head

TICK_S = 0.25


class Scene:
    """An upstream between a broker and a hub, both of which write down what they are told."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._asked: list[str] = []
        self.now_s = 0.0
        self.barrier_number = self.replay_number = self.tails_number = 0  # of the newest of each
        self.upstream = Upstream(self, self)

    def told(self) -> list[str]:
        """What went on to the hub since this was last asked."""
        told, self._told = self._told, []
        return told

    def asked(self) -> list[str]:
        """What went to the broker since this was last asked."""
        asked, self._asked = self._asked, []
        return asked

    # upstream.Downstream

    def offer(self, event: Event) -> None:
        self._told.append(f"{event.topic} {event.seq}")

    def offer_gap(self, gap: Gap) -> None:
        lost = "" if gap.lost is None else f" lost={gap.lost}"
        self._told.append(f"gap {gap.pattern} {_short(gap.after)}..{_short(gap.before)} {gap.cause}{lost}")

    def advance(self, seq: int) -> None:
        self._told.append(f"up to {seq}")

    def change_epoch(self, epoch: int, start: int, seq: int) -> None:
        self._told.append(f"epoch {epoch:x} from {start}, at {seq}")

    def in_force(self, prefixes: Sequence[str]) -> None:
        self._told.append(f"in force: {' '.join(prefixes)}")

    def set_stale(self, is_stale: bool) -> None:
        self._told.append("stale" if is_stale else "fresh")

    # upstream.Link

    def set_filter(self, prefix: str, is_on: bool) -> None:
        self._asked.append(f"{'+' if is_on else '-'}{prefix}")

    def barrier(self, number: int) -> None:
        self.barrier_number = number
        self._asked.append("barrier")

    def ask_replay(self, number: int, prefixes: Sequence[str], after: int, upto: int) -> None:
        self.replay_number = number
        self._asked.append(f"replay {' '.join(prefixes)} after {after} upto {upto}")

    def ask_tails(self, number: int, prefixes: Sequence[str], after: int) -> None:
        self.tails_number = number
        self._asked.append(f"tails {' '.join(prefixes)} after {after}")

    # What the broker does

    def come(self, *events: Event) -> None:
        for arrived in events:
            self.upstream.on_event(arrived)

    def marker(self, seq: int, *, number: int | None = None, **fields: int) -> None:
        """The answer to the newest barrier, or to an older one."""
        self.upstream.on_marker(number or self.barrier_number, head(seq, **fields), self.now_s)

    def beat(self, seq: int, *, later_s: float = 0.5, **fields: int) -> None:
        self.now_s += later_s
        self.upstream.on_beat(head(seq, **fields), self.now_s)

    def pass_time(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.stand_still(min(TICK_S, until_s - self.now_s))

    def stand_still(self, seconds: float) -> None:
        """Without a tick before the end."""
        self.now_s += seconds
        self.upstream.tick(self.now_s)

    def replayed(
        self,
        *events: Event,
        through: int,
        epoch: int = EPOCH,
        forgotten: int = 0,
        number: int | None = None,
        **fields: Any,
    ) -> None:
        page = ReplayPage(at=head(through, epoch=epoch, forgotten=forgotten), through=through, **fields)
        self.upstream.on_replay(number or self.replay_number, page, events)

    def tails(
        self, *tails: tuple[str, int, int], through: int, epoch: int = EPOCH, number: int | None = None
    ) -> None:
        """Each with topic, seq and nth of the newest event."""
        page = TailsPage(at=head(through, epoch=epoch), tails=list(tails), through=through)
        self.upstream.on_tails(number or self.tails_number, page)


def _short(position: Position) -> str:
    return str(position.seq) if position.epoch == EPOCH else f"{position.epoch:x}.{position.seq}"


def standing(*prefixes: str, at: int = 10) -> Scene:
    """These prefixes are in force, from seq `at` on, and nothing is awaited."""
    scene = Scene()
    for prefix in prefixes:
        scene.upstream.follow(prefix)
    scene.upstream.on_connected(scene.now_s)
    scene.marker(at)
    scene.told()
    scene.asked()
    return scene


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


# What the log no longer has


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


def test_what_stands_in_a_hole_is_not_counted_with_the_next() -> None:
    scene = standing("b")
    scene.come(event("b", 20, 16, nth=7))
    scene.replayed(event("b", 13, 11, nth=4), through=15, holes=[("b", 14, 3)])
    scene.replayed(event("b", 20, 16, nth=7), through=20, holes=[("b", 16, 6)])
    told = ["gap b 10..15 retention", "b 13", "up to 15", "gap b 14..17 retention lost=2", "b 20", "up to 20"]
    assert scene.told() == told


def test_what_stands_in_a_hole_does_not_tell_how_many_are_gone_behind_it() -> None:
    scene = standing("b")
    scene.come(event("b", 30, 29, nth=9))
    scene.replayed(event("b", 13, 11, nth=4), through=15, holes=[("b", 15, 0)])
    scene.replayed(event("b", 30, 29, nth=9), through=30, holes=[("b", 29, 8)])
    told = ["gap b 10..16 retention", "b 13", "up to 15", "gap b 15..30 retention", "b 30", "up to 30"]
    assert scene.told() == told


def test_a_hole_that_was_told_is_not_asked_for_again() -> None:
    scene = standing("a")
    scene.come(event("a", 14, 13))
    scene.replayed(through=14, holes=[("a", 14, 9)])
    scene.come(event("a", 15, 14))
    assert scene.told() == ["gap a 10..15 retention", "up to 14", "a 15"]
    assert scene.asked() == ["replay a after 10 upto 14"]


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
