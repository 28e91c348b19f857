"""With what official Socket.IO clients come back: what it restores, what is gone, and who else has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.log import logged
from tests.support.official import TRANSPORTS, Officials
from tests.support.processes import Broker, Gateway, two_gateways
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.proxy import proxied
from tests.support.sending import publish, stream
from tests.support.waiting import DEADLINE_S, wait_for

# What it had


def test_what_was_unsubscribed_is_not_restored(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials
) -> None:
    client = node.open("one", gateways[0].address["own"], subscribe=[["set/a"], ["set/b"]])
    client.await_following(2)
    assert "ok" in client.ask("unsubscribe", "set/a")
    client.move(gateways[1].address["own"])
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
    client = node.open("one", gateways[0].address["own"], subscribe=patterns)
    client.await_following()
    publish(broker, "new/a", 1)
    publish(broker, "new/b", 1)
    client.await_events(2)
    client.wait(lambda: client.position.seq >= client.events[-1]["seq"], "word that nothing is owed")
    client.go_away()
    publish(broker, "new/a", *range(2, 100))
    client.move(gateways[1].address["own"])
    client.await_connects(2)
    client.wait(lambda: client.numbers("new/a")[-1:] == [99], "the newest")
    assert client.recovered == [False, True]
    assert client.numbers("new/b") == [1]


def test_all_of_some_and_less_of_others(
    broker: Broker, gateways: tuple[Gateway, Gateway], node: Officials
) -> None:
    """Of the former everything once, of the latter the newest of each, what was kept back included."""
    patterns: list[list[Any]] = [["mixed/all"], ["mixed/new/*", {"delivery": {"hz": 1}}]]
    client = node.open("one", gateways[0].address["own"], subscribe=patterns)
    client.await_following(2)
    for number in range(20):
        publish(broker, "mixed/new/a", number)
        publish(broker, "mixed/all", number)
    client.wait(lambda: len(client.numbers("mixed/all")) == 20, "all of the ones")
    client.go_away()
    publish(broker, "mixed/new/b", 1, 2)
    publish(broker, "mixed/all", 20)
    client.move(gateways[1].address["own"])
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
        client = node.open("one", gateway.address["own"], subscribe=[["a"]])
        client.await_following()
        publish(broker, "a", 0)
        client.await_events(1)
        client.go_away()
        publish(broker, "a", *range(1, 3_000))
        wait_for(lambda: logged(broker.address["control"], "a")[0].nth > 1_000, what="retention")
        # Nobody has it any more: neither the log nor a ring.
        gateway.kill()
        gateway.start()
        client.move(gateway.address["own"])
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
        client = node.open("one", gateway.address["own"], subscribe=[["a"]])
        client.await_following()
        publish(broker, "a", 0)
        client.await_events(1)
        before = client.position.epoch
        client.go_away()
        broker.kill()
        broker.start()
        other = node.open("other", gateway.address["own"])
        other.wait(
            lambda: (other.subscribe("b"), other.position.epoch != before)[1], "a gateway in the new log"
        )
        client.move(gateway.address["own"])
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
    client = node.open("one", gateways[0].address["own"], subscribe=[["forged"]])
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
    url = gateway.address["own"].replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
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
    client = node.open("one", gateways[0].address["own"], transports, subscribe=[[topic]])
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
        proxied(first.address["own"]) as way,
    ):
        client = node.open("one", way.address, subscribe=[["unknown"]])
        client.await_following()
        way.block()
        client.move(second.address["own"])
        client.break_off()
        client.await_connects(2)
        with stream(broker.address["ingest"], "unknown"):
            client.await_events(2_000)  # the other one's time is over
            for turn, gateway in enumerate((first, second, first), 3):
                client.move(gateway.address["own"])
                client.break_off()
                client.await_connects(turn)
                client.await_events(len(client.events) + 20)
        client.assert_each_once("unknown")
        assert client.recovered == [False] + [True] * 4
