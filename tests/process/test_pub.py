"""One event from the command line, confirmed by a real broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.wire import Content
from producer import Subscriber
from tests.support.log import status
from tests.support.ports import reserved_ports
from tests.support.processes import Broker, environment
from tests.support.processes import broker as running_broker
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as service:
        yield service


def pub(control: str, *args: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", "pub", *args],
        env=environment({"PENSTOCK_PRODUCER__CONTROL": control}),
        input=given,
        capture_output=True,
        timeout=DEADLINE_S,
    )


PICTURE = b"\x89PNG\n\xff"


def test_an_event_is_confirmed_with_its_position(broker: Broker) -> None:
    control = broker.address["control"]
    published = [
        pub(control, "room/temperature", '{"celsius": 20.5}'),
        pub(control, "room/note", "window -- open"),
        pub(control, "room/picture", "-", given=PICTURE),
        pub(control, "room/picture", given=PICTURE),
        pub(control, "room/offset", "--", "-5"),
    ]
    assert [(ended.returncode, ended.stderr) for ended in published] == [(0, b"")] * 5
    epoch = status(control).at.epoch
    positions = [f"{epoch}.{seq}" for seq in range(1, 6)]
    assert [ended.stdout.decode() for ended in published] == [f"{each}\n" for each in positions]
    with Subscriber("room/*", history=10, feed=broker.address["feed"], control=control) as subscriber:
        events = [next(subscriber) for _ in range(5)]
    assert [event.position for event in events] == positions
    assert [(event.data, event.content) for event in events] == [
        ({"celsius": 20.5}, Content.JSON),
        ("window -- open", Content.TEXT),
        (PICTURE, Content.BINARY),
        (PICTURE, Content.BINARY),
        (-5, Content.JSON),
    ]


def test_without_a_broker_it_says_that_nothing_is_known() -> None:
    with reserved_ports(1) as (port,):
        ended = pub(f"tcp://127.0.0.1:{port}", "room/note", "open", "--wait", "0.3")
    assert (ended.returncode, ended.stdout) == (69, b"")
    (said,) = ended.stderr.splitlines()
    assert said == (
        b"pub: 1 event not confirmed by the broker at tcp://127.0.0.1:%d within 0.3 s: it is not there; "
        b"it may be in the log or not"
    ) % port


@pytest.mark.parametrize(
    ("args", "given", "code", "said"),
    [
        pytest.param(["room/*", "1"], b"", 2, b"belongs to patterns", id="a pattern"),
        pytest.param(["$room", "1"], b"", 2, b"the system's own", id="a system topic"),
        pytest.param(["a", "1", "--wait", "0"], b"", 2, b"--wait", id="no time"),
        pytest.param(["a"], bytes(2 << 20), 1, b"payload_too_large", id="too large"),
        pytest.param(["a", "1", "--control", "here"], b"", 78, b"--control = 'here'", id="no address"),
    ],
)
def test_a_wrong_use_is_named(args: list[str], given: bytes, code: int, said: bytes) -> None:
    ended = pub("tcp://127.0.0.1:1", *args, given=given)
    assert (ended.returncode, ended.stdout) == (code, b"")
    assert said in ended.stderr and b"Traceback" not in ended.stderr
