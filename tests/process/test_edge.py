"""The door of a gateway when too many want in: limits that are named, counted, and survived."""

from __future__ import annotations

import re
import resource
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as service:
        yield service


REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Knock:
    """One who wants a WebSocket, and the answer."""

    def __init__(self, gateway: Gateway) -> None:
        host, port = gateway.address["url"].removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), DEADLINE_S)
        self._socket.sendall(REQUEST)
        self.answer = ""
        while not re.search(r"\r\n\r\n.+", self.answer, re.DOTALL):  # the welcome, or the error
            data = self._socket.recv(4096)
            assert data, self.answer
            self.answer += data.decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.answer.split()[1])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def knocking(gateway: Gateway) -> Iterator[Callable[[], Knock]]:
    """Knocks again; who did is gone after the test."""
    with ExitStack() as crowd:
        yield lambda: crowd.enter_context(closing(Knock(gateway)))


def refused(gateway: Gateway, code: str) -> int:
    """How often the gateway says that it has refused for that."""
    with urllib.request.urlopen(gateway.address["admin"] + "/metrics", timeout=DEADLINE_S) as answer:
        found = re.search(rf'^penstock_refused_total\{{code="{code}"\}} (\S+)$', answer.read().decode(), re.M)
    return int(float(found[1])) if found else 0


@pytest.fixture
def gateway(tmp_path: Path, broker: Broker, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """With the settings that the test names."""
    with running_gateway(tmp_path, broker, **getattr(request, "param", {})) as service:
        yield service


@pytest.mark.parametrize("gateway", [{"connections_max": 3}], indirect=True)
def test_more_connections_than_are_allowed_are_told_to_come_back(
    gateway: Gateway, knocking: Callable[[], Knock]
) -> None:
    first, *others = [knocking() for _ in range(4)]
    assert [each.status for each in (first, *others)] == [101, 101, 101, 503]
    assert "Retry-After: 5\r\n" in others[-1].answer and '"too_many_connections"' in others[-1].answer
    with pytest.raises(urllib.error.HTTPError) as stream:
        urllib.request.urlopen(gateway.address["url"] + "/sse?topic=a", timeout=DEADLINE_S)
    with stream.value as answer:
        assert (answer.code, answer.headers["Retry-After"]) == (503, "5")
    assert refused(gateway, "too_many_connections") == 2
    # Who only asks something is no connection.
    with urllib.request.urlopen(gateway.address["url"] + "/", timeout=DEADLINE_S) as page:
        assert page.status == 200
    first.close()
    wait_for(lambda: knocking().status == 101, what="the place of one that has gone")


@pytest.mark.parametrize("gateway", [{"head_s": 0.5}], indirect=True)
def test_half_heads_are_let_go_and_nobody_else_waits(gateway: Gateway) -> None:
    with Client() as client, ExitStack() as slow:
        client.connect(gateway.address["url"])
        host, port = gateway.address["url"].removeprefix("http://").split(":")
        half = [slow.enter_context(socket.create_connection((host, int(port)))) for _ in range(200)]
        for each in half:
            each.settimeout(DEADLINE_S)
            each.sendall(REQUEST[:40])
        client.say('{"ping": 1, "id": 1}')
        client.read_until(lambda: len(client.replies) == 1, what="a pong")
        for each in half:
            assert each.recv(1024).startswith(b"HTTP/1.1 408 ")
        wait_for(lambda: refused(gateway, "request_timeout") == 200, what="all of them counted")
        wait_for(lambda: "code=request_timeout" in gateway.stderr(), what="a line that says so")
        assert gateway.stderr().count("code=request_timeout") <= 10


@pytest.mark.parametrize("gateway", [{"arrivals_per_address_max": 5}], indirect=True)
def test_one_address_cannot_take_all_places_at_the_door(
    gateway: Gateway, knocking: Callable[[], Knock]
) -> None:
    with ExitStack() as crowd:
        host, port = gateway.address["url"].removeprefix("http://").split(":")
        for _ in range(5):
            crowd.enter_context(socket.create_connection((host, int(port)))).sendall(REQUEST[:40])
        turned_away = knocking()
        assert turned_away.status == 429 and '"too_many_arrivals"' in turned_away.answer
        assert refused(gateway, "too_many_arrivals") == 1
    wait_for(lambda: knocking().status == 101, what="a place at the door")


def test_a_gateway_without_descriptors_says_so_serves_those_it_has_and_recovers(
    broker: Broker, gateway: Gateway, knocking: Callable[[], Knock]
) -> None:
    with Client() as client:
        client.connect(gateway.address["url"])
        followed = client.subscribe("edge/a")
        process = psutil.Process(gateway.pid)
        _, hard = process.rlimit(resource.RLIMIT_NOFILE)
        process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + 10, hard))
        crowd = [knocking() for _ in range(40)]
        shed = [each for each in crowd if each.status == 503]
        assert 30 <= len(shed) < 40
        assert all("Retry-After: 1\r\n" in each.answer and '"no_descriptor"' in each.answer for each in shed)
        push(broker.address["push"], numbered("edge/a", range(5)))
        client.read_events(followed, 5)
        for each in crowd:
            each.close()
        wait_for(lambda: knocking().status == 101, what="a place again")
        wait_for(lambda: "refused code=no_descriptor" in gateway.stderr(), what="a line that says so")
        assert "Traceback" not in gateway.stderr()


def test_where_descriptors_are_few_who_is_idle_goes_first(
    gateway: Gateway, knocking: Callable[[], Knock]
) -> None:
    host, port = gateway.address["url"].removeprefix("http://").split(":")
    process = psutil.Process(gateway.pid)
    with ExitStack() as crowd:
        idle = [crowd.enter_context(socket.create_connection((host, int(port)))) for _ in range(20)]
        for each in idle:
            each.settimeout(DEADLINE_S)
            each.sendall(b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = each.makefile("rb").readline()
            assert b" 200 " in answer
        wait_for(lambda: process.num_fds() >= 20, what="they are kept")
        _, hard = process.rlimit(resource.RLIMIT_NOFILE)
        process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + 1, hard))
        assert [knocking().status for _ in range(10)] == [101] * 10
    assert "Traceback" not in gateway.stderr()
