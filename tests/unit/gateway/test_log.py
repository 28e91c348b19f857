"""The broker's log as the hub asks it: how often the broker is asked, and who hears what, when."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from gevent.event import AsyncResult

from broker import control
from broker.answers import Answers
from broker.control import ReplayPage
from broker.errors import ControlError
from broker.topics import Pattern
from broker.wire import Position
from gateway.event import Event
from gateway.interest import Interest, Want
from gateway.later import Later
from gateway.log import AHEAD_S, RETRY_S, BrokerLog
from gateway.past import Past
from gateway.records import Records
from gateway.stretches import NEAR_SEQS
from tests.support.events import EPOCH, OTHER_EPOCH, event, head, records
from tests.support.logs import Bench, bench, put

PAGE = 10  # events in a page of the played broker


class Around:
    """All that is around a BrokerLog: its questions, and what it wants done later."""

    def __init__(self, later: Callable[[Callable[[], None]], None] | None = None) -> None:
        self.now_s = 100.0
        self.epoch = EPOCH
        self.wakes = 0
        self.asked: deque[tuple[Any, Callable[[Any, Records], None]]] = deque()
        self.count = 0
        self.later: deque[Callable[[], None]] = deque()
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        self.heard: list[tuple[str, Any, list[int]]] = []
        self.log = BrokerLog(
            self._read,
            self._wake,
            100,
            epoch=lambda: self.epoch,
            later=later or self.later.append,
            wait=lambda seconds, call: self.waiting.append((seconds, call)),
            clock=lambda: self.now_s,
        )

    def _read(self, request: Any, done: Any) -> None:
        self.count += 1
        self.asked.append((request, done))

    def _wake(self) -> None:
        self.wakes += 1

    def by(self, name: str) -> Callable[[Any, Records], None]:
        """Who asks."""
        return lambda page, events: self.heard.append((name, page, [each.seq for each in events]))

    def answer(self, head_seq: int, *, epoch: int = EPOCH) -> None:
        """The oldest question, by a log with an event at each seq."""
        request, done = self.asked.popleft()
        through = min(request.after + PAGE, head_seq)
        events = [event("a", seq, seq - 1) for seq in range(request.after + 1, through + 1)]
        done(ReplayPage(at=head(head_seq, epoch=epoch), through=through), records(events))

    def fail(self, code: str = "timeout") -> None:
        self.asked.popleft()[1](ControlError(code, "m"), Records())

    def turn(self) -> None:
        for _ in range(len(self.later)):
            self.later.popleft()()

    def rest(self) -> list[tuple[str, list[int]]]:
        """Who has heard of which events."""
        while self.later:
            self.turn()
        return [(name, seqs) for name, _, seqs in self.heard]


@pytest.fixture
def on() -> Around:
    return Around()


def test_one_read_answers_all_who_ask_for_the_same(on: Around) -> None:
    on.log.replay(["a"], 3, 9, on.by("one"))
    on.log.replay(["a"], 3, 9, on.by("two"))
    assert on.count == 1
    on.answer(9)
    assert on.rest() == [("one", [4, 5, 6, 7, 8, 9]), ("two", [4, 5, 6, 7, 8, 9])]


@pytest.mark.parametrize("upto", [5, 9, 30])
def test_each_is_answered_up_to_where_it_asked(on: Around, upto: int) -> None:
    on.log.replay(["a"], 3, 20, on.by("one"))
    on.log.replay(["a"], 3, upto, on.by("two"))
    assert on.count == 1
    on.answer(9)
    assert on.rest()[1] == ("two", list(range(4, min(upto, 9) + 1)))
    assert on.heard[1][1].through == min(upto, 9)


def test_a_page_serves_who_asks_later_without_a_read_and_not_before_the_call_returns(on: Around) -> None:
    on.log.replay(["a"], 3, 99, on.by("one"))
    on.answer(99)
    on.rest()
    on.log.replay(["a"], 5, 99, on.by("two"))
    assert len(on.heard) == 1
    assert on.rest()[1] == ("two", [6, 7, 8, 9, 10, 11, 12, 13])
    assert (on.count, on.wakes) == (1, 2)


def test_the_next_page_is_read_ahead_and_serves_who_comes_there(on: Around) -> None:
    on.log.replay(["a"], 0, 99, on.by("one"))
    on.answer(99)
    on.log.ahead(["a"], PAGE)
    on.log.ahead(["a"], PAGE)  # as another reader of the same does
    assert on.count == 2
    on.log.replay(["a"], PAGE, 99, on.by("two"))
    on.answer(99)
    on.log.ahead(["a"], PAGE)
    on.log.replay(["a"], PAGE, 99, on.by("three"))
    assert on.count == 2
    assert on.rest()[1:] == [("two", list(range(11, 21))), ("three", list(range(11, 21)))]


@pytest.mark.parametrize(
    ("patterns", "place", "wait_s"),
    [
        pytest.param(["a"], PAGE, AHEAD_S, id="who took long for the page before"),
        pytest.param(["a"], PAGE - 1, 0, id="in the middle of a page"),
        pytest.param(["a"], 2 * PAGE, 0, id="where none ends"),
        pytest.param(["b"], PAGE, 0, id="other patterns"),
    ],
)
def test_nothing_else_is_read_ahead(on: Around, patterns: list[str], place: int, wait_s: float) -> None:
    on.log.replay(["a"], 0, 99, on.by("one"))
    on.answer(99)
    on.now_s += wait_s
    on.log.ahead(patterns, place)
    assert on.count == 1


def test_what_fails_ahead_is_asked_again_by_who_comes_there(on: Around) -> None:
    on.log.replay(["a"], 0, 99, on.by("one"))
    on.answer(99)
    on.log.ahead(["a"], PAGE)
    on.fail()
    for _, call in on.waiting:
        call()
    on.log.replay(["a"], PAGE, 99, on.by("two"))
    on.answer(99)
    assert on.rest()[1] == ("two", list(range(11, 21)))


def test_other_questions_are_reads_of_their_own(on: Around) -> None:
    on.log.replay(["a"], 3, 9, on.by("one"))
    on.log.replay(["b"], 3, 9, on.by("two"))
    on.log.last(["a"], 3, 9, on.by("three"))
    on.log.newest(["a"], 3, 9, on.by("four"))
    on.epoch = OTHER_EPOCH
    on.log.replay(["a"], 3, 9, on.by("five"))
    assert on.count == 5


def test_the_last_events_are_shared_while_they_are_under_way(on: Around) -> None:
    for name in ("one", "two"):
        on.log.last(["a"], 3, 9, on.by(name))
    assert on.count == 1
    on.asked.popleft()[1](control.LastPage(at=head(9)), records([event("a", 9, 8)]))
    assert on.rest() == [("one", [9]), ("two", [9])]
    on.log.last(["a"], 3, 9, on.by("three"))
    assert on.count == 2


def test_where_the_log_stands_is_always_asked(on: Around) -> None:
    """A kept page knows where it stood."""
    on.log.replay(["a"], 3, 99, on.by("one"))
    on.answer(50)
    on.log.replay(["a"], 5, 5, on.by("two"))
    assert on.count == 2
    on.answer(99)
    on.rest()
    assert [page.at.head for _, page, _ in on.heard] == [50, 99]


def test_who_comes_back_near_by_waits_for_one_read(on: Around) -> None:
    for after in (3, 7, 12):
        on.log.replay(["a"], after, 99, on.by(f"{after}"))
    assert on.count == 1
    on.answer(99)
    assert on.rest() == [
        ("3", [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]), ("7", [8, 9, 10, 11, 12, 13]), ("12", [13]),
    ]  # fmt: skip


def test_whom_the_page_did_not_reach_share_the_next_one(on: Around) -> None:
    for after in (3, 17, 20, 15):
        on.log.replay(["a"], after, 99, on.by(f"{after}"))
    on.answer(99)
    assert [request.after for request, _ in on.asked] == [15]
    on.answer(99)
    assert [(name, seqs[0]) for name, seqs in on.rest()] == [("3", 4), ("15", 16), ("17", 18), ("20", 21)]
    assert on.count == 2


def test_each_round_somebody_is_served_however_short_the_pages(on: Around) -> None:
    places = random.Random(5).sample(range(NEAR_SEQS), 50)
    for after in places:
        on.log.replay(["a"], after, 9_999, on.by(f"{after}"))
    while on.asked:
        on.answer(9_999)
    assert sorted(int(name) for name, _ in on.rest()) == sorted(places)
    assert all(seqs[0] == int(name) + 1 for name, seqs in on.rest())


def test_an_error_is_told_only_when_there_is_some_hope(on: Around) -> None:
    on.log.replay(["a"], 3, 9, on.by("one"))
    on.fail()
    on.log.replay(["a"], 3, 9, on.by("two"))
    assert (on.rest(), on.count) == ([], 1)
    ((seconds, tell),) = on.waiting
    tell()
    on.rest()
    assert seconds == RETRY_S
    assert [(name, page.code) for name, page, _ in on.heard] == [("one", "timeout"), ("two", "timeout")]
    on.log.replay(["a"], 3, 9, on.by("one"))
    assert on.count == 2


def test_a_log_that_began_anew_is_told_to_all_who_waited(on: Around) -> None:
    on.log.replay(["a"], 3, 9, on.by("one"))
    on.log.replay(["a"], 5, 9, on.by("two"))
    on.answer(9, epoch=OTHER_EPOCH)
    on.rest()
    assert [page.at.epoch_number for _, page, _ in on.heard] == [OTHER_EPOCH] * 2
    on.epoch = OTHER_EPOCH
    on.log.replay(["a"], 3, 9, on.by("one"))
    assert on.count == 2


def test_each_of_many_is_told_in_a_turn_of_its_own(on: Around) -> None:
    for number in range(40):
        on.log.replay(["a"], 3, 9, on.by(f"{number}"))
    on.answer(9)
    for told in range(40):
        assert (len(on.heard), on.wakes) == (told, 0)
        on.later.popleft()()
    assert len(on.heard) == 40
    on.rest()
    assert on.wakes == 1


def test_a_reader_that_fails_keeps_nobody_from_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    on, heard = Around(Later()), AsyncResult()

    def fail(page: Any, events: Sequence[Event]) -> None:
        raise ValueError("a fault of ours")

    on.log.replay(["a"], 3, 9, fail)
    on.log.replay(["a"], 3, 9, lambda page, events: heard.set(len(events)))
    on.answer(9)
    assert heard.get(timeout=10) == 6
    assert "a fault of ours" in caplog.text


class TestStalled:
    """Readers that stalled together, each asking when its socket has room, over a real log."""

    @pytest.fixture
    def broker(self, tmp_path: Path) -> Iterator[Bench]:
        with bench(tmp_path, durability="memory") as made:
            for _ in range(74):
                put(made.log, *(["a", "b", "c/d"] * 40), payload=b"x" * 200)
            yield made

    def read_all(self, broker: Bench, starts: Sequence[int], seed: int) -> tuple[int, list[list[int]]]:
        """How many reads it took, and what each reader got, reading at the pace of chance."""
        on, chance = Around(), random.Random(seed)
        on.epoch = broker.log.epoch
        hub: Any = SimpleNamespace(
            epoch=broker.log.epoch, log=on.log, covers=lambda interest: None, after_flush=lambda wake: None
        )
        answers = Answers(broker.log, broker.log.head, list, lambda: pytest.fail("nobody asks for it"))
        interest = Interest(frozenset({Want(Pattern("*")), Want(Pattern("c/**"))}))
        readers = [Past(hub, interest, Position(hub.epoch, start)) for start in starts]
        found: list[list[int]] = [[] for _ in readers]
        end = broker.log.head().head
        published = 0
        while any(reader.position.seq < end for reader in readers):
            number = chance.randrange(len(readers))
            reader = readers[number]
            # The flow goes on meanwhile: each asks up to another place.
            upto = min(end, max(reader.position.seq, chance.randrange(end - 500, end + 50)))
            if reader.position.seq < upto:
                items = reader.read(upto, lambda: None) or []
                found[number] += [item.seq for item in items if isinstance(item, Event)]
            if chance.random() < 0.3 and on.asked:
                request, done = on.asked.popleft()
                if published < 20:
                    published += 1
                    put(broker.log, "a")
                frame, data = answers.answer(request)
                page = msgspec.json.decode(control.decode_answer(frame).ok, type=ReplayPage)
                done(page, Records(data))
            if chance.random() < 0.3:
                on.turn()
        return on.count, found

    @pytest.mark.parametrize("seed", range(3))
    def test_a_hundred_at_one_place_cost_the_reads_of_one(self, broker: Bench, seed: int) -> None:
        end = broker.log.head().head
        alone, (all_events,) = self.read_all(broker, [0], seed)
        reads, found = self.read_all(broker, [0] * 100, seed)
        assert all(events[:end] == all_events[:end] == list(range(1, end + 1)) for events in found)
        assert reads == alone == 9

    @pytest.mark.parametrize("seed", range(3))
    def test_a_hundred_that_come_back_near_each_other_cost_few(self, broker: Bench, seed: int) -> None:
        end = broker.log.head().head
        starts = [random.Random(seed + n).randrange(500) for n in range(100)]
        alone, _ = self.read_all(broker, [0], seed)
        reads, found = self.read_all(broker, starts, seed)
        for start, events in zip(starts, found, strict=True):
            assert events[: end - start] == list(range(start + 1, end + 1))
            assert all(before < after for before, after in pairwise(events))
        assert reads <= alone + 10
