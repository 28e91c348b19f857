"""Official Socket.IO clients that break off: they go on where they were, at any gateway, or are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.log import logged
from tests.support.official import POLLING, UPGRADING, WEBSOCKET, Official, Officials, officials
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.proxy import Proxy, proxied
from tests.support.sending import numbered, push, stream
from tests.support.waiting import DEADLINE_S, wait_for

TRANSPORTS = [
    pytest.param(POLLING, id="polling"),
    pytest.param(UPGRADING, id="upgrading"),
    pytest.param(WEBSOCKET, id="websocket"),
]


@contextmanager
def two_gateways(folder: Path, broker: Broker, **settings: Any) -> Iterator[tuple[Gateway, Gateway]]:
    """Of one set: they share a port."""
    with running_gateway(folder, broker, **settings) as first:
        port = first.address["url"].rsplit(":", 1)[1]
        with running_gateway(folder, broker, number=1, port=port, **settings) as second:
            yield first, second


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker"), keep_events=100_000) as service:
        yield service


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[tuple[Gateway, Gateway]]:
    with two_gateways(tmp_path_factory.mktemp("gateways"), broker) as both:
        yield both


@pytest.fixture
def fragile(tmp_path: Path, broker: Broker) -> Iterator[tuple[Gateway, Gateway]]:
    """For those that end them."""
    with two_gateways(tmp_path, broker) as both:
        yield both


@pytest.fixture
def node() -> Iterator[Officials]:
    with officials() as process:
        yield process


def own(gateway: Gateway) -> str:
    return gateway.address["own"]


def publish(broker: Broker, topic: str, *numbers: int) -> None:
    push(broker.address["push"], numbered(topic, numbers))


def go_away(client: Official) -> None:
    """Until it is moved elsewhere."""
    client.move("http://127.0.0.1:1")
    client.break_off()
    client.wait(lambda: client.errors, "that nobody is there")


def assert_each_once(client: Official, topic: str) -> None:
    """From its first to its last, in order."""
    found = client.numbers(topic)
    assert found == list(range(found[0], found[0] + len(found)))
    assert client.said("gap") == []


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_it_goes_on_here_and_elsewhere_again_and_again(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    topic = f"again/{'-'.join(transports)}"
    client = node.open("one", own(gateways[0]), transports, subscribe=[[topic]])
    client.await_following()
    pid = client.connects[0]["pid"]
    with stream(broker.address["ingest"], topic):
        client.await_events(20)
        for turn in range(1, 9):
            client.move(own(gateways[turn // 2 % 2]))
            client.break_off()
            client.await_connects(turn + 1)
            client.await_events(len(client.events) + 20)
    assert_each_once(client, topic)
    assert client.recovered == [False] + [True] * 8
    assert {each["pid"] for each in client.connects} == {pid}
    assert len(client.subscribed) == 1


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_before_its_first_event(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    """socket.io #4888 and #5538: others know no place of a client that has heard nothing."""
    topic = f"early/{'-'.join(transports)}"
    client = node.open("one", own(gateways[0]), transports, subscribe=[[topic]])
    client.await_following()
    client.move(own(gateways[1]))
    client.break_off()
    publish(broker, topic, 0)
    client.await_connects(2)
    publish(broker, topic, 1)
    client.await_events(2)
    assert client.numbers(topic) == [0, 1]
    assert client.recovered == [False, True]


def test_at_its_very_first_word(broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials) -> None:
    """Before it has subscribed there is nothing to be missed."""
    client = node.open("one", own(gateways[0]), subscribe=[["word"]])
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
            client = node.open(name, own(gateways[number % 2]), transports, subscribe=[["load"]], quiet=True)
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
    client = node.open("one", own(first), transports, subscribe=[[topic], ["quiet"]])
    client.await_following(2)
    with stream(broker.address["ingest"], topic):
        for turn, (dies, goes_on) in enumerate(((first, second), (second, first)), 2):
            client.await_events(len(client.events) + 50)
            client.move(own(goes_on))
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
    assert_each_once(client, topic)
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
    with proxied(own(gateways[0])) as way:
        client = node.open("one", way.address, transports, subscribe=[[topic]])
        client.await_following()
        with stream(broker.address["ingest"], topic):
            for turn in range(2, 5):
                client.await_events(len(client.events) + 30)
                wait_for(partial(is_cut, way, client, turn - 1), what="an end")
                client.await_connects(turn)
            client.await_events(len(client.events) + 30)
    assert_each_once(client, topic)
    assert client.recovered == [False, True, True, True]


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_a_gateway_that_leaves(
    broker: Broker, fragile: tuple[Gateway, Gateway], node: Officials, transports: list[str]
) -> None:
    """By the transport's end alone: from a disconnect packet official clients do not come back."""
    topic = f"leaves/{'-'.join(transports)}"
    first, second = fragile
    client = node.open("one", own(first), transports, subscribe=[[topic]])
    client.await_following()
    with stream(broker.address["ingest"], topic):
        client.await_events(50)
        client.move(own(second))
        assert first.stop() == 0
        client.await_connects(2)
        client.await_events(len(client.events) + 50)
    assert_each_once(client, topic)
    assert client.recovered == [False, True]
    # Over polling the next poll says so.
    assert client.ends == ["transport error" if transports == POLLING else "transport close"]
    if transports != POLLING:
        assert client.said("notice")[0]["code"] == "draining"


