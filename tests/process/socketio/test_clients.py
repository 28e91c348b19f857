"""Official Socket.IO clients at running gateways: what `/ws` does, over each transport."""

from __future__ import annotations

import json
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from broker.wire import Content, pack_meta
from tests.support.log import logged
from tests.support.official import TRANSPORTS, UPGRADING, Official, Officials
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import publish, push, stream
from tests.support.waiting import DEADLINE_S, wait_for


def settled(client: Official, transports: list[str]) -> None:
    """On the transport where it ends."""
    client.await_connects(1)
    if transports == UPGRADING:
        client.wait(lambda: client.upgrades == ["websocket"], "an upgrade")


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_subscribe_publish_unsubscribe(
    broker: Broker, gateway: Gateway, node: Officials, transports: list[str]
) -> None:
    room = f"room/{'-'.join(transports)}"
    one, other = (node.open(name, gateway.address["url"], transports) for name in ("one", "other"))
    for each in (one, other):
        settled(each, transports)
        assert each.connects[0]["recovered"] is False
        ok = each.subscribe(room)
        assert ok["recovered"] is True
    assert set(one.ask("publish", room, {"n": 0})["ok"]) == {"position"}
    other.emit("publish", room, {"n": 1})
    for each in (one, other):
        each.await_events(2)
        assert sorted(each.numbers(room)) == [0, 1]
        first, second = each.events
        assert (second["prev"], first["nth"], second["nth"]) == (first["seq"], 1, 2)
        assert each.position.seq == second["seq"]
    assert set(other.ask("unsubscribe", room)["ok"]) == set()
    assert other.ask("unsubscribe", room)["error"]["code"] == "not_subscribed"
    publish(broker, room, 2)
    one.await_events(3)
    assert other.subscribe("room/else")["recovered"]  # a later word than what it would have heard
    assert len(other.events) == 2
    assert (one.ends, one.said("error"), other.said("error")) == ([], [], [])


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_history_comes_before_the_answer_and_moves_nothing(
    broker: Broker, gateway: Gateway, node: Officials, transports: list[str]
) -> None:
    topic = f"past/{'-'.join(transports)}"
    publish(broker, topic, *range(5))
    wait_for(lambda: len(logged(broker.address["control"], topic)) == 5, what="five events")
    client = node.open("one", gateway.address["url"], transports)
    settled(client, transports)
    ok = client.subscribe(topic, history=3)
    assert [each["data"]["n"] for each in client.past] == [2, 3, 4]
    assert ok["position"] == str(client.position)
    publish(broker, topic, 5)
    client.await_events(1)
    assert client.numbers(topic) == [5]
    since = client.past[0]["seq"]
    ok = client.subscribe("past/*", since=f"{client.position.epoch:016x}.{since}")
    assert ok["recovered"] is True
    assert [each["data"]["n"] for each in client.past if each["topic"] == topic] == [2, 3, 4, 3, 4, 5]


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_a_topic_in_the_url_is_subscribed_at_once(
    broker: Broker, gateway: Gateway, node: Officials, transports: list[str]
) -> None:
    topic = f"url/{'-'.join(transports)}"
    publish(broker, topic, 0, 1)
    query = {"topic": topic, "history": 1}
    client = node.open("one", gateway.address["url"], transports, query=query)
    client.await_said("at")
    assert [each["data"]["n"] for each in client.past] == [1]
    publish(broker, topic, 2)
    client.await_events(1)
    assert client.numbers(topic) == [2]
    client.break_off()
    client.await_connects(2)
    publish(broker, topic, 3)
    client.await_events(2)
    assert client.numbers(topic) == [2, 3]
    assert client.recovered == [False, True]
    assert len(client.past) == 1  # the history was for the first time


def test_what_is_wrong_with_a_url_is_an_event(gateway: Gateway, node: Officials) -> None:
    client = node.open("one", gateway.address["url"], query={"topic": "a//b"})
    [error] = client.await_said("error")
    assert error["code"] == "bad_pattern"


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_bytes_are_attachments_both_ways(
    broker: Broker, gateway: Gateway, node: Officials, transports: list[str]
) -> None:
    topic = f"room/bytes-{'-'.join(transports)}"
    payload = bytes(range(256))
    client = node.open("one", gateway.address["url"], transports)
    settled(client, transports)
    client.subscribe(topic)
    assert "ok" in client.ask("publish", topic, payload)
    client.await_events(1)
    meta = pack_meta(1, 1, 1, Content.BINARY)
    push(broker.address["push"], [[topic.encode(), payload[::-1], meta], [topic.encode(), b'{"n":1}']])
    client.await_events(3)
    assert [each["data"] for each in client.events] == [payload, payload[::-1], {"n": 1}]
    assert next(each.payload for each in logged(broker.address["control"], topic)) == payload
    client.subscribe("room/*", history=2)
    assert [each["data"] for each in client.past if each["topic"] == topic] == [payload[::-1], {"n": 1}]


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        pytest.param("subscribe", [], "bad_request", id="no pattern"),
        pytest.param("subscribe", ["a//b"], "bad_pattern", id="no pattern that there is"),
        pytest.param("subscribe", ["a", {"histori": 1}], "bad_request", id="an unknown option"),
        pytest.param("subscribe", ["a", 7], "bad_request", id="options that are none"),
        pytest.param("publish", ["secret/a", 1], "forbidden", id="where it may not"),
        pytest.param("publish", ["room/*", 1], "bad_topic", id="to a pattern"),
        pytest.param("publish", ["room/a"], "bad_request", id="nothing"),
        pytest.param("subscribed", ["a"], "bad_request", id="an unknown event"),
    ],
)
def test_what_cannot_be_done_is_said(
    gateway: Gateway, node: Officials, name: str, args: list[Any], code: str
) -> None:
    client = node.open("one", gateway.address["url"])
    client.await_connects(1)
    assert client.ask(name, *args)["error"]["code"] == code
    client.emit(name, *args)
    [error] = client.await_said("error")
    assert error["code"] == code
    assert client.ends == []


