"""Confirmed publishing with a real broker: killed, hung, taken over, begun anew; and without our code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from broker.errors import ControlError, Fenced, LogLost, NotConfirmed, PublishTimeout
from broker.sockets import REQUEST_MAX_BYTES
from producer import Publisher
from tests.support.docs import PRODUCERS, blocks
from tests.support.log import logged, status
from tests.support.ports import reserved_ports
from tests.support.processes import REPO, Broker, environment
from tests.support.processes import broker as running_broker
from tests.support.waiting import DEADLINE_S, wait_for

EXAMPLE = REPO / "producer" / "examples" / "confirmed.mjs"
PACKAGES = REPO / "web" / "node_modules"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=1_000_000) as service:
        yield service


def numbers(broker: Broker, topic: str) -> list[int]:
    """The payloads of a topic, in the log's order."""
    return [int(event.payload) for event in logged(broker.address["control"], topic)]


def test_a_broker_that_is_killed_under_load_costs_nothing(broker: Broker) -> None:
    count = 60_000
    with Publisher(confirm=True, control=broker.address["control"], close_s=DEADLINE_S) as publisher:
        given = []
        for number in range(count):
            given.append(publisher.publish("a", b"%d" % number))
            if number in (20_000, 40_000):
                # In the middle: some are confirmed, some are on their way.
                wait_for(lambda: given[1_000].done, what="the first thousand")
                broker.kill()
                broker.start()
        publisher.flush(DEADLINE_S)
        assert publisher.lost == 0
    events = logged(broker.address["control"], "a")
    assert [int(event.payload) for event in events] == list(range(count))
    # Also of what was logged before a kill and confirmed after it, the position is the right one.
    assert [int(each.position.partition(".")[2]) for each in given] == [event.seq for event in events]


def test_flush_says_that_the_broker_is_away(broker: Broker) -> None:
    with Publisher(confirm=True, control=broker.address["control"], close_s=0) as publisher:
        publisher.publish("a", 0).result(DEADLINE_S)
        broker.kill()
        for number in (1, 2):
            publisher.publish("a", number)
        wait_for(lambda: "it is away" in why(publisher), what="the loss of the link")
        assert why(publisher).startswith("2 events not confirmed by the broker at tcp://127.0.0.1:")
        broker.start()
        publisher.flush(DEADLINE_S)
    assert numbers(broker, "a") == [0, 1, 2]


def why(publisher: Publisher) -> str:
    with pytest.raises(NotConfirmed) as raised:
        publisher.flush(0)
    return str(raised.value)


def test_a_broker_that_hangs_is_waited_for(broker: Broker) -> None:
    with Publisher(confirm=True, control=broker.address["control"], wait_s=0.1, high_water=10) as publisher:
        publisher.publish("a", 0).result(DEADLINE_S)
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            for number in range(1, 11):
                publisher.publish("a", number)
            with pytest.raises(PublishTimeout, match="not sent"):
                publisher.publish("a", 11)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        publisher.flush(DEADLINE_S)
    assert numbers(broker, "a") == list(range(11))


def test_a_program_goes_on_after_what_is_logged_and_who_comes_late_is_fenced(broker: Broker) -> None:
    control = broker.address["control"]
    with ExitStack() as stack:
        zombie = Publisher(confirm=True, control=control, producer_id="p", numbered=True, close_s=0)
        stack.callback(zombie.close)
        for number in range(zombie.last, 5):
            zombie.publish("a", number)
        zombie.flush(DEADLINE_S)
        # The broker knows of both also when it was killed in between.
        broker.kill()
        broker.start()
        with Publisher(confirm=True, control=control, producer_id="p", numbered=True) as successor:
            assert successor.last == 5
            late = zombie.publish("a", 5)
            for number in range(successor.last, 10):
                successor.publish("a", number)
            successor.flush(DEADLINE_S)
            with pytest.raises(Fenced):
                late.result(DEADLINE_S)
            with pytest.raises(Fenced):
                zombie.publish("a", 6)
    assert numbers(broker, "a") == list(range(10))