# What it had


def test_what_was_unsubscribed_is_not_restored(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials
) -> None:
    client = node.open("one", own(gateways[0]), subscribe=[["set/a"], ["set/b"]])
    client.await_following(2)
    assert "ok" in client.ask("unsubscribe", "set/a")
    client.move(own(gateways[1]))
    client.break_off()
    client.await_connects(2)
    for topic in ("set/a", "set/b"):
        publish(broker, topic, 1)
    client.await_events(1)
    assert client.recovered == [False, True]
    assert client.ask("unsubscribe", "set/a")["error"]["code"] == "not_subscribed"
    assert "ok" in client.ask("unsubscribe", "set/b")
    assert [each["topic"] for each in client.events] == ["set/b"]


def test_newest_values_go_on_with_what_changed(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials
) -> None:
    patterns = [["new/*", {"delivery": "latest"}]]
    client = node.open("one", own(gateways[0]), subscribe=patterns)
    client.await_following()
    publish(broker, "new/a", 1)
    publish(broker, "new/b", 1)
    client.await_events(2)
    client.wait(lambda: client.position.seq >= client.events[-1]["seq"], "word that nothing is owed")
    go_away(client)
    publish(broker, "new/a", *range(2, 100))
    client.move(own(gateways[1]))
    client.await_connects(2)
    client.wait(lambda: client.numbers("new/a")[-1:] == [99], "the newest")
    assert client.recovered == [False, True]
    assert client.numbers("new/b") == [1]


def test_all_of_some_and_less_of_others(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials
) -> None:
    """Of the former everything once, of the latter the newest of each, what was kept back included."""
    patterns: list[list[Any]] = [["mixed/all"], ["mixed/new/*", {"delivery": {"hz": 1}}]]
    client = node.open("one", own(gateways[0]), subscribe=patterns)
    client.await_following(2)
    for number in range(20):
        publish(broker, "mixed/new/a", number)
        publish(broker, "mixed/all", number)
    client.wait(lambda: len(client.numbers("mixed/all")) == 20, "all of the ones")
    go_away(client)
    publish(broker, "mixed/new/b", 1, 2)
    publish(broker, "mixed/all", 20)
    client.move(own(gateways[1]))
    client.await_connects(2)
    client.wait(lambda: client.numbers("mixed/new/b")[-1:] == [2], "the newest")
    client.wait(lambda: client.numbers("mixed/new/a")[-1:] == [19], "the newest that was kept back")
    publish(broker, "mixed/all", 21)
    client.wait(lambda: client.numbers("mixed/all")[-1:] == [21], "what comes")
    assert client.numbers("mixed/all") == list(range(22))
    assert client.recovered == [False, True]


# What is gone


def test_what_the_log_has_let_go(tmp_path: Path, node: Officials) -> None:
    with running_broker(tmp_path, keep_events=5) as broker, running_gateway(tmp_path, broker) as gateway:
        client = node.open("one", own(gateway), subscribe=[["a"]])
        client.await_following()
        publish(broker, "a", 0)
        client.await_events(1)
        go_away(client)
        publish(broker, "a", *range(1, 3_000))
        wait_for(lambda: logged(broker.address["control"], "a")[0].nth > 1_000, what="retention")
        # Nobody has it any more: neither the log nor a ring.
        gateway.kill()
        gateway.start()
        client.move(own(gateway))
        client.await_following(2)
        publish(broker, "a", 3_000)
        client.await_events(2)
        assert client.numbers("a") == [0, 3_000]
        assert client.recovered == [False, False]
        assert len({each["pid"] for each in client.connects}) == 2


