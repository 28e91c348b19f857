"""All, the newest, so many a second: over every transport, with real clients, through a killed gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from broker.wire import Position
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push, stream
from tests.support.sse import event_stream
from tests.support.waiting import DEADLINE_S

Told = dict[str, Any]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker"), keep_events=100_000) as broker:
        yield broker


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), broker) as gateway:
        yield gateway


@contextmanager
def talking(gateway: Gateway, path: str = "/ws") -> Iterator[ClientConnection]:
    url = gateway.address["own"].replace("http://", "ws://") + path
    with connect(url, proxy=None, close_timeout=0.1) as opened:
        yield opened


def told(opened: ClientConnection) -> Iterator[Told]:
    while True:
        yield from map(json.loads, str(opened.recv(DEADLINE_S)).split("\n"))


def subscribe(opened: ClientConnection, said: Iterator[Told], **asked: Any) -> list[Told]:
    """The past that came, and the reply at its end."""
    opened.send(json.dumps({"id": 1, **asked}))
    found = []
    for each in said:
        if "welcome" not in each:
            found.append(each)
        if "reply" in each:
            assert "ok" in each, each
            return found
    raise AssertionError


def upto(said: Iterator[Told], number: int) -> list[Told]:
    """The values, until that one."""
    values = []
    for each in said:
        if "topic" in each:
            values.append(each)
            if each["data"]["n"] == number:
                return values
    raise AssertionError


def assert_newest(values: list[Told]) -> None:
    """Each newer than the one before, and none that speaks of a hole."""
    seqs = [each["seq"] for each in values]
    assert seqs == sorted(set(seqs))
    assert not any("prev" in each for each in values)


@pytest.mark.parametrize("delivery", ["latest", {"hz": 60}, {"hz": 5}])
def test_a_stream_ends_on_its_newest(broker: Broker, gateway: Gateway, delivery: Any) -> None:
    topic = f"ends/{json.dumps(delivery).translate({ord(char): None for char in ' {}:'})}"
    with talking(gateway) as opened:
        said = told(opened)
        subscribe(opened, said, subscribe=topic, delivery=delivery)
        push(broker.address["push"], numbered(topic, range(5_000)))
        values = upto(said, 4_999)
        assert_newest(values)
        assert len(values) < 5_000


def test_so_many_a_second_are_no_more(broker: Broker, gateway: Gateway) -> None:
    with talking(gateway) as opened, stream(broker.address["ingest"], "often"):
        said = told(opened)
        subscribe(opened, said, subscribe="often", delivery={"hz": 10})
        values = list(islice(only_values(said), 25))
    assert_newest(values)
    # By the broker's clock, so that it does not matter when they are read.
    assert len(values) <= 10 * (values[-1]["time"] - values[0]["time"]) + 2


def test_the_fullest_of_several_patterns_wins(broker: Broker, gateway: Gateway) -> None:
    with talking(gateway) as opened:
        said = told(opened)
        subscribe(opened, said, subscribe="several/*", delivery={"hz": 1})
        subscribe(opened, said, subscribe="several/full")
        some, full = (numbered(f"several/{name}", range(500)) for name in ("some", "full"))
        push(broker.address["push"], [*some, *full])
        seen: dict[str, list[Told]] = {"several/some": [], "several/full": []}
        while not all(each and each[-1]["data"]["n"] == 499 for each in seen.values()):
            each = next(only_values(said))
            seen[each["topic"]].append(each)
    assert [each["data"]["n"] for each in seen["several/full"]] == list(range(500))
    assert all("prev" in each for each in seen["several/full"])
    assert_newest(seen["several/some"])


def test_one_that_breaks_off_gets_the_newest_of_what_changed_on_another_gateway(
    tmp_path: Path, broker: Broker, gateway: Gateway
) -> None:
    topics = [f"back/{number}" for number in range(20)]
    with running_gateway(tmp_path, broker, number=1) as doomed, talking(doomed) as opened:
        said = told(opened)
        subscribe(opened, said, subscribe="back/*", delivery="latest")
        push(broker.address["push"], [each for topic in topics for each in numbered(topic, range(3))])
        upto_all = {each["topic"]: each["data"]["n"] for each in upto_newest(said, dict.fromkeys(topics, 2))}
        place = next(each["at"] for each in said if "at" in each)
        doomed.kill()
        with suppress(ConnectionClosed):
            list(said)
    assert set(upto_all) == set(topics)
    push(broker.address["push"], [each for topic in topics[:5] for each in numbered(topic, range(3, 6))])
    with talking(gateway) as opened:
        *past, reply = subscribe(opened, told(opened), subscribe="back/*", delivery="latest", since=place)
    assert reply["ok"]["recovered"] is True
    assert all(each.pop("history") == 1 for each in past)
    assert_newest(past)
    assert {each["topic"]: each["data"]["n"] for each in past} == dict.fromkeys(topics[:5], 5)
    assert all(each["seq"] > Position.parse(place).seq for each in past)


def upto_newest(said: Iterator[Told], wanted: dict[str, int]) -> list[Told]:
    """The values, until each topic is at its number."""
    left, values = dict(wanted), []
    while left:
        each = next(only_values(said))
        values.append(each)
        if each["data"]["n"] == left.get(each["topic"]):
            del left[each["topic"]]
    return values


@pytest.mark.parametrize("delivery", ["latest", "hz:20", '{"hz": 20}'])
def test_an_event_stream_of_newest_values(broker: Broker, gateway: Gateway, delivery: str) -> None:
    topic = f"sse/{len(delivery)}"
    with event_stream(gateway.address["url"], topic, delivery=delivery) as opened:
        blocks = opened.told()
        assert next(blocks).name == "reply"
        push(broker.address["push"], numbered(topic, range(2_000)))
        values: list[Told] = []
        while not values or values[-1]["data"]["n"] != 1_999:
            found = next(blocks)
            if found.name == "message":
                assert found.id is None
                values.append(found.told)
        assert_newest(values)
        place = next(found for found in blocks if found.name == "at")
        assert place.told == {"at": place.id}
        assert Position.parse(place.id or "").seq >= values[-1]["seq"]
    push(broker.address["push"], numbered(topic, [2_000, 2_001]))
    last_id = place.id or ""
    with event_stream(gateway.address["url"], topic, delivery=delivery, last_event_id=last_id) as again:
        blocks = again.told()
        names: set[str] = set()
        found = next(blocks)
        while found.name != "message" or found.told["data"]["n"] != 2_001:
            names.add(found.name)
            assert found.name != "reply" or found.told["ok"]["recovered"] is True
            found = next(blocks)
    assert "gap" not in names


def test_payloads_alone_of_newest_values(broker: Broker, gateway: Gateway) -> None:
    with talking(gateway, f"/raw/alone?delivery={quote('hz:60')}") as opened:
        push(broker.address["push"], numbered("alone", range(2_000)))
        numbers: list[int] = []
        while not numbers or numbers[-1] != 1_999:
            numbers.append(json.loads(opened.recv(DEADLINE_S))["n"])
    assert numbers == sorted(set(numbers)) and len(numbers) < 2_000


def test_what_waits_in_a_socket_of_newest_values_is_bounded(broker: Broker, gateway: Gateway) -> None:
    """A client that answers pings and reads slowly has little before it that is old."""
    url = gateway.address["own"].replace("http://", "ws://") + "/ws"
    with talking(gateway) as opened, connect(url, proxy=None, max_queue=1, close_timeout=0.1) as slow:
        # The library itself stops reading when one message waits for us.
        slow.send(json.dumps({"id": 1, "subscribe": "fresh", "delivery": "latest"}))
        said = told(opened)
        subscribe(opened, said, subscribe="fresh", delivery="latest")
        with stream(broker.address["ingest"], "fresh"):
            *_, last = islice(only_values(said), 1_000)
            old = list(takewhile(lambda each: each["data"]["n"] < last["data"]["n"], only_values(told(slow))))
    size = len(json.dumps(old[0]))
    assert len(old) * size < 16 << 10, f"{len(old)} of {size} bytes were before it"


def only_values(said: Iterator[Told]) -> Iterator[Told]:
    return (each for each in said if "topic" in each)
