"""A backend program that reads events, with a real broker that is killed, stopped, slow and empty."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypedDict

import msgspec
import pytest

from broker.errors import BadPattern, BadPosition, BadSetting
from broker.gap import Gap
from broker.wire import Position
from producer import Event, Subscriber, pending
from tests.support.log import logged, status
from tests.support.ports import reserved_ports
from tests.support.processes import Broker, environment
from tests.support.processes import broker as running_broker
from tests.support.sending import numbered, push, stream
from tests.support.waiting import DEADLINE_S, wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=100_000) as service:
        yield service


class Addresses(TypedDict):
    feed: str
    control: str


def addresses(broker: Broker) -> Addresses:
    return {"feed": broker.address["feed"], "control": broker.address["control"]}


class Reading:
    """A subscriber whose events and gaps are kept as they come."""

    def __init__(self, broker: Broker, *patterns: str, history: int = 0, since: str | None = None) -> None:
        self.items: list[Event | Gap] = []
        self.subscriber = Subscriber(
            *patterns, history=history, since=since, on_gap=self.items.append, **addresses(broker)
        )

    @property
    def events(self) -> list[Event]:
        return [each for each in self.items if isinstance(each, Event)]

    @property
    def gaps(self) -> list[Gap]:
        return [each for each in self.items if isinstance(each, Gap)]

    def read(self, count: int) -> None:
        """So many more events."""
        for _ in range(count):
            event = self.subscriber.next(DEADLINE_S)
            assert event is not None, f"no more than {len(self.events)} events"
            self.items.append(event)

    def read_to(self, position: str) -> None:
        """Everything that is due up to there."""

        def is_there() -> bool:
            while (event := self.subscriber.next(0)) is not None:
                self.items.append(event)
            return self.subscriber.position == position

        wait_for(is_there, what=lambda: f"{position}; {self.subscriber}")


@contextmanager
def reading(broker: Broker, *patterns: str, history: int = 0, since: str | None = None) -> Iterator[Reading]:
    """In force when the block begins."""
    it = Reading(broker, *patterns, history=history, since=since)
    with it.subscriber:
        assert it.subscriber.wait(DEADLINE_S)
        yield it


def seqs(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events]


def data(events: Sequence[Event]) -> list[int]:
    return [event.data["n"] for event in events]


def wait_logged(broker: Broker, pattern: str, count: int) -> list[int]:
    """The seqs of a pattern, once there are so many."""
    return wait_for(
        lambda: (
            found
            if len(found := [event.seq for event in logged(broker.address["control"], pattern)]) == count
            else None
        ),
        what=f"{count} events of {pattern}",
    )


def test_history_and_then_what_comes(broker: Broker) -> None:
    push(broker.address["push"], [*numbered("room/a", range(5)), *numbered("rooms", range(5))])
    wait_logged(broker, "**", 10)
    with reading(broker, "room/**", history=2) as it:
        it.read(2)
        push(broker.address["push"], [*numbered("rooms", [5]), *numbered("room/b", [5])])
        it.read(1)
        assert (data(it.events), it.gaps) == ([3, 4, 5], [])
        assert [event.topic for event in it.events] == ["room/a", "room/a", "room/b"]
        assert not it.subscriber.truncated
        it.read_to(it.events[-1].position)


def test_more_history_than_one_answer_holds_says_so(broker: Broker) -> None:
    for topic in ("a", "b"):
        push(broker.address["push"], numbered(topic, range(1_500)))
        wait_logged(broker, topic, 1_500)
    with reading(broker, "*", history=2_000) as it:
        it.read(2_000)
        assert seqs(it.events) == list(range(1_001, 3_001))
        assert it.subscriber.truncated


def test_nothing_is_missed_while_the_broker_is_killed_and_started_again(broker: Broker) -> None:
    with reading(broker, "room/**") as it:
        with stream(broker.address["ingest"], "room/a", "room/b", "rooms"):
            for _ in range(2):
                it.read(100)
                broker.kill()
                broker.start()
            it.read(100)
        kept = [event.seq for event in logged(broker.address["control"], "room/**")]
        it.read(len(kept) - kept.index(it.events[0].seq) - len(it.events))
        assert (seqs(it.events), it.gaps) == (kept[kept.index(it.events[0].seq) :], [])


def test_what_the_feed_drops_is_read_from_the_log(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path, feed_high_water=10, keep_events=100_000) as broker,
        reading(broker, "a", "b") as it,
    ):
        push(broker.address["push"], numbered("b", [0]))
        push(broker.address["push"], numbered("a", range(20_000)))
        it.read(20_001)
        assert status(broker.address["control"]).at.drops > 0, "nothing was dropped"
        assert (seqs(it.events), it.gaps) == (list(range(1, 20_002)), [])


def test_a_slow_reader_gets_everything_and_holds_little(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "EVENTS_MAX", 100)
    with reading(broker, "a") as it:
        push(broker.address["push"], numbered("a", range(10_000)))
        wait_logged(broker, "a", 10_000)
        waiting = it.subscriber._pending
        # A page of the log, or as much as is taken from the feed at once, beyond the bound.
        wait_for(lambda: waiting.is_full, what="enough to read")
        assert len(waiting._items) <= 100 + 2_000
        it.read(10_000)
        assert (data(it.events), it.gaps) == (list(range(10_000)), [])


class Trimmed(NamedTuple):
    """A broker that keeps ten events of each topic: the oldest and newest seq of topic a, and its head."""

    broker: Broker
    oldest: int
    newest: int
    head: int
    epoch: str


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trimmed]:
    with running_broker(tmp_path_factory.mktemp("trimmed"), keep_events=10) as broker:
        # Each in a commit of its own, because what is committed together is let go together.
        for count in range(1, 31):
            push(broker.address["push"], numbered("a", [count]))
            wait_logged(broker, "a", count)
        push(broker.address["push"], numbered("b", range(1_000)))  # after so many it looks for old ones
        kept = wait_logged(broker, "a", 10)
        at = status(broker.address["control"]).at
        yield Trimmed(broker, kept[0], kept[-1], at.head, at.epoch)


@pytest.mark.parametrize(
    ("where", "lost", "cause"),
    [
        pytest.param(lambda log: 0, 20, "retention", id="0"),
        pytest.param(lambda log: log.oldest - 2, 1, "retention", id="one is missing"),
        pytest.param(lambda log: log.oldest - 1, 0, None, id="right before the oldest"),
        pytest.param(lambda log: log.oldest, 0, None, id="the oldest"),
        pytest.param(lambda log: log.newest - 1, 0, None, id="right before the newest"),
        pytest.param(lambda log: log.newest, 0, None, id="the newest"),
        pytest.param(lambda log: log.head, 0, None, id="the head"),
        pytest.param(lambda log: log.head + 1, 0, "future", id="beyond the head"),
    ],
)
def test_since_brings_all_there_is_and_tells_the_rest(
    trimmed: Trimmed, where: Callable[[Trimmed], int], lost: int, cause: str | None
) -> None:
    since = where(trimmed)
    with reading(trimmed.broker, "a", since=f"{trimmed.epoch}.{since}") as it:
        it.read_to(f"{trimmed.epoch}.{trimmed.head}")
        assert seqs(it.events) == list(range(max(since + 1, trimmed.oldest), trimmed.newest + 1))
        assert [gap.cause for gap in it.gaps] == ([cause] if cause else [])
        if lost:
            gap = it.gaps[0]
            assert it.items[0] is gap
            assert (gap.pattern, gap.after.seq, gap.before.seq) == ("a", since, trimmed.oldest)
            assert gap.before.seq - gap.after.seq - 1 == lost


def test_since_of_another_log_is_a_gap_and_all_of_this_one(trimmed: Trimmed) -> None:
    with reading(trimmed.broker, "a", since="0000000000000001.25") as it:
        it.read_to(f"{trimmed.epoch}.{trimmed.head}")
        assert seqs(it.events) == list(range(trimmed.oldest, trimmed.newest + 1))
        assert [gap.cause for gap in it.gaps] == ["epoch", "retention"]
        assert (it.items[0], it.gaps[0].after) == (it.gaps[0], Position(1, 25))
        assert str(it.gaps[0].before) == f"{trimmed.epoch}.1"


def test_who_stores_the_position_goes_on_there(tmp_path: Path) -> None:
    with running_broker(tmp_path, durability="memory") as broker:
        push(broker.address["push"], numbered("a", range(10)))
        wait_logged(broker, "a", 10)
        with reading(broker, "a", history=100) as it:
            it.read(4)
            position = it.subscriber.position
        assert position == it.events[-1].position
        with reading(broker, "a", since=position) as it:
            it.read(6)
            assert (data(it.events), it.gaps) == (list(range(4, 10)), [])
            broker.kill()
            broker.start()
            push(broker.address["push"], numbered("a", range(10, 12)))
            it.read(2)
            assert [gap.cause for gap in it.gaps] == ["epoch"]
            assert data(it.events) == list(range(4, 12))
            position = it.subscriber.position
        push(broker.address["push"], numbered("a", [12]))
        with reading(broker, "a", since=position) as it:
            it.read(1)
            assert (data(it.events), it.gaps) == ([12], [])


def test_it_waits_for_a_broker_that_comes_later_and_says_so(tmp_path: Path) -> None:
    stale: list[bool] = []
    with reserved_ports(2) as (feed_port, control_port):
        feed, control = (f"tcp://127.0.0.1:{port}" for port in (feed_port, control_port))
        with Subscriber("a", feed=feed, control=control, on_stale=stale.append) as subscriber:
            assert (subscriber.stale, subscriber.position, subscriber.wait(0)) == (True, None, False)
            wait_for(lambda: stale, what="it is told that nobody is there")
            with running_broker(tmp_path, feed=feed, control=control) as broker:
                assert subscriber.wait(DEADLINE_S)
                assert (stale, subscriber.stale) == ([True, False], False)
                push(broker.address["push"], numbered("a", [7]))
                event = subscriber.next(DEADLINE_S)
                assert event is not None and event.data == {"n": 7}


def test_a_broker_that_hangs_is_stale_and_then_goes_on(broker: Broker) -> None:
    with reading(broker, "a") as it:
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: it.subscriber.stale, what="it is stale")
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        push(broker.address["push"], numbered("a", range(3)))
        it.read(3)
        wait_for(lambda: not it.subscriber.stale, what="it is heard")
        assert (data(it.events), it.gaps) == ([0, 1, 2], [])


def test_without_on_gap_a_gap_is_a_warning(trimmed: Trimmed, caplog: pytest.LogCaptureFixture) -> None:
    epoch, oldest = trimmed.epoch, trimmed.oldest
    with Subscriber("a", since=f"{epoch}.0", **addresses(trimmed.broker)) as subscriber:
        assert next(subscriber).seq == oldest
    assert f"gap pattern=a after={epoch}.0 before={epoch}.{oldest} cause=retention" in caplog.text


def test_close_by_another_thread_ends_the_iteration(broker: Broker) -> None:
    subscriber = Subscriber("a", **addresses(broker))
    read: list[Event] = []
    reader = threading.Thread(target=lambda: read.extend(subscriber))
    reader.start()
    assert subscriber.wait(DEADLINE_S)
    subscriber.close()
    reader.join()
    subscriber.close()
    assert (read, subscriber.closed, subscriber.next(0)) == ([], True, None)
    assert subscriber.position is not None


def test_one_that_was_forgotten_ends_its_thread(broker: Broker) -> None:
    before = threading.active_count()
    subscriber = Subscriber("a", **addresses(broker))
    assert subscriber.wait(DEADLINE_S)
    assert threading.active_count() == before + 1
    del subscriber
    gc.collect()
    wait_for(lambda: threading.active_count() == before, what="its thread has ended")


def test_a_program_that_never_closes_one_ends(broker: Broker) -> None:
    code = f"from producer import Subscriber; kept = Subscriber('a', **{addresses(broker)!r})"
    subprocess.run([sys.executable, "-c", code], env=environment({}), timeout=DEADLINE_S, check=True)


@pytest.mark.parametrize(
    ("patterns", "options", "error"),
    [
        pytest.param(["a**"], {}, BadPattern, id="no pattern"),
        pytest.param(["$broker/beat"], {}, BadPattern, id="the system's own"),
        pytest.param(["a"], {"since": "12"}, BadPosition, id="no position"),
        pytest.param(["a"], {"feed": "here"}, BadSetting, id="no address"),
        pytest.param(["a"], {"control": "tcp://here"}, BadSetting, id="no port"),
        pytest.param([], {}, ValueError, id="nothing"),
        pytest.param(["a"], {"history": 2_001}, ValueError, id="too much history"),
        pytest.param(["a"], {"history": -1}, ValueError, id="less than no history"),
    ],
)
def test_a_wrong_use_raises_at_once(
    patterns: list[str], options: dict[str, str], error: type[Exception]
) -> None:
    before = threading.active_count()
    with pytest.raises(error):
        Subscriber(*patterns, **options)  # type: ignore[arg-type]
    assert threading.active_count() == before


# penstock sub


SUB = [sys.executable, "-m", "penstock", "sub"]


@pytest.fixture
def told(broker: Broker) -> Broker:
    push(
        broker.address["push"],
        [*numbered("room/a", range(3)), [b"room/note", b"a\x1b[1m\nb"], [b"room/picture", b"\xff\xfe"]],
    )
    wait_logged(broker, "**", 5)
    return broker


def sub(broker: Broker, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SUB, *args],
        env=sub_environment(broker),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def sub_environment(broker: Broker) -> dict[str, str]:
    given = addresses(broker)
    links = {"PENSTOCK_PRODUCER__FEED": given["feed"], "PENSTOCK_PRODUCER__CONTROL": given["control"]}
    return environment(links)


def test_events_are_lines(told: Broker) -> None:
    ended = sub(told, "room/**", "--history", "2", "--count", "4")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        'room/a {"n": 1}',
        'room/a {"n": 2}',
        "room/note a\\x1b[1m\\nb",
        "room/picture <2 bytes>",
    ]


def test_events_and_gaps_are_objects(told: Broker) -> None:
    epoch = status(told.address["control"]).at.epoch
    ended = sub(told, "room/*", "other", "--json", "--count=5", "--since", "0000000000000001.9")
    assert (ended.returncode, ended.stderr) == (0, "")
    gap, *events = [msgspec.json.decode(line) for line in ended.stdout.splitlines()]
    assert gap == {
        "gap": {"pattern": "**", "after": "0000000000000001.9", "before": f"{epoch}.1", "cause": "epoch"}
    }
    assert [event.pop("time") > 0 for event in events] == [True] * 5
    place = {"seq": 1, "prev": 0, "nth": 1}
    assert events[0] == {"topic": "room/a", "position": f"{epoch}.1", **place, "data": {"n": 0}}
    assert [event.get("text") or event.get("base64") for event in events[3:]] == ["a\x1b[1m\nb", "//4="]


def test_a_gap_is_told_beside_the_lines(told: Broker) -> None:
    ended = sub(told, "room/a", "--count=1", "--since", "0000000000000001.9")
    assert ended.stdout == 'room/a {"n": 0}\n'
    assert ended.stderr.startswith("sub: gap: pattern=** after=0000000000000001.9 before=")


def test_sub_ends_when_nobody_reads_any_more_also_if_nothing_comes(told: Broker) -> None:
    reading_end, writing_end = os.pipe()
    process = subprocess.Popen(
        [*SUB, "room/a", "--history=1"],
        env=sub_environment(told),
        stdout=writing_end,
        stderr=subprocess.PIPE,
    )
    os.close(writing_end)
    with process:
        with os.fdopen(reading_end) as lines:
            assert lines.readline() == 'room/a {"n": 2}\n'
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_sub_ends_on_a_signal(told: Broker, signum: int, code: int) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*SUB, "room/a", "--history=1"], env=sub_environment(told), stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b'room/a {"n": 2}\n'
        process.send_signal(signum)
        assert process.wait(DEADLINE_S) == code
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_sub_waits_for_a_broker_and_says_so() -> None:
    with reserved_ports(1) as (port,):
        address = f"tcp://127.0.0.1:{port}"
        with subprocess.Popen(
            [*SUB, "a", "--feed", address, "--control", address],
            env=environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stderr.readline() == f"sub: no broker heard at {address}: waiting\n".encode()
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 130


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["a**"], "bad pattern", id="no pattern"),
        pytest.param(["$broker/beat"], "the system's own", id="the system's own"),
        pytest.param([], "PATTERN", id="nothing"),
        pytest.param(["a", "--since", "12"], "--since", id="no position"),
        pytest.param(["a", "--history", "2001"], "--history", id="too much history"),
        pytest.param(["a", "--count", "0"], "--count", id="no events"),
    ],
)
def test_a_wrong_use_of_sub_is_named(args: list[str], said: str) -> None:
    ended = subprocess.run(
        [*SUB, *args], env=environment({}), capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr and "Traceback" not in ended.stderr


def test_an_address_that_is_none_is_a_bad_setting() -> None:
    ended = subprocess.run(
        [*SUB, "a", "--feed", "here"], env=environment({}), capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert (ended.returncode, ended.stdout) == (78, "")
    assert "--feed = 'here'" in ended.stderr
