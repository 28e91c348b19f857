"""Official Socket.IO clients that break off: they go on where they were, at any gateway, or are told."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.official import POLLING, TRANSPORTS, UPGRADING, WEBSOCKET, Official, Officials
from tests.support.processes import Broker, Gateway
from tests.support.proxy import Proxy, proxied
from tests.support.sending import publish, stream
from tests.support.waiting import wait_for


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_it_goes_on_here_and_elsewhere_again_and_again(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    topic = f"again/{'-'.join(transports)}"
    client = node.open("one", gateways[0].address["own"], transports, subscribe=[[topic]])
    client.await_following()
    pid = client.connects[0]["pid"]
    with stream(broker.address["ingest"], topic):
        client.await_events(20)
        for turn in range(1, 9):
            client.move(gateways[turn // 2 % 2].address["own"])
            client.break_off()
            client.await_connects(turn + 1)
            client.await_events(len(client.events) + 20)
    client.assert_each_once(topic)
    assert client.recovered == [False] + [True] * 8
    assert {each["pid"] for each in client.connects} == {pid}
    assert len(client.subscribed) == 1


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_before_its_first_event(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    """socket.io #4888 and #5538: others know no place of a client that has heard nothing."""
    topic = f"early/{'-'.join(transports)}"
    client = node.open("one", gateways[0].address["own"], transports, subscribe=[[topic]])
    client.await_following()
    client.move(gateways[1].address["own"])
    client.break_off()
    publish(broker, topic, 0)
    client.await_connects(2)
    publish(broker, topic, 1)
    client.await_events(2)
    assert client.numbers(topic) == [0, 1]
    assert client.recovered == [False, True]


def test_at_its_very_first_word(broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials) -> None:
    """Before it has subscribed there is nothing to be missed."""
    client = node.open("one", gateways[0].address["own"], subscribe=[["word"]])
    client.break_on("at", times=5)
    client.await_connects(6)
    client.await_following()
    publish(broker, "word", 0)
    client.await_events(1)
    assert client.recovered[:2] == [False, True]
    assert client.numbers("word") == [0]


def test_many_breaks_at_any_time(broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials) -> None:
    """At the first event of each connection, or the first word of where they are, wherever it comes."""
    with stream(broker.address["ingest"], "load"):
        for number, transports in enumerate((POLLING, UPGRADING, WEBSOCKET) * 5):
            name = f"client-{number}"
            client = node.open(
                name, gateways[number % 2].address["own"], transports, subscribe=[["load"]], quiet=True
            )
            client.break_on("event" if number % 2 else "at", times=10)

        def all_back() -> bool:
            found = node.report().values()
            return all(each["connects"] > 10 and each["runs"]["load"][-1][1] > 3_000 for each in found)

        wait_for(all_back, what=lambda: f"all have broken off ten times: {node.report()}")
    for name, told in node.report().items():
        assert len(told["runs"]["load"]) == 1, f"{name}: {told}"
        assert told["anew"] == 1


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_a_gateway_that_is_killed(
    broker: Broker, fragile: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    topic = f"killed/{'-'.join(transports)}"
    first, second = fragile
    client = node.open("one", first.address["own"], transports, subscribe=[[topic], ["quiet"]])
    client.await_following(2)
    with stream(broker.address["ingest"], topic):
        for turn, (dies, goes_on) in enumerate(((first, second), (second, first)), 2):
            client.await_events(len(client.events) + 50)
            client.move(goes_on.address["own"])
            dies.kill()
            client.await_connects(turn)
            client.await_events(len(client.events) + 50)
            dies.start()
        # It may come back before that one has heard of the broker, and of the key of all tokens.
        second.kill()
        first.kill()
        first.start()
        client.await_connects(4)
        client.await_events(len(client.events) + 50)
    client.assert_each_once(topic)
    assert client.recovered == [False, True, True, True]


def is_cut(way: Proxy, client: Official, times: int) -> bool:
    """It has ended so often. Else the next look may find it so: between two polls nothing can be cut."""
    if len(client.ends) < times:
        way.cut()
        return False
    return True


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_a_network_that_breaks(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    topic = f"cut/{'-'.join(transports)}"
    with proxied(gateways[0].address["own"]) as way:
        client = node.open("one", way.address, transports, subscribe=[[topic]])
        client.await_following()
        with stream(broker.address["ingest"], topic):
            for turn in range(2, 5):
                client.await_events(len(client.events) + 30)
                wait_for(partial(is_cut, way, client, turn - 1), what="an end")
                client.await_connects(turn)
            client.await_events(len(client.events) + 30)
    client.assert_each_once(topic)
    assert client.recovered == [False, True, True, True]


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_a_gateway_that_leaves(
    broker: Broker, fragile: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    """By the transport's end alone: from a disconnect packet official clients do not come back."""
    topic = f"leaves/{'-'.join(transports)}"
    first, second = fragile
    client = node.open("one", first.address["own"], transports, subscribe=[[topic]])
    client.await_following()
    with stream(broker.address["ingest"], topic):
        client.await_events(50)
        client.move(second.address["own"])
        assert first.stop() == 0
        client.await_connects(2)
        client.await_events(len(client.events) + 50)
    client.assert_each_once(topic)
    assert client.recovered == [False, True]
    # Over polling the next poll says so.
    assert client.ends == ["transport error" if transports == POLLING else "transport close"]
    if transports != POLLING:
        assert client.said("notice")[0]["code"] == "draining"