def test_a_log_in_memory_that_begins_anew_is_told_of(tmp_path: Path) -> None:
    with running_broker(tmp_path, durability="memory") as broker, ExitStack() as stack:
        plain, numbered = (
            stack.enter_context(
                Publisher(confirm=True, control=broker.address["control"], numbered=numbered, close_s=0)
            )
            for numbered in (False, True)
        )
        for publisher in (plain, numbered):
            publisher.publish("a", 0).result(DEADLINE_S)
        broker.kill()
        broker.start()
        plain.publish("a", 1).result(DEADLINE_S)
        assert plain.lost == 1
        with pytest.raises(LogLost, match="has 0 events"):
            numbered.publish("a", 2).result(DEADLINE_S)
        assert numbers(broker, "a") == [1]


def test_an_event_that_only_the_broker_finds_too_large_fails_alone(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path, payload_max_bytes=1_000) as broker,
        Publisher(confirm=True, control=broker.address["control"]) as publisher,
    ):
        given = [publisher.publish("a", b"%d" % (10**size)) for size in (1, 2, 1_500, 3)]
        for confirmation in (given[0], given[1], given[3]):
            assert confirmation.result(DEADLINE_S)
        assert "1501 bytes, at most 1000 are taken" in str(given[2].error)
        assert numbers(broker, "a") == [10, 100, 1_000]


def test_an_event_larger_than_the_broker_reads_fails_alone(broker: Broker) -> None:
    """Sent, it would cost the link, each time."""
    control, large = broker.address["control"], b"x" * (REQUEST_MAX_BYTES + 1)
    with Publisher(confirm=True, control=control, payload_max_bytes=2 * REQUEST_MAX_BYTES) as publisher:
        given = [publisher.publish("a", payload) for payload in (b"1", large, b"2", large[:-100], b"3")]
        for confirmation in given[::2]:
            assert confirmation.result(DEADLINE_S)
        for confirmation in given[1::2]:
            with pytest.raises(ControlError, match="at most 1048576 are taken") as raised:
                confirmation.result(DEADLINE_S)
            assert raised.value.code == "payload_too_large"
        assert publisher.trouble == ""
        assert numbers(broker, "a") == [1, 2, 3]


# Lines of a pipe


@contextmanager
def confirmed_lines(control: str, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    env, pipe = environment({"PENSTOCK_PRODUCER__CONTROL": control}), subprocess.PIPE
    command = [sys.executable, "-m", "penstock", "lines", "--confirm", *args]
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def test_lines_are_in_the_log_once_and_in_order_though_the_broker_is_killed(broker: Broker) -> None:
    with confirmed_lines(broker.address["control"], "--topic", "a") as lines:
        assert lines.stdin is not None and lines.stdout is not None and lines.stderr is not None
        assert lines.stdout.readline() == b"ready lines control=%s\n" % broker.address["control"].encode()
        lines.stdin.write(b"".join(b"%d\n" % number for number in range(5_000)))
        lines.stdin.flush()
        wait_for(lambda: head(broker) > 0, what="its first lines")
        broker.kill()
        lines.stdin.write(b"".join(b"%d\n" % number for number in range(5_000, 6_000)))
        lines.stdin.close()
        broker.start()
        assert lines.wait(DEADLINE_S) == 0
        assert lines.stderr.read() == b""
    assert numbers(broker, "a") == list(range(6_000))


def test_lines_say_what_they_wait_for_and_how_many_ctrl_c_leaves_unconfirmed() -> None:
    with reserved_ports(1) as (port,), confirmed_lines(f"tcp://127.0.0.1:{port}") as lines:
        assert lines.stdin is not None and lines.stderr is not None
        lines.stdin.write(b"one\ntwo\nthree")
        lines.stdin.close()
        said = b"lines: nothing is confirmed by the broker at tcp://127.0.0.1:%d: it is not there: waiting\n"
        assert lines.stderr.readline() == said % port
        assert lines.poll() is None
        lines.send_signal(signal.SIGINT)
        assert lines.wait(DEADLINE_S) == 130
        assert lines.stderr.read() == b"lines: stopped: 3 lines were read and not confirmed\n"


def test_a_line_that_the_broker_refuses_is_told_of_and_the_rest_goes_on(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path, payload_max_bytes=1_000) as broker,
        confirmed_lines(broker.address["control"]) as lines,
    ):
        _, err = lines.communicate(b"1\n" + b"2" * 1_001 + b"\n3\n", DEADLINE_S)
        assert lines.returncode == 1
        assert err == b"lines: refused by the broker: event 1 of 1: 1001 bytes, at most 1000 are taken\n"
        assert numbers(broker, "lines") == [1, 3]


