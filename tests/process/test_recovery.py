"""What is killed, and what clients have afterwards: all of the log once and in order, or word of a gap."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from broker.wire import Position
from tests.support.log import logged
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push, stream
from tests.support.waiting import wait_for
from tests.support.websocket import Client, Subscription, assert_in_order, places

# Far more than any test here publishes: what is missing then is a loss, and no retention.
KEEP = 100_000
FOREIGN = "00000000deadbeef"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=KEEP) as service:
        yield service


@pytest.fixture
def gateway(tmp_path: Path, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path, broker) as service:
        yield service


def assert_agrees(subscription: Subscription, broker: Broker) -> None:
    """From its first event to its last it has exactly what the log has of that pattern."""
    events = subscription.events
    assert_in_order(events)
    kept = logged(broker.address["control"], subscription.pattern.text, events[0].seq - 1)
    assert places(events) == [event.place for event in kept if event.seq <= events[-1].seq]


def test_a_client_goes_on_by_position_at_another_gateway(
    tmp_path: Path, broker: Broker, gateway: Gateway
) -> None:
    with running_gateway(tmp_path, broker, number=1) as other, Client() as client:
        client.connect(gateway.address["own"])
        with stream(broker.address["ingest"], "load/a", "load/b"):
            followed = client.subscribe("load/*")
            for dies, goes_on in ((gateway, other), (other, gateway)):
                client.read_more(followed, 200)
                dies.kill()
                wanted = len(followed.events) + 200
                client.follow_until(
                    partial(followed.has_had, wanted), url=goes_on.address["own"], what=f"{wanted} events"
                )
                assert followed.ok is not None
                assert followed.ok["recovered"] is True
                dies.start()
        assert client.gaps == []
        assert_agrees(followed, broker)


def test_a_killed_broker_costs_clients_nothing_that_was_logged(broker: Broker, gateway: Gateway) -> None:
    with Client() as client:
        client.connect(gateway.address["url"])
        push(broker.address["push"], numbered("quiet", [1]))
        quiet = client.subscribe("quiet", history=10)
        with stream(broker.address["ingest"], "load/a", "load/b"):
            followed = client.subscribe("load/*")
            for _ in range(2):
                client.read_more(followed, 200)
                broker.kill()
                broker.start()
            client.read_more(followed, 200)
        push(broker.address["push"], numbered("quiet", [2]))
        client.read_more(quiet, 1)
        # The same connection all along, and the same log.
        assert (client.gaps, client.close_code) == ([], None)
        assert {event.epoch for event in followed.events} == {followed.events[0].epoch}
        assert_agrees(followed, broker)
        assert [event.data for event in quiet.events] == [{"n": 1}, {"n": 2}]


def test_a_log_in_memory_begins_anew_and_clients_are_told(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path, durability="memory", keep_events=KEEP) as broker,
        running_gateway(tmp_path, broker) as gateway,
        Client() as client,
    ):
        client.connect(gateway.address["url"])
        followed = client.subscribe("a/*")
        push(broker.address["push"], numbered("a/1", range(50)))
        client.read_more(followed, 50)
        before = client.position
        broker.kill()
        broker.start()
        push(broker.address["push"], numbered("a/1", range(20)))
        client.read_more(followed, 20)
        assert before is not None
        assert [(gap["cause"], gap["after"]) for gap in client.gaps] == [("epoch", str(before))]
        new = [event for event in followed.events if event.epoch != before.epoch]
        assert [event.data["n"] for event in new] == list(range(20))
        assert places(new) == [event.place for event in logged(broker.address["control"], "a/*")]
        assert client.close_code is None


def test_a_subscription_added_to_a_live_one_disturbs_neither(broker: Broker, gateway: Gateway) -> None:
    with Client() as client, stream(broker.address["ingest"], "load/a", "load/b"):
        client.connect(gateway.address["url"])
        first = client.subscribe("load/a")
        client.read_more(first, 100)
        overlapping = client.subscribe("load/*", history=20)
        assert overlapping.ok is not None
        assert overlapping.ok["recovered"] is True
        cut = Position.parse(overlapping.ok["position"]).seq
        past = [event for event in overlapping.events if event.seq <= cut]
        assert Counter(event.topic for event in past) == {"load/a": 20, "load/b": 20}
        everything = client.subscribe("**", since=str(Position(past[0].epoch, past[0].seq)))
        for subscription in (first, overlapping, everything):
            client.read_more(subscription, 100)
            assert_agrees(subscription, broker)
        assert client.gaps == []


def test_history_is_the_newest_of_each_topic_by_seq(broker: Broker, gateway: Gateway) -> None:
    topics = ("a/x", "a/y", "a/z")
    # Over one connection: between several there is no order.
    events = [numbered(topic, range(count)) for topic, count in zip(topics, (1, 5, 30), strict=True)]
    push(broker.address["push"], [*chain.from_iterable(events), *numbered("a/x", [1])])
    with Client() as client:
        client.connect(gateway.address["url"])
        taken = client.subscribe("a/*", history=4)
        assert taken.ok is not None
        assert taken.ok == {"position": str(client.position), "recovered": True}
        assert [(event.topic, event.data["n"]) for event in taken.events] == [
            ("a/x", 0),
            *(("a/y", n) for n in (1, 2, 3, 4)),
            *(("a/z", n) for n in (26, 27, 28, 29)),
            ("a/x", 1),
        ]


def test_history_beyond_the_limit_is_cut_and_says_so(tmp_path: Path, broker: Broker) -> None:
    for topic in ("a/x", "a/y"):
        push(broker.address["push"], numbered(topic, range(20)))
    with running_gateway(tmp_path, broker, history_max=10) as gateway, Client() as client:
        client.connect(gateway.address["url"])
        assert client.welcome["limits"]["history"] == 10
        whole = client.subscribe("a/x", history=10)
        assert whole.ok == {"position": str(client.position), "recovered": True}
        cut = client.subscribe("a/*", history=10)
        assert cut.ok == {"position": str(client.position), "recovered": True, "truncated": True}
        assert [(event.topic, event.data["n"]) for event in cut.events] == [("a/y", n) for n in range(10, 20)]


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def at(epoch: int, seq: int) -> str:
    return str(Position(epoch, seq))


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Gateway]]:
    """A log that has let most of `a` go, and all of `b` still has."""
    folder = tmp_path_factory.mktemp("trimmed")
    with running_broker(folder, keep_events=5) as broker, running_gateway(folder, broker) as gateway:
        push(broker.address["push"], numbered("b", [1]))
        push(broker.address["push"], numbered("a", range(3_000)))

        def kept() -> bool:
            events = logged(broker.address["control"], "a")
            return bool(events) and events[-1].nth == 3_000 and events[0].nth > 1_000

        wait_for(kept, what="retention has been at work")
        yield broker, gateway


@pytest.mark.parametrize(
    ("pattern", "epoch", "seq", "causes", "has_past"),
    [
        pytest.param("a", None, 3_000, set(), True, id="all of it is kept"),
        pytest.param("a", None, 3_001, set(), False, id="up to date"),
        pytest.param("b", None, 0, set(), True, id="a topic that lost nothing"),
        pytest.param("a", None, 10, {"retention"}, True, id="too old"),
        pytest.param("**", None, 0, {"retention"}, True, id="too old for one topic of many"),
        pytest.param("a", None, 999_999, {"future"}, False, id="beyond the head"),
        pytest.param("b", FOREIGN, 7, {"epoch"}, True, id="of another log"),
        # What this log has since it began comes all the same, with the holes that are in it.
        pytest.param("a", FOREIGN, 999_999, {"epoch", "retention"}, True, id="far on in another log"),
    ],
)
def test_since_is_recovered_or_tells_the_gap(
    trimmed: tuple[Broker, Gateway],
    pattern: str,
    epoch: str | None,
    seq: int,
    causes: set[str],
    has_past: bool,
) -> None:
    broker, gateway = trimmed
    with Client() as client:
        client.connect(gateway.address["url"])
        own = Position.parse(client.welcome["position"]).epoch
        since = at(int(epoch, 16) if epoch else own, seq)
        followed = client.subscribe(pattern, since=since)
        assert followed.ok is not None
        assert followed.ok["recovered"] is (not causes)
        assert {gap["cause"] for gap in client.gaps} == causes
        assert [gap["after"] for gap in client.gaps[:1]] == [since][: len(causes)]
        assert bool(followed.events) is has_past
        kept = {event.place for event in logged(broker.address["control"], pattern, 0 if epoch else seq)}
        assert set(places(followed.events)) >= kept  # retention may have taken some since
        assert Position.parse(followed.ok["position"]).seq <= 3_001


@pytest.mark.parametrize(
    ("epoch", "seq", "recovered", "first"),
    [
        pytest.param(None, 3_000, True, 3_000, id="all of it is kept"),
        pytest.param(None, 3_001, True, None, id="up to date"),
        pytest.param(None, 10, False, None, id="too old"),
        pytest.param(None, 999_999, False, None, id="beyond the head"),
        pytest.param(FOREIGN, 3_000, False, None, id="of another log"),
    ],
)
def test_history_over_http_says_whether_it_is_whole(
    trimmed: tuple[Broker, Gateway], epoch: str | None, seq: int, recovered: bool, first: int | None
) -> None:
    _, gateway = trimmed
    url = f"{gateway.address['url']}/api/topics/a/history"
    own = Position.parse(get_json(url)["position"]).epoch
    page = get_json(f"{url}?since={at(int(epoch, 16) if epoch else own, seq)}&limit=2000")
    assert page["recovered"] is recovered
    assert Position.parse(page["position"]) == Position(own, 3_001)
    if recovered:
        assert [event["nth"] for event in page["events"]] == ([first] if first else [])
    else:
        # What there is all the same, to its newest.
        assert page["events"][-1]["nth"] == 3_000
