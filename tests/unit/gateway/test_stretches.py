"""Which page answers which question: tables of what is kept, what is under way, and who asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from broker.control import Newest, NewestPage, Replay, ReplayPage
from gateway import forms
from gateway.event import Event
from gateway.stretches import KEPT_S, NEAR_SEQS, Asker, Move, Stretch, Stretches, Subject
from tests.support.events import EPOCH, OTHER_EPOCH, event, head, records

SUBJECT = Subject(Replay, EPOCH, ("a",))
NOW_S = 100.0


def asker(after: int, upto: int = 1 << 40) -> Asker:
    return Asker(after, upto, lambda page, events: None)


def stretch(
    after: int,
    through: int,
    seqs: Sequence[int] | None = None,
    *,
    epoch: int = EPOCH,
    payload: bytes = b"1",
    **fields: Any,
) -> Stretch:
    """With an event at each seq, unless they are given; the log's head is at 1,000."""
    events = [
        event("a", seq, seq - 1, payload=payload)
        for seq in (range(after + 1, through + 1) if seqs is None else seqs)
    ]
    return Stretch(after, ReplayPage(at=head(1_000, epoch=epoch), through=through, **fields), records(events))


def seqs(events: Sequence[Event]) -> list[int]:
    return [each.seq for each in events]


class TestPart:
    @pytest.mark.parametrize(
        ("after", "upto", "expected", "through"),
        [
            pytest.param(10, 2_000, [11, 12, 15, 19], 20, id="all of it"),
            pytest.param(10, 20, [11, 12, 15, 19], 20, id="just all"),
            pytest.param(12, 2_000, [15, 19], 20, id="from a place in between"),
            pytest.param(13, 2_000, [15, 19], 20, id="from where no event is"),
            pytest.param(19, 2_000, [], 20, id="the empty end"),
            pytest.param(10, 15, [11, 12, 15], 15, id="what is beyond upto is cut off"),
            pytest.param(11, 14, [12], 14, id="both ends"),
        ],
    )
    def test_events(self, after: int, upto: int, expected: list[int], through: int) -> None:
        page, events = stretch(10, 20, [11, 12, 15, 19]).part(after, upto)
        assert (seqs(events), page.through) == (expected, through)

    @pytest.mark.parametrize(
        ("after", "upto", "damaged"),
        [
            pytest.param(10, 2_000, [(11, 12), (15, 18)], id="all"),
            pytest.param(12, 2_000, [(15, 18)], id="what is passed is not told"),
            pytest.param(11, 16, [(12, 12), (15, 16)], id="only so far"),
            pytest.param(12, 14, [], id="none there"),
        ],
    )
    def test_damaged(self, after: int, upto: int, damaged: list[tuple[int, int]]) -> None:
        page, _ = stretch(10, 20, damaged=[(11, 12), (15, 18)]).part(after, upto)
        assert page.damaged == damaged

    @pytest.mark.parametrize(
        ("after", "upto", "holes"),
        [
            pytest.param(10, 2_000, [("a", 12, 3), ("b", 900, 7)], id="all"),
            pytest.param(12, 2_000, [("b", 900, 7)], id="nothing of it is lacking beyond"),
            pytest.param(11, 500, [("a", 12, 3), ("b", 500, 0)], id="only so far"),
        ],
    )
    def test_holes(self, after: int, upto: int, holes: list[tuple[str, int, int]]) -> None:
        page, _ = stretch(10, 20, holes=[("a", 12, 3), ("b", 900, 7)]).part(after, upto)
        assert isinstance(page, ReplayPage)
        assert page.holes == holes

    def test_newest_values_beyond_upto_are_left_out(self) -> None:
        events = records([event("a", 12, 3), event("b", 18)])
        page, found = Stretch(10, NewestPage(at=head(20), through=20), events).part(11, 15)
        assert (page.through, seqs(found)) == (15, [12])

    def test_what_is_made_of_an_event_is_shared_by_all_who_read_it(self) -> None:
        whole = stretch(10, 20)
        (_, one), (_, two) = whole.part(10, 2_000), whole.part(13, 17)
        assert one[5] is two[2]
        assert forms.natives(one)[5] is forms.natives(two)[2]


