"""Readers that do not read, or hardly: what they cost, what they get when they read on, and their end."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from broker.wire import Position
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import push
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client, assert_in_order

FILLER = "x" * 1_000
UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=100_000) as broker:
        yield broker


class Sleeper:
    """A client over a plain socket with a small buffer, of which nothing is read but when asked."""

    path = "/ws"

    def __init__(self, gateway: Gateway) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self.socket.settimeout(DEADLINE_S)
        host, port = gateway.address["own"].removeprefix("http://").split(":")
        self.socket.connect((host, int(port)))
        self.socket.sendall(UPGRADE.format(self.path).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        self.protocol = Protocol(Side.CLIENT, state=OPEN)
        self.told: list[dict[str, Any]] = []

    def subscribe(self, **asked: Any) -> None:
        self.say(json.dumps({"id": 1, **asked}))
        while not any("reply" in each for each in self.told):
            self.read()

    def say(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        self.socket.sendall(b"".join(self.protocol.data_to_send()))

    def hear(self, text: str) -> None:
        self.told += map(json.loads, text.split("\n"))

    def read(self) -> bool:
        """Some more; False at the end."""
        data = self.socket.recv(1 << 16)
        self.protocol.receive_data(data) if data else self.protocol.receive_eof()
        for frame in self.protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                self.hear(bytes(frame.data).decode())
        return bool(data)

    def close(self) -> None:
        self.socket.close()

    @property
    def numbers(self) -> list[int]:
        return [each["data"]["n"] for each in self.told if "topic" in each]


class SocketSleeper(Sleeper):
    """The same over Socket.IO."""

    path = "/socket.io/?EIO=4&transport=websocket"

    def subscribe(self, **asked: Any) -> None:
        self.say("40")
        self.say(f"420{json.dumps(['subscribe', asked.pop('subscribe'), asked])}")
        while not any("reply" in each for each in self.told):
            self.read()

    def hear(self, text: str) -> None:
        if text.startswith("42"):
            name, value, *_ = json.loads(text[2:])
            self.told.append(value if name == "event" else {name: value})
        elif text.startswith("430"):
            self.told.append({"reply": 0, **json.loads(text[3:])[0]})


@contextmanager
def sleeper(gateway: Gateway, **asked: Any) -> Iterator[Sleeper]:
    found = Sleeper(gateway)
    try:
        found.subscribe(**asked)
        yield found
    finally:
        found.close()


def filled(topic: str, first: int, count: int) -> list[list[bytes]]:
    return [
        [topic.encode(), json.dumps({"n": number, "filler": FILLER}).encode()]
        for number in range(first, first + count)
    ]


def status(gateway: Gateway) -> dict[str, Any]:
    with urllib.request.urlopen(f"{gateway.address['own']}/api/status", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["gateway"]
        return found


def test_sleepers_cost_a_position_and_get_everything_when_they_wake(tmp_path: Path, broker: Broker) -> None:
    """From the gateway's memory, and where that does not reach from the broker's."""
    count, readers = 8_000, 40
    with (
        running_gateway(tmp_path, broker, ring_max_bytes=1 << 20) as gateway,
        Client() as quick,
        sleeper(gateway, subscribe="a") as first,
    ):
        quick.connect(gateway.address["own"])
        taken = quick.subscribe("a")
        others = [Sleeper(gateway) for _ in range(readers)]
        try:
            for other in others:
                other.subscribe(subscribe="a")
            push(broker.address["push"], filled("a", 0, count // 8))
            quick.read_events(taken, count // 8)
            process = psutil.Process(gateway.pid)
            before = process.memory_info().rss
            push(broker.address["push"], filled("a", count // 8, count - count // 8))
            quick.read_events(taken, count)
            grown = process.memory_info().rss - before
            # A queue would be 7 MB for each. What the stream itself needs on its way is not theirs.
            assert grown < readers * 1_000_000, f"{grown / readers:,.0f} bytes a reader"
            assert status(gateway)["slow"] >= readers
            for each in (first, *others[:3]):
                while len(each.numbers) < count:
                    assert each.read()
                assert each.numbers == list(range(count))
        finally:
            for other in others:
                other.socket.close()
    assert_in_order(taken.events)


def test_what_the_log_has_no_longer_is_a_gap_and_then_comes_the_rest(tmp_path: Path) -> None:
    count = 8_000
    with (
        running_broker(tmp_path, keep_events=50) as broker,
        running_gateway(tmp_path, broker, ring_max_bytes=100_000) as gateway,
        sleeper(gateway, subscribe="a") as slow,
    ):
        push(broker.address["push"], filled("a", 0, count))
        wait_for(lambda: Position.parse(status(gateway)["position"]).seq == count, what="all of them here")
        while slow.numbers[-1:] != [count - 1]:
            assert slow.read()
    gaps = [each["gap"] for each in slow.told if "gap" in each]
    assert gaps and {gap["cause"] for gap in gaps} == {"retention"}
    numbers = slow.numbers
    assert numbers == sorted(set(numbers)) and len(numbers) < count
    # Whatever is missing lies in a gap. Its places are seqs, one beyond the numbers.
    missing = {number + 1 for number in range(count)} - {number + 1 for number in numbers}
    for gap in gaps:
        after, before = Position.parse(gap["after"]).seq, Position.parse(gap["before"]).seq
        missing -= set(range(after + 1, before))
    assert missing == set()


def read_to_its_end(broker: Broker, gateway: Gateway, quick: Client, slow: Sleeper, count: int) -> str:
    """What `slow` is closed with, which takes none of so many events until it is; another takes all."""
    quick.connect(gateway.address["own"])
    taken = quick.subscribe("a")
    push(broker.address["push"], filled("a", 0, count))
    quick.read_events(taken, count)
    wait_for(lambda: status(gateway)["stalled"] == 1, what="its end")
    while slow.read():
        pass
    close = slow.protocol.close_rcvd
    assert close is not None and int(close.code) == 4408
    had = slow.numbers
    assert had == list(range(len(had))) and 0 < len(had) < count
    return close.reason


def test_one_that_takes_nothing_is_closed_with_its_position_and_comes_back(
    tmp_path: Path, broker: Broker
) -> None:
    count = 3_000
    with (
        running_gateway(tmp_path, broker, stall_s=1) as gateway,
        Client() as quick,
        sleeper(gateway, subscribe="a") as slow,
    ):
        place = read_to_its_end(broker, gateway, quick, slow, count).rpartition(" ")[2]
        had = slow.numbers
        with sleeper(gateway, subscribe="a", since=place) as again:
            assert [each["ok"]["recovered"] for each in again.told if "reply" in each] == [True]
            assert [*had, *again.numbers] == list(range(count))
        assert status(gateway)["connections"] >= 1
        assert quick.gaps == []


def test_one_of_socket_io_that_takes_nothing_is_closed(tmp_path: Path, broker: Broker) -> None:
    count = 3_000
    with (
        running_gateway(tmp_path, broker, stall_s=2) as gateway,
        Client() as quick,
        closing(SocketSleeper(gateway)) as slow,
    ):
        slow.subscribe(subscribe="a")
        read_to_its_end(broker, gateway, quick, slow, count)


def test_one_that_does_not_answer_is_closed_and_one_that_does_stays(tmp_path: Path, broker: Broker) -> None:
    with (
        running_gateway(tmp_path, broker, ping_interval_s=0.5, ping_timeout_s=0.5) as gateway,
        Client() as polite,
        sleeper(gateway, subscribe="a") as silent,
    ):
        polite.connect(gateway.address["own"])  # its library answers
        taken = polite.subscribe("a")
        while silent.read():
            pass
        close = silent.protocol.close_rcvd
        assert close is not None and (int(close.code), close.reason) == (1001, "no pong came")
        assert status(gateway)["unheard"] == 1
        push(broker.address["push"], filled("a", 0, 3))
        polite.read_events(taken, 3)
