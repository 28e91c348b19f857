"""Confirmed publishing: requests in, events and answers out, over a real log that is killed and filled up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker import control
from broker.control import Hello, Publish, Submit
from broker.publishers import KEY_S, KEYS_MAX
from broker.publishing import EVENTS_MAX, Publishing
from broker.wire import pack_event, unpack_stamp
from tests.support.logs import ALL, NOW_US, Bench, bench, full_disk, read

EPOCH = "0000000000000001"


@dataclass
class Desk:
    """A log and what is asked of it; every answer in short."""

    bench: Bench
    publishing: Publishing = field(init=False)
    now_us: int = 0  # incarnations are counted, as long as the clock says less
    forwarded: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.publishing = Publishing(self.bench.log, self.bench.log.head, 100, lambda: self.now_us)

    def ask(self, *asked: control.Publishing, data: bytes = b"") -> list[str]:
        """All in one turn."""
        for request in asked:
            self.publishing.take(b"somebody", request, data)
        return self.commit()

    def commit(self) -> list[str]:
        events, answers = self.publishing.commit(NOW_US)
        self.forwarded += ((topic.decode(), unpack_stamp(stamp).seq) for topic, stamp, _ in events)
        return [_short(msgspec.json.decode(answer)) for _, answer in answers]

    def killed(self) -> None:
        self.bench.killed()
        self.open()


def _short(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return str(answer["error"]["code"])
    ok = answer["ok"]
    if "incarnation" in ok:
        return f"incarnation {ok['incarnation']} last {ok['last']}"
    if "position" in ok:
        return f"at {ok['position'].removeprefix(EPOCH + '.')}{' again' * ok['repeated']}"
    return " ".join([f"last {ok['last']}", *(f"{first}@{seq}x{count}" for first, seq, count in ok["runs"])])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with bench(tmp_path) as made:
        yield Desk(made)


def hello(producer: str = "p", instance: str | None = None, *, passing: bool = False) -> Hello:
    return Hello(id=1, producer=producer, instance=instance, passing=passing)


def publish(first: int, incarnation: int = 1, known: int = 0, producer: str = "p") -> Publish:
    return Publish(id=1, producer=producer, incarnation=incarnation, first=first, known=known)


def events(count: int, topic: str = "a", payload: bytes = b"x") -> bytes:
    return pack_event(topic.encode(), payload, 1) * count


def test_events_are_logged_then_forwarded_then_confirmed(desk: Desk) -> None:
    assert desk.ask(hello()) == ["incarnation 1 last 0"]
    desk.publishing.take(b"p", publish(1), events(3))
    assert read(desk.bench.log) == desk.forwarded == []
    assert desk.commit() == ["last 3 1@1x3"]
    assert read(desk.bench.log) == desk.forwarded == [("a", 1), ("a", 2), ("a", 3)]


def test_what_was_logged_before_is_confirmed_and_not_logged_again(desk: Desk) -> None:
    desk.ask(hello())
    desk.ask(publish(1), data=events(3))
    assert desk.ask(publish(1), data=events(3)) == ["last 3 1@1x3"]
    assert desk.ask(publish(2), data=events(4)) == ["last 5 1@1x5"]
    assert len(read(desk.bench.log)) == 5


def test_several_requests_of_a_turn_are_one_commit_and_answered_together(desk: Desk) -> None:
    desk.ask(hello())
    desk.publishing.take(b"p", publish(1), events(2))
    desk.publishing.take(b"p", publish(3), events(2))
    desk.publishing.take(b"p", publish(3), events(2))
    assert desk.commit() == ["last 4 1@1x4"] * 3
    assert len(desk.forwarded) == 4


def test_runs_tell_where_events_are_that_are_not_known_yet(desk: Desk) -> None:
    desk.ask(hello(), hello("q"))
    desk.ask(publish(1), data=events(2))
    desk.ask(publish(1, producer="q"), data=events(3))
    assert desk.ask(publish(3), data=events(2)) == ["last 4 1@1x2 3@6x2"]
    assert desk.ask(publish(5, known=3), data=events(1)) == ["last 5 4@7x2"]
    assert desk.ask(publish(6, known=99), data=events(1)) == ["last 6"]


@pytest.mark.parametrize(
    ("request_", "data", "code"),
    [
        pytest.param(publish(5), events(1), "out_of_order", id="a number left out"),
        pytest.param(publish(4, incarnation=0), events(1), "fenced", id="of an incarnation before"),
        pytest.param(publish(4, incarnation=2), events(1), "unknown_producer", id="of one to come"),
        pytest.param(publish(1, producer="q"), events(1), "unknown_producer", id="never heard of"),
        pytest.param(publish(4), b"", "bad_request", id="no events"),
        pytest.param(publish(4), events(1)[:-1], "bad_request", id="cut short"),
        pytest.param(publish(4), pack_event(b"a", b"x", 4), "bad_request", id="content type"),
        pytest.param(publish(4), events(EVENTS_MAX + 1), "bad_request", id="too many"),
        pytest.param(publish(4), events(1) + events(1, "a b"), "bad_topic", id="topic"),
        pytest.param(publish(4), events(1) + events(1, "$a"), "system_topic", id="system topic"),
        pytest.param(publish(4), events(1, payload=bytes(101)), "payload_too_large", id="payload"),
        pytest.param(Submit(id=1), events(1, "a b"), "bad_topic", id="topic of a client"),
        pytest.param(Submit(id=1, key="k"), b"", "bad_request", id="no events of a client"),
    ],
)
def test_refused_whole(desk: Desk, request_: control.Publishing, data: bytes, code: str) -> None:
    desk.ask(hello())
    desk.ask(publish(1), data=events(3))
    assert desk.ask(request_, data=data) == [code]
    assert len(read(desk.bench.log)) == 3
    assert desk.publishing.refused == {code: 1}
    assert desk.ask(publish(4), data=events(1)) == ["last 4 1@1x4"]


def test_a_new_incarnation_goes_on_and_fences_the_one_before(desk: Desk) -> None:
    desk.ask(hello())
    desk.ask(publish(1), data=events(3))
    assert desk.ask(hello()) == ["incarnation 2 last 3"]
    assert desk.ask(publish(4), data=events(1)) == ["fenced"]
    assert desk.ask(publish(4, incarnation=2), data=events(1)) == ["last 4 4@4x1"]


def test_of_two_hellos_in_one_turn_one_wins(desk: Desk) -> None:
    assert desk.ask(hello(), hello()) == ["incarnation 1 last 0", "incarnation 2 last 0"]
    assert desk.ask(publish(1, incarnation=1), data=events(1)) == ["fenced"]
    assert desk.ask(publish(1, incarnation=2), data=events(1)) == ["last 1 1@1x1"]


def test_a_hello_said_again_begins_nothing_however_late_it_comes(desk: Desk) -> None:
    assert desk.ask(hello(instance="i"), hello(instance="i")) == ["incarnation 1 last 0"] * 2
    desk.ask(publish(1), data=events(2))
    assert desk.ask(hello(instance="i")) == ["incarnation 1 last 2"]
    assert desk.ask(publish(3), data=events(1)) == ["last 3 1@1x3"]
    assert desk.ask(hello(instance="j")) == ["incarnation 2 last 3"]
    assert desk.ask(hello(instance="i")) == ["incarnation 3 last 3"]
    assert desk.ask(hello(), hello()) == ["incarnation 4 last 3", "incarnation 5 last 3"]


def test_no_incarnation_is_given_twice_though_the_log_began_anew(tmp_path: Path) -> None:
    with bench(tmp_path, durability="memory") as made:
        desk = Desk(made, now_us=1_000)
        assert desk.ask(hello(), hello()) == ["incarnation 1000 last 0", "incarnation 1001 last 0"]
        desk.killed()
        desk.now_us = 2_000
        assert desk.ask(hello()) == ["incarnation 2000 last 0"]
        desk.ask(publish(1, incarnation=2_000), data=events(6))
        # Of the one before: its events are not the ones that have these numbers now.
        assert desk.ask(publish(6, incarnation=1_001), data=events(1)) == ["fenced"]


def test_numbers_incarnations_and_places_outlive_a_kill(desk: Desk) -> None:
    desk.ask(hello())
    desk.ask(publish(1), data=events(3))
    desk.killed()
    assert desk.ask(publish(1), data=events(3)) == ["last 3 1@1x3"]
    assert desk.ask(publish(4, known=2), data=events(1)) == ["last 4 3@3x1 4@101x1"]
    assert desk.ask(hello()) == ["incarnation 2 last 4"]
    desk.killed()
    assert desk.ask(publish(5), data=events(1)) == ["fenced"]


def test_a_log_that_begins_anew_knows_nobody(tmp_path: Path) -> None:
    with bench(tmp_path, durability="memory") as made:
        desk = Desk(made)
        desk.ask(hello())
        desk.ask(publish(1), data=events(3))
        desk.killed()
        assert desk.ask(publish(4), data=events(1)) == ["unknown_producer"]
        assert desk.ask(hello()) == ["incarnation 1 last 0"]


SUBMITS = [
    pytest.param(Submit(id=1, key="k"), events(2), "at 2 again", id="the same"),
    pytest.param(Submit(id=1, key="k"), events(3), "conflict", id="other events"),
    pytest.param(Submit(id=1, key="k", subject="ann"), events(2), "at {next}", id="another's key"),
    pytest.param(Submit(id=1, key="K"), events(2), "at {next}", id="another key"),
    pytest.param(Submit(id=1), events(2), "at {next}", id="no key"),
]


@pytest.mark.parametrize("is_killed", [False, True], ids=["running", "killed"])
@pytest.mark.parametrize(("request_", "data", "answer"), SUBMITS)
def test_under_a_key_events_are_logged_once(
    desk: Desk, request_: Submit, data: bytes, answer: str, is_killed: bool
) -> None:
    assert desk.ask(Submit(id=1, key="k"), data=events(2)) == ["at 2"]
    if is_killed:
        desk.killed()
    expected = answer.format(next=desk.bench.log.head().head + 2)
    assert desk.ask(request_, data=data) == [expected]


def test_the_same_key_twice_in_a_turn(desk: Desk) -> None:
    desk.publishing.take(b"x", Submit(id=1, key="k"), events(2))
    desk.publishing.take(b"y", Submit(id=1, key="k"), events(2))
    desk.publishing.take(b"z", Submit(id=1, key="k"), events(1))
    assert desk.commit() == ["conflict", "at 2", "at 2 again"]
    assert len(read(desk.bench.log)) == 2


def test_a_key_of_an_older_epoch_is_known(desk: Desk) -> None:
    desk.ask(Submit(id=1, key="k"), data=events(1))
    desk.bench.after_power_failure()
    desk.open()
    assert desk.ask(Submit(id=1, key="k"), data=events(1)) == ["at 1 again"]


def test_a_key_is_known_for_a_day(desk: Desk) -> None:
    desk.ask(Submit(id=1, key="k"), data=events(1))
    desk.bench.wait(KEY_S - 1)
    assert desk.ask(Submit(id=1, key="k"), data=events(1)) == ["at 1 again"]
    desk.bench.wait(2)
    assert desk.ask(Submit(id=1, key="k"), data=events(1)) == ["at 2"]
    desk.bench.wait(20)
    assert desk.bench.log.publishers.key_count == 1


def test_beyond_the_bound_the_oldest_keys_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEYS_MAX > 10
    monkeypatch.setattr("broker.publishers.KEYS_MAX", 10)
    for number in range(15):
        desk.ask(Submit(id=1, key=f"k{number}"), data=events(1))
    desk.bench.wait(0)
    assert desk.bench.log.publishers.key_count == 10
    assert desk.ask(Submit(id=1, key="k5"), data=events(1)) == ["at 6 again"]
    assert desk.ask(Submit(id=1, key="k4"), data=events(1)) == ["at 16"]


def test_beyond_the_bound_the_longest_silent_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.publishers.PRODUCERS_MAX", 100)
    for number in range(101):
        desk.ask(hello(f"p{number}"))
        desk.bench.wait(0.001)
    assert desk.ask(publish(1, producer="p0"), data=events(1)) == ["unknown_producer"]
    assert desk.ask(publish(1, producer="p1"), data=events(1)) == ["last 1 1@1x1"]


@pytest.mark.parametrize(
    ("passing", "forgotten"),
    [
        pytest.param({3, 7}, {3}, id="a passing one"),
        pytest.param({7}, {7}, id="though it was heard of late"),
        pytest.param(set(), {0}, id="where there is none, the longest silent"),
    ],
)
def test_beyond_the_bound_passing_ones_go_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, passing: set[int], forgotten: set[int]
) -> None:
    monkeypatch.setattr("broker.publishers.PRODUCERS_MAX", 100)
    for number in range(100):
        desk.ask(hello(f"p{number}", passing=number in passing))
        desk.bench.wait(0.001)
    desk.killed()  # it is kept in the log, too
    for number in passing:  # also when it publishes
        incarnation = desk.bench.log.publishers.producers[f"p{number}"].incarnation
        desk.ask(publish(1, incarnation, producer=f"p{number}"), data=events(1))
        desk.bench.wait(0.001)
    desk.ask(hello("one too many"))
    desk.bench.wait(0.001)
    left = desk.bench.log.publishers.producers
    assert {number for number in range(100) if f"p{number}" not in left} == forgotten


def test_who_comes_again_with_an_id_stays(desk: Desk) -> None:
    desk.ask(hello(passing=True))
    assert desk.bench.log.publishers.producers["p"].is_passing
    desk.ask(hello())
    assert not desk.bench.log.publishers.producers["p"].is_passing


def test_a_hello_is_told_how_large_an_event_may_be(desk: Desk) -> None:
    desk.publishing.take(b"p", hello(), b"")
    _, ((_, answer),) = desk.publishing.commit(NOW_US)
    assert msgspec.json.decode(answer)["ok"]["payload_max_bytes"] == 100


def test_a_producer_silent_for_long_is_forgotten(desk: Desk) -> None:
    desk.ask(hello("quiet"), hello("heard"))
    desk.bench.wait(6 * 86_400)
    desk.ask(publish(1, producer="heard"), data=events(1))
    desk.bench.wait(2 * 86_400)
    assert list(desk.bench.log.publishers.producers) == ["heard"]


def test_a_full_disk_refuses_and_nothing_of_it_has_happened(desk: Desk) -> None:
    desk.ask(hello())
    desk.ask(publish(1), data=events(2))
    large = pack_event(b"a", bytes(100), 3) * 5_000
    with full_disk(desk.bench.log):
        assert desk.ask(publish(3), data=large) == ["unavailable"]
        assert desk.ask(Submit(id=1, key="k"), data=large) == ["unavailable"]
        assert desk.bench.log.trouble
        assert desk.ask(publish(3), data=pack_event(b"new", bytes(100), 3) * 5_000) == ["unavailable"]
        assert desk.bench.log.topic_count == 1
        # What is in the log already is as true as before.
        assert desk.ask(publish(1), data=events(2)) == ["last 2 1@1x2"]
        assert len(desk.forwarded) == 2
    assert desk.ask(publish(3), data=events(1)) == ["last 3 1@1x3"]
    assert desk.bench.log.trouble is None
    assert desk.ask(Submit(id=1, key="k"), data=events(1)) == ["at 4"]
    assert read(desk.bench.log) == desk.forwarded == [("a", seq) for seq in (1, 2, 3, 4)]


def test_plain_events_of_a_full_disk_are_a_hole_and_confirmed_ones_are_not_in_it(desk: Desk) -> None:
    desk.ask(hello())
    desk.ask(publish(1), data=events(2))
    log = desk.bench.log
    with full_disk(log):
        log.append([(b"b", bytes(100), 0)] * 5_000, NOW_US)
        assert desk.ask(publish(3), data=pack_event(b"a", bytes(100), 3) * 5_000) == ["unavailable"]
    hole_end = log.head().head
    assert desk.ask(publish(3), data=events(1)) == [f"last 3 1@1x2 3@{hole_end + 1}x1"]
    found, _, damaged = log.replay(ALL, 0)
    assert [unpack_stamp(stamp).nth for topic, stamp, _ in found if topic == b"a"] == [1, 2, 3]
    assert damaged == [(3, hole_end)]


def test_topics_of_what_a_full_disk_refused_have_not_begun(desk: Desk) -> None:
    log = desk.bench.log
    topics = [f"new/{number}" for number in range(300)]
    with full_disk(log):
        log.append([(b"plain", bytes(100), 0)] * 5_000, NOW_US)  # its topic waits for the next commit
        refused = b"".join(events(20, topic, bytes(100)) for topic in topics)
        assert desk.ask(Submit(id=1), data=refused) == ["unavailable"]
        assert log.topic_count == 1
    asked = b"".join(events(1, topic) for topic in (*topics[::-1], "plain"))
    desk.ask(Submit(id=2), data=asked)
    desk.killed()
    found, _, _ = desk.bench.log.replay(ALL, 0)
    assert [(topic.decode(), unpack_stamp(stamp).nth) for topic, stamp, _ in found] == [
        *((topic, 1) for topic in topics[::-1]),
        ("plain", 5_001),
    ]
