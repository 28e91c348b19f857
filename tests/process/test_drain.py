"""A gateway that is told to stop, among clients that go on: nobody misses anything, and nobody is cut off."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed

from gateway.settings import GatewaySettings
from tests.support.log import logged
from tests.support.processes import REPO, Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import stream
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client, Subscription, assert_in_order, places

FAR_LONGER_S = 600.0  # than any test waits


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=100_000) as service:
        yield service


@contextmanager
def two_gateways(folder: Path, broker: Broker) -> Iterator[tuple[Gateway, Gateway]]:
    """That share a port."""
    with running_gateway(folder, broker) as first:
        port = first.address["url"].rsplit(":", 1)[1]
        with running_gateway(folder, broker, number=1, port=port) as second:
            yield first, second


def is_ready(gateway: Gateway) -> bool:
    try:
        with urllib.request.urlopen(f"{gateway.address['admin']}/readyz", timeout=DEADLINE_S):
            return True
    except urllib.error.HTTPError as answer:
        with answer:
            assert answer.code == 503
        return False


def signal_and_wait(gateway: Gateway) -> None:
    """Returns when it says that it drains."""
    os.kill(gateway.pid, signal.SIGTERM)
    wait_for(lambda: not is_ready(gateway), what="draining")


def assert_agrees(subscription: Subscription, broker: Broker) -> None:
    """From its first event to its last it has exactly what the log has of that pattern."""
    events = subscription.events
    assert_in_order(events)
    kept = logged(broker.address["control"], subscription.pattern.text, events[0].seq - 1)
    assert places(events) == [event.place for event in kept if event.seq <= events[-1].seq]


def test_every_client_is_sent_away_and_misses_nothing(tmp_path: Path, broker: Broker) -> None:
    with two_gateways(tmp_path, broker) as (leaves, stays), ExitStack() as stack:
        clients = [stack.enter_context(Client()) for _ in range(10)]
        stack.enter_context(stream(broker.address["ingest"], "load/a", "load/b"))
        for client in clients:
            client.connect(leaves.address["own"])
            client.read_more(client.subscribe("load/*"), 20)
        assert leaves.stop() == 0
        waits_s = []
        for client in clients:
            followed = client.subscriptions["load/*"]
            with pytest.raises(ConnectionClosed):
                client.read_until(lambda: False, what="the end")
            assert client.close_code == 1012
            told = re.fullmatch(r"draining, come back in (\d+\.\d) s", client.close_reason)
            assert told
            assert client.notices[-1] == {"code": "draining", "come_back_s": float(told[1])}
            waits_s.append(float(told[1]))
            wanted = len(followed.events) + 100
            client.follow_until(
                partial(followed.has_had, wanted), url=stays.address["url"], what=f"{wanted} events"
            )
            assert followed.ok is not None
            assert followed.ok["recovered"] is True
            assert client.gaps == []
            assert_agrees(followed, broker)
        assert len(set(waits_s)) > 2  # ten, drawn of twenty-one tenths of a second


class Visitors:
    """Who asks over HTTP again and again, until told to stop. `troubles`: what none of them should see."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = Event()
        self.answers = 0
        self.troubles: list[BaseException] = []

    def on_one_connection(self) -> None:
        """As long as the other side keeps it."""
        connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=DEADLINE_S)
        while not self._stop.is_set():
            connection.request("GET", "/api/status")
            with connection.getresponse() as answer:
                assert answer.status == 200
                answer.read()
                if answer.getheader("Connection") == "close":
                    connection.close()
            self.answers += 1
        connection.close()

    def each_time_anew(self) -> None:
        while not self._stop.is_set():
            with urllib.request.urlopen(self._url, timeout=DEADLINE_S) as page:
                page.read()
            self.answers += 1

    def _visit(self, visit: Callable[[], None]) -> None:
        try:
            visit()
        except Exception as error:
            self.troubles.append(error)

    def wait_for_answers(self, more: int) -> None:
        wanted = self.answers + more
        wait_for(lambda: self.answers >= wanted or self.troubles, what=f"{more} answers")

    @contextmanager
    def coming(self) -> Iterator[None]:
        kinds = [self.on_one_connection] * 3 + [self.each_time_anew] * 3
        threads = [Thread(target=self._visit, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


def test_who_asks_meanwhile_is_answered(tmp_path: Path, broker: Broker) -> None:
    """On kept connections and on new ones, over the shared port, without a reset and without a refusal."""
    with two_gateways(tmp_path, broker) as gateways:
        visitors = Visitors(gateways[0].address["url"])
        with visitors.coming():
            visitors.wait_for_answers(100)
            assert gateways[0].stop() == 0
            visitors.wait_for_answers(100)
        assert visitors.troubles == []


def test_a_request_under_way_is_answered(tmp_path: Path, broker: Broker) -> None:
    with running_gateway(tmp_path, broker, anonymous_publish='["a"]') as gateway, Client() as client:
        client.connect(gateway.address["url"])
        client.subscribe("a")
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            asking = http.client.HTTPConnection(urlsplit(gateway.address["own"]).netloc, timeout=DEADLINE_S)
            asking.request("POST", "/api/publish/a", body=b"1")
            client.subscribe("b", awaited=False, history=1)
            signal_and_wait(gateway)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        with asking.getresponse() as answer:
            assert answer.status == 200
            assert json.load(answer)["position"].endswith(".1")
        asking.close()
        with pytest.raises(ConnectionClosed):
            client.read_until(lambda: False, what="the end")
        assert client.subscriptions["b"].ok is not None
        assert client.close_code == 1012
        assert gateway.wait() == 0


@contextmanager
def one_that_does_not_read(gateway: Gateway) -> Iterator[None]:
    place = urlsplit(gateway.address["own"])
    assert place.hostname and place.port
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((place.hostname, place.port))
        deaf.sendall(b"GET /sse?topic=load/** HTTP/1.1\r\nHost: localhost\r\n\r\n")

        def has_slow() -> bool:
            with urllib.request.urlopen(f"{gateway.address['url']}/api/status", timeout=DEADLINE_S) as answer:
                return bool(json.load(answer)["gateway"]["slow"])

        wait_for(has_slow, what="a slow reader")
        yield


def big(number: int) -> bytes:
    return b'"%b%d"' % (b"x" * 10_000, number)


def test_one_that_does_not_read_holds_nobody_up(tmp_path: Path, broker: Broker) -> None:
    with (
        stream(broker.address["ingest"], "load/a", payload=big),
        running_gateway(tmp_path, broker, drain_s=1) as gateway,
        one_that_does_not_read(gateway),
    ):
        assert gateway.stop() == 0


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_it_is_healthy_while_it_drains_and_ends_at_once_when_told_again(
    tmp_path: Path, broker: Broker, again: signal.Signals
) -> None:
    with (
        stream(broker.address["ingest"], "load/a", payload=big),
        running_gateway(tmp_path, broker, drain_s=FAR_LONGER_S) as gateway,
        one_that_does_not_read(gateway),
    ):
        signal_and_wait(gateway)
        with urllib.request.urlopen(f"{gateway.address['admin']}/healthz", timeout=DEADLINE_S) as answer:
            assert answer.status == 200
        with pytest.raises(ConnectionRefusedError):
            wait_for(lambda: connects(gateway), what="the port closed")
        assert gateway.stop(again) == 0


def connects(gateway: Gateway) -> None:
    place = urlsplit(gateway.address["own"])
    socket.create_connection((place.hostname or "", place.port or 0), timeout=DEADLINE_S).close()


@pytest.mark.parametrize("config", ["supervisord.conf", "gateways.conf"])
def test_supervisord_waits_longer_than_that(config: str) -> None:
    parser = RawConfigParser()
    parser.read(REPO / "deploy" / config)
    assert float(parser["program:gateway"]["stopwaitsecs"]) > GatewaySettings().drain_s + 2