@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("delivery", ["latest", {"hz": 10}], ids=["latest", "hz"])
def test_newest_values(
    broker: Broker, gateway: Gateway, node: Officials, transports: list[str], delivery: Any
) -> None:
    topics = [f"fast/{'-'.join(transports)}-{number}" for number in range(2)]
    client = node.open("one", gateway.address["url"], transports)
    settled(client, transports)
    for topic in topics:
        client.subscribe(topic, delivery=delivery)
    with stream(broker.address["ingest"], *topics, interval_s=0.01):
        client.await_events(20)
    publish(broker, topics[0], 1_000_000)
    client.wait(lambda: client.numbers(topics[0])[-1:] == [1_000_000], "the newest")
    for topic in topics:
        assert all(one < other for one, other in pairwise(client.numbers(topic)))
    assert all("prev" not in each for each in client.events)
    seq = client.events[-1]["seq"]
    client.wait(lambda: client.position.seq >= seq, "word that nothing older is owed")


# The broker goes, and readers that are slow


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_what_becomes_of_the_broker_is_told(tmp_path: Path, node: Officials, transports: list[str]) -> None:
    with (
        running_broker(tmp_path, durability="memory") as broker,
        running_gateway(tmp_path, broker) as gateway,
    ):
        client = node.open("one", gateway.address["url"], transports, subscribe=[["a"]])
        client.await_following()
        publish(broker, "a", 0)
        client.await_events(1)
        before = client.position
        broker.kill()
        assert client.await_said("notice")[0] == {"code": "stale", "stale": True}
        broker.start()
        assert client.await_said("notice", 2)[1] == {"code": "stale", "stale": False}
        publish(broker, "a", 1)
        client.await_events(2)
        [gap] = client.said("gap")
        assert (gap["cause"], gap["after"]) == ("epoch", str(before))
        assert client.position.epoch != before.epoch
        assert client.ends == []


def test_who_reads_late_has_everything_in_order(broker: Broker, gateway: Gateway) -> None:
    """More than all buffers on the way hold: the rest comes from the log, when it is read."""
    topic, count = "late", 10_000
    url = (
        gateway.address["url"].replace("http", "ws") + f"/socket.io/?EIO=4&transport=websocket&topic={topic}"
    )
    with connect(url, proxy=None, compression=None, close_timeout=0.1, max_queue=4) as socket:
        socket.send("40")
        while '42["at"' not in str(socket.recv(DEADLINE_S)):
            pass
        push(
            broker.address["push"],
            [[topic.encode(), json.dumps({"n": n, "more": "x" * 1_000}).encode()] for n in range(count)],
        )
        wait_for(lambda: metric(gateway, "penstock_slow_total") > 0, what="a reader that is behind")
        numbers: list[int] = []
        while len(numbers) < count:
            told = str(socket.recv(DEADLINE_S))
            if told.startswith('42["event"'):
                numbers.append(json.loads(told[2:])[1]["data"]["n"])
            assert not told.startswith('42["gap"')
        assert numbers == list(range(count))


def metric(gateway: Gateway, name: str) -> float:
    with urllib.request.urlopen(f"{gateway.address['admin']}/metrics", timeout=DEADLINE_S) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))


# The upgrade


def test_events_that_flow_fast_go_on_through_an_upgrade(
    broker: Broker, gateway: Gateway, node: Officials
) -> None:
    """Fifty of them under five hundred events a second."""
    topic, names = "upgraded", [f"client-{number}" for number in range(50)]
    with stream(broker.address["ingest"], topic, interval_s=0.002):
        for name in names:
            options: Any = {"query": {"topic": topic}, "quiet": True}
            node.open(name, gateway.address["url"], UPGRADING, **options)
        wait_for(
            lambda: all(each["transport"] == "websocket" for each in node.report().values()),
            what="fifty upgrades",
        )
        before = node.report()

        def went_on() -> bool:
            found = node.report()
            return all(newest(found[name]) > newest(before[name]) + 100 for name in names)

        wait_for(went_on, what="a hundred events more")
    for name, told in node.report().items():
        assert len(told["runs"][topic]) == 1, f"{name}: {told}"
        assert (told["connects"], told["others"]) == (1, [])


def newest(told: dict[str, Any]) -> int:
    runs: list[list[int]] = next(iter(told["runs"].values()), [])
    return runs[-1][1] if runs else -1