def head(broker: Broker) -> int:
    return status(broker.address["control"]).at.head


# The examples of the docs


def example(place: int, broker: Broker) -> list[str]:
    code = blocks(PRODUCERS, "python", "Confirmed")[place]
    return [
        sys.executable,
        "-c",
        code.replace("confirm=True", f"confirm=True, control={broker.address['control']!r}"),
    ]


def test_the_example_of_the_docs_has_all_confirmed(broker: Broker) -> None:
    ended = subprocess.run(
        example(0, broker), env=environment({}), capture_output=True, timeout=DEADLINE_S, check=True
    )
    (order,) = logged(broker.address["control"], "order/4711")
    assert ended.stdout.endswith(b".%d\n" % order.seq) and ended.stdout.count(b"\n") == 1
    assert numbers(broker, "order/number") == list(range(1_000))


def test_a_program_of_the_docs_that_is_started_again_goes_on_where_its_log_is(
    broker: Broker, tmp_path: Path
) -> None:
    for count in (3, 3, 5):
        (tmp_path / "orders.jsonl").write_bytes(b"".join(b"%d\n" % number for number in range(count)))
        command = example(1, broker)
        subprocess.run(command, cwd=tmp_path, env=environment({}), timeout=DEADLINE_S, check=True)
        assert numbers(broker, "orders") == list(range(count))


# In Node, without our code


@contextmanager
def node(args: Sequence[str], folder: Path, broker: Broker) -> Iterator[subprocess.Popen[bytes]]:
    assert (PACKAGES / "zeromq").is_dir(), "run `npm ci` in web/ first"
    if not (folder / "node_modules").exists():
        # A user's project is a folder with node_modules; this one borrows the page's.
        (folder / "node_modules").symlink_to(PACKAGES)
        shutil.copy(EXAMPLE, folder)
    env = environment({"PENSTOCK_PRODUCER__CONTROL": broker.address["control"]})
    with subprocess.Popen(
        ["node", EXAMPLE.name, *args], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def steps(broker: Broker) -> list[int]:
    events = logged(broker.address["control"], "example/numbers")
    return [json.loads(event.payload)["n"] for event in events]


def test_the_example_in_node_has_each_number_logged_once_whatever_is_killed(
    broker: Broker, tmp_path: Path
) -> None:
    with node(["1000000000"], tmp_path, broker) as process:
        wait_for(lambda: head(broker) > 0, what="its first events")
        broker.kill()
        broker.start()
        before = head(broker)
        wait_for(lambda: head(broker) > before, what="it goes on")
        process.kill()
    count = head(broker) + 1_000
    with node([str(count)], tmp_path, broker) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err) == (0, b"confirmed %d\n" % count, b"")
    assert steps(broker) == list(range(1, count + 1))


def test_the_example_in_node_ends_where_another_one_takes_its_id(broker: Broker, tmp_path: Path) -> None:
    with node(["1000000000"], tmp_path, broker) as first:
        wait_for(lambda: head(broker) > 0, what="its first events")
        with node(["1"], tmp_path, broker) as second:
            assert second.wait(DEADLINE_S) == 0
        _, err = first.communicate(timeout=DEADLINE_S)
    assert first.returncode == 1
    assert b"fenced: producer 'example/numbers'" in err
    assert steps(broker) == list(range(1, len(steps(broker)) + 1))