def test_another_log(tmp_path: Path, node: Officials) -> None:
    with (
        running_broker(tmp_path, durability="memory") as broker,
        running_gateway(tmp_path, broker) as gateway,
    ):
        client = node.open("one", own(gateway), subscribe=[["a"]])
        client.await_following()
        publish(broker, "a", 0)
        client.await_events(1)
        before = client.position.epoch
        go_away(client)
        broker.kill()
        broker.start()
        other = node.open("other", own(gateway))
        other.wait(
            lambda: (other.subscribe("b"), other.position.epoch != before)[1], "a gateway in the new log"
        )
        client.move(own(gateway))
        client.await_following(2)
        publish(broker, "a", 1)
        client.await_events(2)
        assert client.recovered == [False, False]
        # The tokens of before were sealed with the same key: nobody else begins anew for that.
        client.break_off()
        client.await_connects(3)
        assert client.recovered == [False, False, True]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pid, offset: {"pid": pid[:-1] + ("A" if pid[-1] != "A" else "B")}, id="its seal"),
        pytest.param(lambda pid, offset: {"pid": "f" * len(pid)}, id="a token of nobody"),
        pytest.param(lambda pid, offset: {"offset": moved(offset, 1_000_000)}, id="beyond the head"),
        pytest.param(lambda pid, offset: {"offset": moved(offset, -1_000_000)}, id="before it came"),
        pytest.param(lambda pid, offset: {"offset": "0" * 16 + offset[16:]}, id="another log"),
        pytest.param(lambda pid, offset: {"offset": f"{offset[:-22]}{'A' * 22}"}, id="a set of nobody"),
        pytest.param(lambda pid, offset: {"offset": offset[:-1]}, id="no offset"),
    ],
)
def test_what_is_forged(
    broker: Broker,
    gateways: tuple[Gateway, Gateway],
    node: Officials,
    change: Callable[[str, str], dict[str, str]],
) -> None:
    client = node.open("one", own(gateways[0]), subscribe=[["forged"]])
    client.await_following()
    client.forge(**change(client.connects[0]["pid"], client.offset))
    client.break_off()
    client.await_following(2)
    assert client.recovered == [False, False]
    publish(broker, "forged", 1)
    client.await_events(1)
    assert len(client.events) == 1


def moved(offset: str, by: int) -> str:
    epoch, seq, name = offset.split(".")
    return f"{epoch}.{max(0, int(seq) + by)}.{name}"


# One at a time


@contextmanager
def twin(gateway: Gateway, pid: str, offset: str) -> Iterator[ClientConnection]:
    """A client that comes with another one's token and offset; it has been let in."""
    url = own(gateway).replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    with connect(url, proxy=None, compression=None, close_timeout=0.1) as socket:
        assert str(socket.recv(DEADLINE_S)).startswith("0{")
        socket.send("40" + json.dumps({"pid": pid, "offset": offset}))
        told = json.loads(str(socket.recv(DEADLINE_S))[2:])
        assert told["pid"] == pid
        yield socket


@pytest.mark.parametrize("place", [0, 1], ids=["at the same gateway", "at another"])
@pytest.mark.parametrize("transports", TRANSPORTS)
def test_the_older_connection_ends(
    broker: Broker,
    gateways: tuple[Gateway, Gateway],
    node: Officials,
    place: int,
    transports: list[str],
) -> None:
    topic = f"twin/{place}/{'-'.join(transports)}"
    client = node.open("one", own(gateways[0]), transports, subscribe=[[topic]])
    client.await_following()
    with twin(gateways[place], client.connects[0]["pid"], client.offset) as socket:
        client.wait(lambda: client.ends, "an end")
        # It comes back, and is the newer one then.
        with pytest.raises(ConnectionClosed):
            while socket.recv(DEADLINE_S):
                pass
    client.await_connects(2)
    publish(broker, topic, 1)
    client.await_events(1)
    assert client.recovered == [False, True]
    assert client.ends[0] in ("transport close", "transport error")


def test_one_of_which_the_gateway_does_not_know_that_it_is_gone(
    tmp_path: Path, broker: Broker, node: Officials
) -> None:
    """socket.io #4880: when the time of the older connection was over, nobody could go on any more."""
    with (
        two_gateways(tmp_path, broker, ping_interval_s=1, ping_timeout_s=1) as (first, second),
        proxied(own(first)) as way,
    ):
        client = node.open("one", way.address, subscribe=[["unknown"]])
        client.await_following()
        way.block()
        client.move(own(second))
        client.break_off()
        client.await_connects(2)
        with stream(broker.address["ingest"], "unknown"):
            client.await_events(2_000)  # the other one's time is over
            for turn, gateway in enumerate((first, second, first), 3):
                client.move(own(gateway))
                client.break_off()
                client.await_connects(turn)
                client.await_events(len(client.events) + 20)
        assert_each_once(client, "unknown")
        assert client.recovered == [False] + [True] * 4
