"""What is gone, counted once for each stretch, and told once for each client."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from broker.gap import CAUSES, Gap
from gateway.losses import SHOWN, Cell, Losses, Where
from tests.support.events import EPOCH, OTHER_EPOCH, position

Told = tuple[Where, str, int, int, int | None]  # where, topic, after, before, lost


def gap(pattern: str, after: int, before: int, lost: int | None = None, cause: str = "retention") -> Gap:
    return Gap(pattern, position(after), position(before), cause, lost)


def noted(*told: Told) -> Losses:
    losses = Losses()
    for now_s, (where, topic, after, before, lost) in enumerate(told):
        losses.note(gap(topic, after, before, lost), now_s, where=where)
    return losses


def some(counts: Counter[Any]) -> dict[Any, int]:
    return {cell: count for cell, count in counts.items() if count}


@pytest.mark.parametrize(
    ("told", "gaps", "events"),
    [
        pytest.param([(1, 9, 5)], 1, 5, id="one"),
        pytest.param([(1, 9, 5), (1, 9, 5), (1, 9, 5)], 1, 5, id="the same for three clients"),
        pytest.param([(1, 9, 5), (9, 12, 2)], 2, 7, id="two that do not touch"),
        pytest.param([(1, 9, 5), (8, 12, 2)], 2, 7, id="two without a place in common"),
        pytest.param([(1, 9, 5), (1, 12, 7)], 1, 7, id="it grew"),
        pytest.param([(4, 9, 3), (1, 9, 5)], 1, 5, id="somebody lacks more of it"),
        pytest.param([(1, 9, 5), (4, 9, 3)], 1, 5, id="and less"),
        pytest.param([(1, 9, 5), (4, 12, 6)], 1, 5, id="how many are in both is not known"),
        pytest.param([(1, 9, None), (1, 12, None)], 1, 0, id="how many is never known"),
        pytest.param([(1, 9, None), (4, 9, 3)], 1, 3, id="of a part it is"),
        pytest.param([(1, 9, None), (4, 9, 3), (4, 9, 3)], 1, 3, id="and not twice"),
        pytest.param([(4, 9, 3), (1, 9, None), (1, 12, 7)], 1, 7, id="of all in the end"),
    ],
)
def test_a_stretch_is_counted_once(told: list[tuple[int, int, int | None]], gaps: int, events: int) -> None:
    losses = noted(*(("past", "a", *each) for each in told))
    cell: Cell = ("retention", "past")
    assert (losses.gaps[cell], losses.events[cell], losses.told[cell]) == (gaps, events, len(told))


def test_topics_causes_and_logs_are_told_apart() -> None:
    losses = Losses()
    for each in (
        gap("a", 1, 9, 5),
        gap("b", 1, 9, 3),
        gap("a", 1, 9, 2, "late"),
        Gap("a", position(1, OTHER_EPOCH), position(9, OTHER_EPOCH), "late", 1),
    ):
        losses.note(each, 0.0, where="stream", clients=10)
    assert some(losses.gaps) == {("retention", "stream"): 2, ("late", "stream"): 2}
    assert some(losses.events) == {("retention", "stream"): 8, ("late", "stream"): 3}
    assert some(losses.told) == {("retention", "stream"): 20, ("late", "stream"): 20}


def test_what_the_stream_lost_is_not_lost_again_by_those_who_read_the_log() -> None:
    losses = noted(("stream", "a", 1, 9, 5), ("past", "a", 4, 9, None), ("past", "a", 0, 9, 6))
    assert some(losses.gaps) == {("retention", "stream"): 1, ("retention", "past"): 1}
    assert some(losses.told) == {("retention", "stream"): 1, ("retention", "past"): 2}


def test_what_somebody_lacked_before_is_lost_to_the_stream_all_the_same() -> None:
    losses = noted(("past", "a", 1, 9, 5), ("stream", "a", 1, 9, 5))
    assert some(losses.gaps) == {("retention", "stream"): 1, ("retention", "past"): 1}


def test_two_damaged_places_are_two_losses_for_any_number_of_readers() -> None:
    losses = Losses()
    for _ in range(10):
        losses.note(gap("**", 1, 9, None, "damaged"), 0.0)
        losses.note(gap("**", 20, 30, None, "damaged"), 0.0)
    assert some(losses.gaps) == {("damaged", "past"): 2}


@pytest.mark.parametrize("cause", ["epoch", "future"])
def test_another_log_is_one_loss_whatever_clients_say(cause: str) -> None:
    losses = Losses()
    for number in range(50):
        losses.note(Gap(f"t/{number}", position(number, number), position(7), cause), 0.0)
    assert some(losses.gaps) == {(cause, "past"): 1}
    assert some(losses.told) == {(cause, "past"): 50}
    assert len(losses.newest()) == 1


def test_the_newest_are_told_with_place_and_count() -> None:
    losses = noted(("past", "a", 1, 9, 5), ("stream", "b", 3, 4, None), ("past", "a", 1, 12, 7))
    epoch = f"{EPOCH:016x}"
    assert losses.newest() == [
        {"pattern": "a", "after": f"{epoch}.1", "before": f"{epoch}.12", "lost": 7, "cause": "retention",
         "where": "past", "told": 2, "time": 2},
        {"pattern": "b", "after": f"{epoch}.3", "before": f"{epoch}.4", "cause": "retention",
         "where": "stream", "told": 1, "time": 1},
    ]  # fmt: skip


def test_a_count_of_a_part_is_not_told_of_the_whole() -> None:
    losses = noted(("past", "a", 4, 9, 3), ("past", "a", 1, 9, None))
    assert "lost" not in losses.newest()[0]


def test_only_so_many_are_kept_and_shown() -> None:
    losses = Losses(stretches_max=100)
    for number in range(1_000):
        losses.note(gap(f"t/{number}", 1, 9, 1), number)
    assert losses.events.total() == 1_000
    assert [each["pattern"] for each in losses.newest()] == [f"t/{999 - place}" for place in range(SHOWN)]
    losses.note(gap("t/950", 1, 9, 1), 0)  # known
    losses.note(gap("t/0", 1, 9, 1), 0)  # not any more
    assert losses.events.total() == 1_001


def test_every_cause_has_its_zero() -> None:
    losses = Losses()
    for counts in (losses.gaps, losses.events, losses.told):
        assert counts == {(cause, where): 0 for cause in CAUSES for where in ("stream", "past")}
