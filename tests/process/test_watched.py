"""Who watches, as producers hear it: browsers that come and go, and a broker that is killed."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from broker.errors import BadPattern, BadSetting, BadTopic
from producer import Publisher, Subscriber, demand
from tests.support.log import logged
from tests.support.processes import Broker, Gateway, Service, running
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client

TOPIC = "room/temperature"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as service:
        yield service


@pytest.fixture
def gateway(tmp_path: Path, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path, broker, linger_s=0) as service:
        yield service


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for after a connect: what is known counts at once."""
    monkeypatch.setattr(demand, "SETTLE_S", 0.0)


def publisher(broker: Broker) -> Publisher:
    address = broker.address
    return Publisher(address["ingest"], feed=address["feed"], control=address["control"])


@pytest.mark.usefixtures("soon")
def test_a_topic_is_watched_while_a_browser_follows_it(broker: Broker, gateway: Gateway) -> None:
    told: list[bool] = []
    with publisher(broker) as publishing:
        publishing.on_watched("room/*", told.append)
        wait_for(lambda: not publishing.watched(TOPIC), what="it is known that nobody watches")
        for number in range(2):
            with Client() as client:
                client.connect(gateway.address["url"])
                client.subscribe("room/**")
                wait_for(lambda: publishing.watched(TOPIC), what="somebody watches")
                assert not publishing.watched("rooms")
                publishing.publish(TOPIC, number)
                client.read_events(client.subscriptions["room/**"], 1)
            wait_for(lambda: not publishing.watched(TOPIC), what="nobody watches any more")
        wait_for(lambda: told[-5:] == [False, True, False, True, False], what=lambda: f"each change: {told}")
        assert len(told) <= 6  # before it was known it may have been told as watched


def test_nothing_is_left_out_while_a_broker_and_its_subscribers_come_back(
    broker: Broker, gateway: Gateway
) -> None:
    with publisher(broker) as publishing, Client() as client:
        client.connect(gateway.address["url"])
        client.subscribe("room/**")
        wait_for(lambda: not publishing.watched("nobody"), what="it is known who watches what")
        told: list[bool] = []
        publishing.on_watched(TOPIC, told.append)
        broker.kill()
        broker.start()
        wait_for(lambda: publishing.watched("nobody"), what="the break is seen")
        wait_for(lambda: not publishing.watched("nobody"), what="it is known again")
        assert publishing.watched(TOPIC)
        assert told == [True]


@pytest.mark.usefixtures("soon")
def test_subscribers_of_all_kinds_count(broker: Broker) -> None:
    with publisher(broker) as publishing:
        publishing.watched(TOPIC)
        wait_for(lambda: not publishing.watched(TOPIC), what="it is known that nobody watches")
        with Subscriber("**", feed=broker.address["feed"], control=broker.address["control"]):
            wait_for(lambda: publishing.watched(TOPIC), what="a subscriber watches")
        wait_for(lambda: not publishing.watched(TOPIC), what="it has gone")


def test_without_a_broker_everything_is_watched() -> None:
    address = "tcp://127.0.0.1:1"
    with Publisher(address, feed=address, control=address, close_s=0.1) as publishing:
        told: list[bool] = []
        publishing.on_watched("**", told.append)
        wait_for(lambda: told, what="it is told")
        assert (told, publishing.watched(TOPIC)) == ([True], True)


def test_who_does_not_ask_pays_nothing_and_who_asks_has_one_thread(broker: Broker) -> None:
    before = threading.active_count()
    publishing = publisher(broker)
    assert threading.active_count() == before
    for _ in range(3):
        publishing.watched(TOPIC)
        publishing.on_watched("**", lambda _: None)
    assert threading.active_count() == before + 1
    publishing.close()
    assert threading.active_count() == before
    forgotten = publisher(broker)
    forgotten.watched(TOPIC)
    assert threading.active_count() == before + 1
    del forgotten
    gc.collect()
    wait_for(lambda: threading.active_count() == before, what="its thread has ended")


@pytest.mark.usefixtures("soon")
def test_a_callback_that_fails_is_logged_and_the_others_go_on(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[bool] = []

    def fail(_: bool) -> None:
        raise ValueError("no camera")

    with publisher(broker) as publishing:
        publishing.on_watched("a", fail)
        stop = publishing.on_watched("a", told.append)
        wait_for(lambda: told[-1:] == [False], what="it is told that nobody watches")
        stop()
        with Subscriber("a", feed=broker.address["feed"], control=broker.address["control"]):
            wait_for(lambda: publishing.watched("a"), what="a subscriber watches")
        assert told[-1:] == [False]
    assert "a callback failed pattern=a watched=False" in caplog.text and "no camera" in caplog.text


def test_a_wrong_use_raises(broker: Broker) -> None:
    with (
        Publisher(broker.address["ingest"]) as elsewhere,
        pytest.raises(BadSetting, match="feed= and control="),
    ):
        elsewhere.watched(TOPIC)
    with publisher(broker) as publishing:
        with pytest.raises(BadTopic):
            publishing.watched("room/*")
        with pytest.raises(BadPattern):
            publishing.on_watched("room/**/a", lambda _: None)
    with pytest.raises(RuntimeError, match="closed"):
        publishing.watched(TOPIC)
    with pytest.raises(RuntimeError, match="closed"):
        publishing.on_watched("**", lambda _: None)


def test_the_demo_publishes_less_while_nobody_looks(broker: Broker, tmp_path: Path) -> None:
    links = {name: broker.address[name] for name in ("ingest", "feed", "control")}
    env = {f"PENSTOCK_PRODUCER__{name.upper()}": address for name, address in links.items()}
    with running(Service("demo", ["-m", "producer.demo"], env, tmp_path)):

        def steps_ms(count: int) -> list[float]:
            """Between the newest points, as soon as there are so many more."""
            after = len(logged(broker.address["control"], "graph"))
            wait_for(
                lambda: len(logged(broker.address["control"], "graph")) > after + count, what="more points"
            )
            points = [json.loads(event.payload)["x"] for event in logged(broker.address["control"], "graph")]
            return [later - before for before, later in pairwise(points[-count - 1 :])]

        wait_for(lambda: min(steps_ms(4)) > 200, what="one point in five")
        with Subscriber("graph", feed=links["feed"], control=links["control"]) as subscriber:
            assert subscriber.wait(DEADLINE_S)
            wait_for(lambda: sum(steps_ms(4)) < 4 * 200, what="every point")
