"""A gateway as a process: without a broker, beside others, with readers that do not read, and stopped."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gateway.links import TIMEOUT_S
from tests.support.log import logged
from tests.support.ports import reserved_ports
from tests.support.processes import Broker, Gateway, running
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client, assert_in_order, places

MIB = 1 << 20


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def get_json(url: str) -> Any:
    return json.loads(get(url)[1])


def who_answers(url: str) -> str:
    return str(get_json(f"{url}/api/status")["gateway"]["gateway"])


@contextmanager
def absent_broker(folder: Path) -> Iterator[Broker]:
    """One that was never started, at addresses that are its own."""
    with reserved_ports(4) as ports:
        names = ("ingest", "push", "control", "feed")
        address = {name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
        env = {f"PENSTOCK_BROKER__{name.upper()}": value for name, value in address.items()}
        env |= {"PENSTOCK_BROKER__LOG": str(folder / "log.db"), "PENSTOCK_BROKER__ADMIN": "127.0.0.1:0"}
        broker = Broker("broker", ["-m", "broker"], env, folder)
        broker.address = address
        yield broker


def test_without_a_broker_it_serves_pages_tells_clients_and_heals_by_itself(tmp_path: Path) -> None:
    with absent_broker(tmp_path) as broker, running_gateway(tmp_path, broker) as gateway:
        url = gateway.address["url"]
        assert get(f"{url}/")[0] == 200
        assert get(f"{gateway.address['admin']}/readyz")[0] == 200
        assert get_json(f"{url}/api/status")["broker"] is None
        with Client() as early, Client() as late:
            early.connect(url)
            early.read_stale(True)
            followed = early.subscribe("a/**", awaited=False)
            named = early.subscribe("a/1", awaited=False, history=10)
            wait_for(
                lambda: f"no broker heard at feed={broker.address['feed']}" in gateway.stderr(),
                what="a line that says so",
            )
            for path in ("/api/topics", "/api/topics/a/history"):
                assert_refused_at_once(url + path)
            assert get_json(f"{url}/api/status")["broker"] is None
            late.connect(url)
            late.read_stale(True)
            assert late.welcome["position"] == "0000000000000000.0"
            with running(broker):
                for client in (early, late):
                    client.read_stale(False)
                push(broker.address["push"], numbered("a/1", range(10)))
                # Made before the broker came: in force from its first event on, or it is in the history.
                for subscription in (followed, named):
                    early.read_events(subscription, 10)
                    assert [event.data["n"] for event in subscription.events] == list(range(10))
                assert (early.gaps, late.gaps) == ([], [])
                taken = late.subscribe("a/1", history=3)
                assert [event.data["n"] for event in taken.events] == [7, 8, 9]
            status = f"{url}/api/status"
            wait_for(lambda: get_json(status)["gateway"]["stale"], what="the second loss noticed")
            assert_refused_at_once(f"{url}/api/topics")
        wait_for(lambda: gateway.stderr().count("no broker heard") == 2, what="a line for the second loss")


def assert_refused_at_once(url: str) -> None:
    """503, and without waiting for an answer of the broker."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=TIMEOUT_S / 2)
    with refused.value as answer:
        assert (answer.code, answer.headers["Retry-After"]) == (503, "1")


def test_history_without_a_broker_is_refused_with_the_address(tmp_path: Path) -> None:
    with absent_broker(tmp_path) as broker, running_gateway(tmp_path, broker) as gateway:
        status, body = get(f"{gateway.address['url']}/api/topics/a/history")
        error = json.loads(body)["error"]
        assert (status, error["code"]) == (503, "unavailable")
        assert broker.address["control"] in error["message"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=100_000) as service:
        yield service


def test_gateways_share_a_port_and_each_has_its_own(tmp_path: Path, broker: Broker) -> None:
    with running_gateway(tmp_path, broker) as first:
        port = first.address["url"].rsplit(":", 1)[1]
        with running_gateway(tmp_path, broker, number=1, port=port) as second:
            assert first.address["url"] == second.address["url"]
            assert [who_answers(each.address["own"]) for each in (first, second)] == ["00", "01"]
            first.kill()
            # Whoever is left takes everybody.
            assert [who_answers(second.address["url"]) for _ in range(5)] == ["01"] * 5


def test_a_gateway_that_is_stopped_asks_its_clients_to_come_back(tmp_path: Path, broker: Broker) -> None:
    with running_gateway(tmp_path, broker) as gateway, Client() as client:
        client.connect(gateway.address["url"])
        client.subscribe("a")
        assert gateway.stop() == 0
        with pytest.raises(ConnectionClosed):
            client.read_until(lambda: False, what="the end")
        assert client.close_code == 1012


def test_raw_is_the_payloads_as_they_are_one_a_frame(tmp_path: Path, broker: Broker) -> None:
    payloads = [b'{"a": 1}', b"plain", b"\xff\x00", b""]
    push(broker.address["push"], [[b"mixed/raw", payload] for payload in payloads])
    with running_gateway(tmp_path, broker) as gateway:
        url = gateway.address["url"].replace("http://", "ws://") + "/raw/mixed/raw?history=10"
        with connect(url, compression=None, proxy=None) as raw:
            past = [raw.recv(DEADLINE_S) for _ in payloads]
            push(broker.address["push"], [[b"mixed/raw/other", b"not this"], [b"mixed/raw", b"live"]])
            assert [*past, raw.recv(DEADLINE_S)] == ['{"a": 1}', "plain", b"\xff\x00", "", "live"]


def uss(gateway: Gateway) -> int:
    return int(psutil.Process(gateway.pid).memory_full_info().uss)


def test_a_reader_that_stops_costs_a_position_and_misses_nothing(tmp_path: Path, broker: Broker) -> None:
    batch = [[b"big", b"x" * 10_000]] * 250
    address = broker.address["push"]
    # The ring is the one thing that is meant to grow with what passes: here it holds little.
    with (
        running_gateway(tmp_path, broker, ring_max_bytes=MIB) as gateway,
        Client() as quick,
        Client() as slow,
    ):
        quick.connect(gateway.address["url"])
        swift = quick.subscribe("big")

        def pass_batches(count: int) -> None:
            for _ in range(count):
                push(address, batch)
                quick.read_more(swift, len(batch))

        # What an allocator takes once, it has taken: as much as for the largest flush, which comes when
        # others are busy, so as many batches as are measured afterwards.
        pass_batches(20)
        slow.connect(gateway.address["url"])
        late = slow.subscribe("big")
        before = uss(gateway)
        pass_batches(20)  # 50 MB
        grown = uss(gateway) - before
        assert late.events == []
        slow.read_events(late, 20 * len(batch))
        for subscription in (late, swift):
            assert_in_order(subscription.events)
            kept = logged(broker.address["control"], "big", subscription.events[0].seq - 1)
            assert places(subscription.events) == [event.place for event in kept]
        assert (slow.gaps, slow.close_code) == ([], None)
        assert grown < 8 * MIB, f"{grown / MIB:.1f} MiB"
        # And it is live again.
        push(address, [[b"big", b"1"]])
        slow.read_more(late, 1)
        assert late.events[-1].data == 1