class TestRoute:
    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            pytest.param(9, Move.ASK, id="from before it"),
            pytest.param(10, 30, id="from where it begins"),
            pytest.param(29, 30, id="from the last place in it"),
            pytest.param(30, Move.ASK, id="from its end"),
        ],
    )
    def test_a_kept_page_serves_whoever_stands_in_it(self, after: int, expected: Move | int) -> None:
        stretches = kept(stretch(10, 30))
        found = stretches.route(SUBJECT, asker(after), NOW_S)
        assert (found.page.through if isinstance(found, Stretch) else found) == expected

    @pytest.mark.parametrize(
        "subject",
        [
            pytest.param(SUBJECT._replace(patterns=("b",)), id="other patterns"),
            pytest.param(SUBJECT._replace(op=Newest), id="another question"),
            pytest.param(SUBJECT._replace(epoch=OTHER_EPOCH), id="another log"),
        ],
    )
    def test_a_page_of_another_subject_does_not(self, subject: Subject) -> None:
        assert kept(stretch(10, 30)).route(subject, asker(10), NOW_S) is Move.ASK

    def test_of_several_the_one_that_reaches_furthest_serves(self) -> None:
        found = kept(stretch(10, 30), stretch(20, 60), stretch(5, 40)).route(SUBJECT, asker(25), NOW_S)
        assert isinstance(found, Stretch) and found.after == 20

    @pytest.mark.parametrize(
        ("under_way", "after", "expected"),
        [
            pytest.param([10], 10, Move.WAIT, id="the same"),
            pytest.param([10], 9, Move.ASK, id="it begins later"),
            pytest.param([10], 10 + NEAR_SEQS - 1, Move.WAIT, id="it begins a little earlier"),
            pytest.param([10], 10 + NEAR_SEQS, Move.ASK, id="it begins too early to reach so far"),
            pytest.param([10, 10_000], 10_050, Move.WAIT, id="one of two"),
        ],
    )
    def test_a_page_under_way_is_waited_for(
        self, under_way: list[int], after: int, expected: Move
    ) -> None:
        stretches = Stretches()
        for place in under_way:
            assert stretches.route(SUBJECT, asker(place), NOW_S) is Move.ASK
        assert stretches.route(SUBJECT, asker(after, upto=1 << 30), NOW_S) is expected

    def test_who_wants_a_page_of_its_own_waits_for_no_other(self) -> None:
        stretches = Stretches()
        assert stretches.route(SUBJECT, asker(10), NOW_S) is Move.ASK
        assert stretches.route(SUBJECT, asker(11), NOW_S, 0) is Move.ASK
        assert stretches.route(SUBJECT, asker(11), NOW_S, 0) is Move.WAIT


class TestTake:
    @pytest.mark.parametrize(
        ("places", "answer", "served", "left"),
        [
            pytest.param([10, 10, 10], (10, 30), [10, 10, 10], [], id="all at one place"),
            pytest.param([10, 12, 29], (10, 30), [10, 12, 29], [], id="all within"),
            pytest.param([10, 31, 30, 12], (10, 30), [10, 12], [30, 31], id="some beyond it, by place"),
            pytest.param([10, 11], (10, 10), [10], [11], id="nothing was there: its asker knows, too"),
        ],
    )
    def test_an_answer_serves_those_it_holds_for(
        self, places: list[int], answer: tuple[int, int], served: list[int], left: list[int]
    ) -> None:
        stretches = Stretches()
        for place in places:
            stretches.route(SUBJECT, asker(place), NOW_S)
        told, again = stretches.take(SUBJECT, stretch(*answer), NOW_S)
        assert ([each.after for each in told], [each.after for each in again]) == (served, left)

    def test_an_answer_of_another_log_is_told_to_all_and_not_kept(self) -> None:
        stretches = Stretches()
        stretches.route(SUBJECT, asker(10), NOW_S)
        stretches.route(SUBJECT, asker(500), NOW_S)
        told, again = stretches.take(SUBJECT, stretch(10, 30, epoch=OTHER_EPOCH), NOW_S)
        assert ([each.after for each in told], again, len(stretches)) == ([10, 500], [], 0)

    def test_a_failure_is_of_those_who_waited_for_it(self) -> None:
        stretches = Stretches()
        for place in (10, 11, 9_000):
            stretches.route(SUBJECT, asker(place), NOW_S)
        assert [each.after for each in stretches.fail(SUBJECT, 10)] == [10, 11]
        assert stretches.route(SUBJECT, asker(10), NOW_S) is Move.ASK
        assert stretches.route(SUBJECT, asker(9_000), NOW_S) is Move.WAIT


class TestKeeping:
    def test_for_a_while(self) -> None:
        stretches = kept(stretch(10, 30))
        assert isinstance(stretches.route(SUBJECT, asker(10), NOW_S + KEPT_S - 0.1), Stretch)
        assert stretches.route(SUBJECT, asker(10), NOW_S + KEPT_S) is Move.ASK
        assert len(stretches) == 0

    def test_what_is_old_goes_without_being_asked_for(self) -> None:
        stretches = kept(stretch(10, 30))
        stretches.expire(NOW_S + KEPT_S)
        assert len(stretches) == 0

    def test_so_many_bytes_the_oldest_go(self) -> None:
        pages = [stretch(place, place + 10, payload=b"x" * 10_000) for place in range(0, 100, 10)]
        stretches = kept(*pages, max_bytes=3 * pages[0].weight)
        assert len(stretches) == 3
        found = [stretches.route(SUBJECT, asker(page.after), NOW_S, 0) for page in pages]
        assert [isinstance(each, Stretch) for each in found] == [False] * 7 + [True] * 3

    def test_one_that_is_larger_than_all_is_not_kept(self) -> None:
        assert len(kept(stretch(0, 10), max_bytes=100)) == 0

    def test_a_newer_one_takes_its_place(self) -> None:
        stretches = kept(stretch(10, 30), stretch(10, 40))
        assert len(stretches) == 1
        found = stretches.route(SUBJECT, asker(35), NOW_S)
        assert isinstance(found, Stretch) and found.page.through == 40


def kept(*answers: Stretch, max_bytes: int = 1 << 30) -> Stretches:
    stretches = Stretches(max_bytes)
    for answer in answers:
        if stretches.route(SUBJECT, asker(answer.after), NOW_S, 0) is not Move.ASK:
            # It was asked for before the one that is kept came.
            stretches._waiting.setdefault(SUBJECT, {})[answer.after] = []
        stretches.take(SUBJECT, answer, NOW_S)
    return stretches
