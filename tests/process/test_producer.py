"""The sources as real processes, and every example of docs/producers.md, with a real broker."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import zmq

from broker import control
from broker.wire import Content, Stamp, unpack_records, unpack_stamp
from producer import Publisher
from producer.readings import host_segment
from tests.support.ports import reserved_ports
from tests.support.processes import REPO, Broker, Service, environment, running
from tests.support.processes import broker as running_broker
from tests.support.waiting import wait_for

DEADLINE_S = 20
DOCS = REPO / "docs" / "producers.md"


class Logged(NamedTuple):
    topic: str
    stamp: Stamp
    payload: bytes


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=10_000) as service:
        yield service


def logged(broker: Broker, pattern: str) -> list[Logged]:
    """What the broker's log has of a pattern, by seq; at most 2,000 events."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        asking.set(zmq.LINGER, 0)
        asking.connect(broker.address["control"])
        asking.send(control.encode(control.Last(id=1, patterns=(pattern,), count=2_000)))
        assert asking.poll(DEADLINE_S * 1000), "no answer from the broker"
        answer, records = asking.recv_multipart()
    assert control.decode_answer(answer).error is None
    return [
        Logged(name.decode(), unpack_stamp(stamp), payload)
        for name, stamp, payload in unpack_records(records)
    ]


def wait_logged(broker: Broker, pattern: str, count: int) -> list[Logged]:
    """The first moment's events at which the log has that many of them."""
    return wait_for(
        lambda: found if len(found := logged(broker, pattern)) >= count else None,
        what=lambda: f"{count} events of {pattern}, there are {len(logged(broker, pattern))}",
    )


def source(name: str, folder: Path, **settings: object) -> Service:
    env = {f"PENSTOCK_PRODUCER__{key.upper()}": str(value) for key, value in settings.items()}
    return Service(name, ["-m", f"producer.{name}"], env, folder)


LINES = [sys.executable, "-m", "producer.lines"]


def lines_environment(push: str, **settings: object) -> dict[str, str]:
    given = {"push": push, **settings}
    return environment({f"PENSTOCK_PRODUCER__{key.upper()}": str(value) for key, value in given.items()})


def pipe_lines(text: bytes, push: str, *args: str, **settings: object) -> subprocess.CompletedProcess[bytes]:
    """`lines` with that input, ended."""
    env = lines_environment(push, **settings)
    return subprocess.run([*LINES, *args], env=env, input=text, capture_output=True, timeout=DEADLINE_S)


@contextmanager
def open_lines(push: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """`lines` with an input that stays open."""
    env, pipe = lines_environment(push, **settings), subprocess.PIPE
    with subprocess.Popen(LINES, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_demo_publishes_a_sine_on_a_steady_beat(broker: Broker, tmp_path: Path) -> None:
    with running(source("demo", tmp_path, ingest=broker.address["ingest"])) as demo:
        assert demo.address == {"process": "demo", "ingest": broker.address["ingest"]}
        points = [json.loads(event.payload) for event in wait_logged(broker, "graph", 20)]
        for point in points:
            assert point["y"] == pytest.approx(2.5 * (1 + math.sin(point["x"] / 500)))
        steps_ms = [after["x"] - before["x"] for before, after in pairwise(points)]
        assert all(step > 0 for step in steps_ms)
        # 50 ms on the whole: on a busy machine single beats are late, or left out, but not added.
        assert sum(steps_ms) / len(steps_ms) > 45
        assert logged(broker, "graph")[0].stamp.content is Content.JSON
        assert demo.stop(signal.SIGTERM) == 0
        assert demo.stderr() == ""


def test_the_demo_goes_on_with_a_broker_that_was_killed(broker: Broker, tmp_path: Path) -> None:
    with running(source("demo", tmp_path, ingest=broker.address["ingest"])):
        before = wait_logged(broker, "graph", 3)
        broker.kill()
        broker.start()
        wait_logged(broker, "graph", len(before) + 5)


def test_system_publishes_what_this_machine_does(broker: Broker, tmp_path: Path) -> None:
    host = host_segment(socket.gethostname())
    with running(
        source("system", tmp_path, ingest=broker.address["ingest"], system_interval_s=0.1)
    ) as system:
        events = {event.topic: json.loads(event.payload) for event in wait_logged(broker, "system/**", 10)}
        assert system.stop(signal.SIGINT) == 130
    assert set(events[f"system/{host}/cpu"]) == {f"core{n}" for n in range(psutil.cpu_count() or 0)}
    assert set(events[f"system/{host}/memory"]) == {"used", "available_mib"}
    assert set(events[f"system/{host}/load"]) == {"1m", "5m", "15m"}
    assert set(events[f"system/{host}/network"]) == {"sent_kib_s", "received_kib_s"}
    assert all(number >= 0 for data in events.values() for number in data.values())


SIGNALS = pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])


