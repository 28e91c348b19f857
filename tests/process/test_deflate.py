"""permessage-deflate with clients that are not ours: the package `websockets`, and npm's `ws`."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.processes import REPO, Broker, Gateway, environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import push
from tests.support.waiting import DEADLINE_S
from tests.support.websocket import Client

MIB = 1 << 20
TOPIC = "plant/line-1/pump"
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker"), keep_events=10_000) as service:
        yield service


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), broker) as service:
        yield service


class Counted(socket.socket):
    """A socket that says how much came."""

    received = 0

    def recv(self, *args: Any) -> bytes:
        data = super().recv(*args)
        self.received += len(data)
        return data


@contextmanager
def talking(
    gateway: Gateway, path: str = "/ws", compression: str | None = "deflate"
) -> Iterator[ClientConnection]:
    """A client that offers compression unless told otherwise; its `socket` is Counted."""
    host, port = gateway.address["url"].removeprefix("http://").split(":")
    counted = Counted()
    counted.connect((host, int(port)))
    url = f"ws://{host}:{port}{path}"
    with connect(url, sock=counted, compression=compression, proxy=None, close_timeout=0.1) as client:
        yield client


def objects(client: ClientConnection, count: int) -> list[dict[str, Any]]:
    """The next events that it is sent, at least so many."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        told = [json.loads(line) for line in str(client.recv(DEADLINE_S)).split("\n")]
        found += [each for each in told if "topic" in each]
    return found


def agreed(client: ClientConnection) -> str | None:
    assert client.response is not None
    return client.response.headers.get("Sec-WebSocket-Extensions")


def reading(number: int) -> bytes:
    return json.dumps({"n": number, "state": "running", "unit": "bar", "note": "nominal " * 8}).encode()


def test_with_compression_the_same_comes_in_fewer_bytes(broker: Broker, gateway: Gateway) -> None:
    push(broker.address["push"], [[TOPIC.encode(), reading(number)] for number in range(500)])
    with talking(gateway) as pressed, talking(gateway, compression=None) as plain:
        assert (agreed(pressed), agreed(plain)) == (AGREED, None)
        # Words that the client compresses, so that both ways are gone.
        command = json.dumps({"subscribe": TOPIC, "id": 1, "history": 500})
        told = []
        for client in (pressed, plain):
            client.send(command + " " * 2_000)
            told.append(objects(client, 500))
        push(broker.address["push"], [[TOPIC.encode(), reading(number)] for number in range(500, 1_000)])
        for client, had in zip((pressed, plain), told, strict=True):
            had += objects(client, 500)
        assert told[0] == told[1]
        assert [each["data"]["n"] for each in told[0]] == list(range(1_000))
        small, large = (client.socket.received for client in (pressed, plain))  # type: ignore[attr-defined]
        assert small < large / 2


def test_raw_payloads_are_compressed_and_those_that_are_small_are_not(
    broker: Broker, gateway: Gateway
) -> None:
    payloads = [b"x" * 5_000, b"small", b"\xff" * 5_000]
    push(broker.address["push"], [[b"pressed/raw", payload] for payload in payloads])
    with talking(gateway, "/raw/pressed/raw?history=3") as client:
        assert agreed(client) == AGREED
        assert [client.recv(DEADLINE_S) for _ in payloads] == ["x" * 5_000, "small", b"\xff" * 5_000]
        assert client.socket.received < 1_000  # type: ignore[attr-defined]


def test_it_can_be_turned_off(tmp_path: Path, broker: Broker) -> None:
    with running_gateway(tmp_path, broker, deflate_min_bytes=0) as gateway, talking(gateway) as client:
        assert agreed(client) is None
        assert "welcome" in json.loads(client.recv(DEADLINE_S))


def test_bombs_end_their_connection_and_nobody_else_notices(gateway: Gateway) -> None:
    with Client() as bystander:
        bystander.connect(gateway.address["url"])
        before = psutil.Process(gateway.pid).memory_full_info().uss
        for _ in range(5):
            with talking(gateway) as client, pytest.raises(ConnectionClosed) as ended:
                client.send(" " * (20 * MIB))  # 20 KB on the wire
                while True:
                    client.recv(DEADLINE_S)
            assert ended.value.rcvd is not None and ended.value.rcvd.code == 1009
        bystander.say('{"ping": 1, "id": 1}')
        bystander.read_until(lambda: len(bystander.replies) == 1, what="a pong")
        grown = psutil.Process(gateway.pid).memory_full_info().uss - before
        assert grown < 8 * MIB, f"{grown / MIB:.1f} MiB"


NODE = """
import WebSocket from 'ws'
const socket = new WebSocket(process.argv[2])
socket.on('message', data => {
  for (const line of data.toString().split('\\n')) {
    const told = JSON.parse(line)
    if (told.welcome) {
      socket.send(JSON.stringify({ subscribe: 'node/a', id: 1, history: 100 }) + ' '.repeat(2000))
    }
    if (told.reply === 1) {
      console.log(socket.extensions)
      socket.close()
    } else if (told.topic) console.log(told.data.n)
  }
})
"""


def test_a_client_in_node(broker: Broker, gateway: Gateway, tmp_path: Path) -> None:
    push(broker.address["push"], [[b"node/a", reading(number)] for number in range(100)])
    (tmp_path / "node_modules").symlink_to(REPO / "web" / "node_modules")
    (tmp_path / "client.mjs").write_text(NODE)
    url = gateway.address["url"].replace("http://", "ws://") + "/ws"
    ran = subprocess.run(
        ["node", "client.mjs", url],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert ran.stdout.split() == [*map(str, range(100)), "permessage-deflate"]
