"""The examples of docs/socketio.md: official clients that subscribe, and that go on where they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import SOCKET_IO, blocks
from tests.support.examples import here, node, reading, wait_printed
from tests.support.log import logged
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import push
from tests.support.waiting import wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=10_000) as service:
        yield service


@pytest.fixture
def gateway(tmp_path: Path, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path, broker, anonymous_publish='["room/**"]') as service:
        yield service


def test_a_client_of_socket_io(broker: Broker, gateway: Gateway, tmp_path: Path) -> None:
    code, *_ = blocks(SOCKET_IO, "js")
    push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.5}']])
    with reading(node(here(code, broker, gateway), tmp_path), tmp_path) as out:
        wait_printed(out, "room/temperature { celsius: 20.5 }", "subscribed { position: ", "recovered: true")
        push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.6}']])
        wait_printed(out, "room/temperature { celsius: 20.6 }")


def test_a_client_of_socket_io_that_keeps_its_offset_itself(
    broker: Broker, gateway: Gateway, tmp_path: Path
) -> None:
    beginning = """
        import { io } from 'socket.io-client'
        const socket = io('http://127.0.0.1:8000')
        // As older ones, which have none.
        socket.on('disconnect', () => { delete socket._pid; console.log('away') })
        socket.on('event', ({ data, history }) => console.log(data, history))
    """
    (code,) = blocks(SOCKET_IO, "js", "Clients that keep it themselves")
    push(broker.address["push"], [[b"room/temperature", b"1"]])
    with reading(node(here(beginning + code, broker, gateway), tmp_path), tmp_path) as out:
        wait_printed(out, "1 true")
        push(broker.address["push"], [[b"room/temperature", b"2"]])
        wait_printed(out, "2 undefined")
        gateway.kill()
        wait_printed(out, "away")
        push(broker.address["push"], [[b"room/temperature", b"3"]])
        wait_for(lambda: len(logged(broker.address["control"], "room/*")) == 3, what="a third event")
        gateway.start()
        wait_printed(out, "3 true")
        assert out.read_text().splitlines() == ["1 true", "2 undefined", "away", "3 true"]