@SIGNALS
@pytest.mark.parametrize("name", ["demo", "system"])
def test_a_stream_without_a_broker_is_ready_and_ends_on_a_signal(
    name: str, signum: int, code: int, tmp_path: Path
) -> None:
    with reserved_ports(1) as (port,):
        service = source(name, tmp_path, ingest=f"tcp://127.0.0.1:{port}")
        with running(service):
            assert service.stop(signum) == code


@SIGNALS
def test_lines_that_wait_for_input_end_on_a_signal(signum: int, code: int) -> None:
    with reserved_ports(1) as (port,), open_lines(f"tcp://127.0.0.1:{port}") as lines:
        assert lines.stdout is not None
        assert lines.stdout.readline() == b"ready lines ingest=tcp://127.0.0.1:%d\n" % port
        lines.send_signal(signum)
        assert lines.wait(DEADLINE_S) == code


def test_lines_are_events_in_order_json_where_they_are(broker: Broker) -> None:
    ended = pipe_lines(
        b'plain\n{"v": 1}\r\n\nna\xefve\nlast', broker.address["push"], "--topic", "web/access"
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert [(event.payload, event.stamp.content) for event in wait_logged(broker, "web/access", 5)] == [
        (b"plain", Content.TEXT),
        (b'{"v": 1}', Content.JSON),
        (b"", Content.TEXT),
        (b"na\xefve", Content.BINARY),
        (b"last", Content.TEXT),
    ]


def test_a_line_over_the_limit_is_named_and_the_rest_goes_on(broker: Broker) -> None:
    ended = pipe_lines(
        b"first\n" + b"x" * 5_000 + b"\nthird\n", broker.address["push"], payload_max_bytes=1_000
    )
    assert ended.returncode == 1
    assert ended.stderr == b"lines: line 2 not sent: 5000 bytes, at most 1000 are taken\n"
    assert [event.payload for event in wait_logged(broker, "lines", 2)] == [b"first", b"third"]


def test_lines_wait_for_a_broker_that_is_late(tmp_path: Path) -> None:
    with reserved_ports(1) as (port,):
        push = f"tcp://127.0.0.1:{port}"
        with open_lines(push) as lines:
            # More than it holds: it is in the midst of them when the broker comes.
            feed(lines, b"".join(b"%d\n" % number for number in range(1_900)))
            assert lines.stdin is not None
            lines.stdin.close()
            with running_broker(tmp_path, push=push, keep_events=10_000) as broker:
                assert lines.wait(DEADLINE_S) == 0
                events = wait_logged(broker, "lines", 1_900)
    assert [int(event.payload) for event in events] == list(range(1_900))


def test_lines_told_to_stop_while_they_wait_say_what_was_not_sent() -> None:
    with reserved_ports(1) as (port,), open_lines(f"tcp://127.0.0.1:{port}", close_s=0.1) as lines:
        feed(lines, b"line\n" * 2_000)
        lines.terminate()
        assert lines.wait(DEADLINE_S) == 0
        assert lines.stderr is not None
        said = lines.stderr.read()
    assert b"lines: stopped: 2000 lines were read and not sent\n" in said


def feed(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Returns once it has read all of it."""
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()
    wait_for(lambda: unread_bytes(process) == 0, what="all was read")


def unread_bytes(process: subprocess.Popen[bytes]) -> int:
    """What waits in the pipe to a process's standard input."""
    assert process.stdin is not None
    return int.from_bytes(fcntl.ioctl(process.stdin, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def test_lines_wait_at_their_end_for_a_broker_say_so_and_how_many_ctrl_c_loses() -> None:
    with reserved_ports(1) as (port,):
        push = f"tcp://127.0.0.1:{port}"
        with open_lines(push, close_s=0.1) as lines:
            assert lines.stdin is not None and lines.stderr is not None
            lines.stdin.write(b"one\ntwo\nthree")
            lines.stdin.close()
            assert lines.stderr.readline() == b"lines: no broker at %s yet: waiting\n" % push.encode()
            assert lines.poll() is None
            lines.send_signal(signal.SIGINT)
            assert lines.wait(DEADLINE_S) == 130
            assert lines.stderr.read() == b"lines: stopped: 3 lines were read and not sent\n"


def test_lines_wait_at_their_end_for_a_broker_that_hangs_until_ctrl_c(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, open_lines(broker.address["push"], close_s=0.1) as lines:
        feed(lines, b"first\n")
        wait_logged(broker, "lines", 1)
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            # More than the kernel takes for a process that reads nothing.
            text = b"x" * 1_000_000 + b"\n"
            feed(lines, text * 30)
            assert lines.stdin is not None and lines.stderr is not None
            lines.stdin.close()
            lines.send_signal(signal.SIGINT)
            assert lines.wait(DEADLINE_S) == 130
            assert lines.stderr.read() == b"lines: stopped: at most 31 lines were read and not sent\n"
        finally:
            os.kill(broker.pid, signal.SIGCONT)


def test_help_and_usage_name_the_command_as_it_is_typed() -> None:
    ended = subprocess.run([*LINES, "--help"], env=environment({}), capture_output=True, timeout=DEADLINE_S)
    assert ended.stdout.startswith(b"Usage: penstock lines ")


def test_a_closed_pipe_is_quiet(broker: Broker) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        LINES,
        env=lines_environment(broker.address["push"]),
        input=b"line\n",
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=DEADLINE_S,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(wait_logged(broker, "lines", 1)) == 1


@pytest.mark.parametrize(
    ("name", "args", "env", "code", "said"),
    [
        pytest.param(
            "demo", [], {"INGST": "x"}, 78, "did you mean PENSTOCK_PRODUCER__INGEST", id="unknown name"
        ),
        pytest.param(
            "system", [], {"SYSTEM_INTERVAL_S": "0"}, 78, "SYSTEM_INTERVAL_S = '0'", id="out of range"
        ),
        pytest.param("demo", [], {"INGEST": "tcp://nowhere"}, 78, "no address like", id="no port"),
        pytest.param("lines", ["--topic", "a b"], {}, 2, "white space", id="bad topic"),
        pytest.param("lines", ["--topic", "$x"], {}, 2, "the system's own", id="system topic"),
        pytest.param("demo", ["--nope"], {}, 2, "No such option", id="unknown flag"),
        pytest.param("lines", ["--control", "tcp://x:1"], {}, 78, "--confirm", id="another port's flag"),
    ],
)
def test_a_wrong_start_says_what_is_wrong(
    name: str, args: list[str], env: dict[str, str], code: int, said: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", f"producer.{name}", *args],
        env=environment({f"PENSTOCK_PRODUCER__{key}": value for key, value in env.items()}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("wait", [pytest.param(False, id="stream"), pytest.param(True, id="wait")])
def test_a_short_lived_publisher_loses_nothing(broker: Broker, wait: bool) -> None:
    publisher = Publisher(broker.address["push" if wait else "ingest"], wait=wait)
    for number in range(20):
        publisher.publish("short", number)
    assert publisher.close()
    events = wait_logged(broker, "short", 20)
    assert [(int(event.payload), event.stamp.nth) for event in events] == [(n, n + 1) for n in range(20)]


def examples(language: str) -> list[str]:
    """The code blocks of docs/producers.md in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


def for_broker(code: str, broker: Broker) -> str:
    """An example, with this broker's addresses for the usual ones."""
    code = code.replace("tcp://127.0.0.1:5555", broker.address["ingest"])
    return code.replace("tcp://127.0.0.1:5558", broker.address["push"])


def test_the_plain_stream_of_the_docs_arrives(broker: Broker) -> None:
    code = for_broker(examples("python")[0], broker)
    with subprocess.Popen([sys.executable, "-c", code], env=environment({})) as stream:
        try:
            assert json.loads(wait_logged(broker, "room/temperature", 1)[0].payload) == {"celsius": 20.5}
        finally:
            stream.kill()


@pytest.mark.parametrize(
    ("place", "topics"),
    [
        pytest.param(1, ["deploy/done"], id="plain PUSH"),
        pytest.param(2, ["room/temperature", "room/note", "room/picture"], id="Publisher"),
    ],
)
def test_the_examples_of_the_docs_that_end_lose_nothing(
    broker: Broker, place: int, topics: list[str]
) -> None:
    code = for_broker(examples("python")[place], broker)
    for count in range(1, 6):
        subprocess.run([sys.executable, "-c", code], env=environment({}), timeout=DEADLINE_S, check=True)
        events = wait_logged(broker, "**", count * len(topics))
        assert [event.topic for event in events] == topics * count


def test_the_node_example_is_the_one_of_the_docs_and_arrives_whole(broker: Broker, tmp_path: Path) -> None:
    example = REPO / "producer" / "examples" / "producer.mjs"
    assert examples("js") == [example.read_text()]
    packages = REPO / "web" / "node_modules"
    assert (packages / "zeromq").is_dir(), "run `npm ci` in web/ first"
    # A user's project is a folder with node_modules; this one borrows the page's.
    shutil.copy(example, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages)
    env = environment({"PENSTOCK_PRODUCER__PUSH": broker.address["push"]})
    subprocess.run(["node", example.name], cwd=tmp_path, env=env, timeout=DEADLINE_S, check=True)
    events = wait_logged(broker, "build/progress", 20)
    assert [json.loads(event.payload) for event in events] == [{"step": n, "of": 20} for n in range(1, 21)]
