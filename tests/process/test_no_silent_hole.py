"""Whatever is dropped, held up or cut between real sockets: a client gets it all the same, once and in
order, or is told exactly what it lacks; and what never reached the broker is counted.

Each test makes sure that the fault has struck before it looks at what became of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import zmq

from broker import control
from broker.control import DemandPage
from broker.wire import DROPS_MODULO, Content, Position, pack_meta
from producer import Publisher
from tests.support.log import ask, logged, status
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.proxy import Proxy, proxied
from tests.support.sending import numbered, push, stream
from tests.support.waiting import wait_for
from tests.support.websocket import Client, Subscription, assert_in_order, places

KEEP = 100_000
HIGH_WATER = 20
FILLER = b"x" * 40_000
NOISE = b"x" * 1_000_000
FLOOD = 50
FLOODS_MAX = 20  # no queue and no kernel holds 40 MB


@contextmanager
def distant(
    tmp_path: Path, to: Broker, number: int = 0, **settings: object
) -> Iterator[tuple[Gateway, Proxy, Proxy]]:
    """A gateway behind a network of its own: it, its way to the feed, and its way to control."""
    with (
        proxied(to.address["feed"]) as feed,
        proxied(to.address["control"]) as asked,
        running_gateway(
            tmp_path, to, number, feed=feed.address, control=asked.address, **settings
        ) as gateway,
    ):
        yield gateway, feed, asked


def drops(broker: Broker) -> int:
    """Messages that the feed's high-water mark has cost."""
    return status(broker.address["control"]).at.drops


def flood(broker: Broker, topic: str) -> int:
    """Publish until a subscriber has lost some of it, and more. How many events that took."""
    before = drops(broker)
    for count in range(FLOOD, FLOOD * FLOODS_MAX, FLOOD):
        logs(broker, [[topic.encode(), FILLER]] * FLOOD)
        if drops(broker) > before:
            logs(broker, [[topic.encode(), FILLER]] * FLOOD)
            return count + FLOOD
    raise AssertionError("all of it fits into the queues")


def logs(broker: Broker, messages: Sequence[Sequence[bytes]]) -> None:
    """Publish; returns when it is logged and forwarded."""
    wanted = status(broker.address["control"]).logged + len(messages)
    push(broker.address["push"], messages)
    wait_for(lambda: status(broker.address["control"]).logged >= wanted, what="all of it is logged")


def assert_has_all(subscription: Subscription, broker: Broker, after: int = 0) -> None:
    """All that the log has of its pattern beyond that seq, once and in order."""
    assert_in_order(subscription.events)
    kept = logged(broker.address["control"], subscription.pattern.text, after)
    assert places(subscription.events) == [event.place for event in kept]


# The feed's high-water mark


@pytest.mark.parametrize(
    "way", ["a gateway that is stopped", "a link that is blocked", "a link that is slow"]
)
def test_what_the_high_water_mark_drops_is_read_from_the_log(tmp_path: Path, way: str) -> None:
    with (
        running_broker(tmp_path, feed_high_water=HIGH_WATER, keep_events=KEEP) as broker,
        distant(tmp_path, broker) as (gateway, feed, _),
        Client() as client,
    ):
        client.connect(gateway.address["url"])
        everything = client.subscribe("**")
        push(broker.address["push"], numbered("quiet", [1]))
        client.read_events(everything, 1)
        holds: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "a gateway that is stopped": (
                lambda: os.kill(gateway.pid, signal.SIGSTOP),
                lambda: os.kill(gateway.pid, signal.SIGCONT),
            ),
            "a link that is blocked": (lambda: feed.block(up=False), feed.heal),
            "a link that is slow": (lambda: feed.limit(20_000), feed.heal),
        }
        hold, let_go = holds[way]
        hold()
        try:
            count = flood(broker, "load")
            # Its last event, and nothing of its topic comes after it.
            push(broker.address["push"], numbered("quiet", [2]))
        finally:
            let_go()
        client.read_events(everything, count + 2)
        assert client.gaps == []
        assert_has_all(everything, broker)


def test_the_last_event_of_a_quiet_topic_comes_though_no_counter_tells_of_it(tmp_path: Path) -> None:
    """The counter in the stamps goes round: after so many drops it is where it was. There are the tails."""
    with (
        running_broker(tmp_path, feed_high_water=2, keep_events=KEEP) as broker,
        distant(tmp_path, broker) as (gateway, feed, _),
        somebody_slow(broker, "noise") as reads_some,
        Client() as client,
    ):
        client.connect(gateway.address["url"])
        loud, quiet = client.subscribe("load"), client.subscribe("quiet")
        logs(broker, numbered("quiet", [1]))
        client.read_events(quiet, 1)
        before = drops(broker)
        feed.block(up=False)
        count = flood(broker, "load")
        logs(broker, numbered("quiet", [2]))
        # Others lose some meanwhile, until the counter is where the gateway saw it last.
        moved = 0
        for _ in range(FLOOD * FLOODS_MAX):
            if moved != (moved := drops(broker) - before):
                reads_some()
            if moved % DROPS_MODULO == 0:
                break
            logs(broker, [[b"noise", NOISE]])
        lost = drops(broker)
        assert lost > before
        assert (lost - before) % DROPS_MODULO == 0
        feed.heal()
        client.read_events(quiet, 2)
        client.read_events(loud, count)
        assert client.gaps == []
        assert_has_all(quiet, broker)
        assert_has_all(loud, broker)


@contextmanager
def somebody_slow(broker: Broker, topic: str) -> Iterator[Callable[[], None]]:
    """A subscriber of the feed that reads only when it is told to, and then a little."""
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        reader.set(zmq.LINGER, 0)
        reader.set(zmq.RCVHWM, 1)
        reader.set(zmq.RCVBUF, 64 << 10)
        reader.subscribe(topic)
        reader.connect(broker.address["feed"])

        def read() -> None:
            for _ in range(3):
                if reader.poll(20):
                    reader.recv_multipart()

        yield read


# The barrier

SUBSCRIBERS, EACH = 8, 30


def test_nothing_falls_between_the_past_and_what_comes(tmp_path: Path) -> None:
    """Subscriptions under load, each with a filter and a barrier of its own, over a slow link that breaks."""
    topics = [f"load/{number}" for number in range(SUBSCRIBERS * EACH)]
    with (
        running_broker(tmp_path, keep_events=KEEP) as broker,
        distant(tmp_path, broker) as (gateway, feed, _),
        stream(broker.address["ingest"], *topics, interval_s=0.2),
        ThreadPoolExecutor(SUBSCRIBERS) as pool,
        ExitStack() as open_,
    ):
        wait_for(
            lambda: status(broker.address["control"]).logged > len(topics), what="each topic has an event"
        )
        feed.limit(500_000)
        clients = [open_.enter_context(Client()) for _ in range(SUBSCRIBERS)]

        def subscribe(client: Client, own: Sequence[str]) -> None:
            client.connect(gateway.address["url"])
            for place, topic in enumerate(own):
                # From now on, with all that went before, or from a place in between.
                asked: Any = ({}, {"since": at(client, 0)}, {"history": 1})[place % 3]
                client.subscribe(topic, **asked)
                if client is clients[0] and place % 10 == 9:
                    feed.cut()

        own = [topics[number::SUBSCRIBERS] for number in range(SUBSCRIBERS)]
        list(pool.map(subscribe, clients, own))
        feed.heal()
        list(
            pool.map(
                lambda client: [client.read_more(each, 2) for each in client.subscriptions.values()], clients
            )
        )
        made = [each for client in clients for each in client.subscriptions.values()]
        assert len(made) == len(topics)
        for subscription in made:
            assert_has_all_since_its_cut(subscription, broker)
        assert [client.gaps for client in clients if client.gaps] == []
        assert len(re.findall("broker connected", gateway.stderr())) > 2


def at(client: Client, seq: int) -> str:
    return str(Position(Position.parse(client.welcome["position"]).epoch, seq))


def assert_has_all_since_its_cut(subscription: Subscription, broker: Broker) -> None:
    """What the log has beyond what was asked for, up to the newest that came."""
    assert subscription.ok is not None
    assert subscription.ok["recovered"] is True
    cut = Position.parse(subscription.ok["position"]).seq
    newest = subscription.events[-1].seq
    kept = logged(broker.address["control"], subscription.pattern.text)
    match subscription.asked:
        case {"since": _}:
            due = kept
        case {"history": count}:
            due = [
                *[each for each in kept if each.seq <= cut][-count:],
                *[each for each in kept if each.seq > cut],
            ]
        case _:
            due = [each for each in kept if each.seq > cut]
    assert places(subscription.events) == [each.place for each in due if each.seq <= newest]


# Partitions

SHORT_KEEP = 10


def test_a_gateway_that_was_cut_off_tells_it_and_catches_up(tmp_path: Path) -> None:
    """Three networks at once: nothing comes down for a moment; nothing goes up, and nothing goes either
    way, until the broker takes the gateway for dead. Nobody closes anything.
    """
    retention = json.dumps([{"pattern": "short/**", "events": SHORT_KEEP}])
    with (
        running_broker(tmp_path, keep_events=KEEP, retention=retention) as broker,
        distant(tmp_path, broker, 0) as down,
        distant(tmp_path, broker, 1) as up,
        distant(tmp_path, broker, 2) as both,
        ExitStack() as open_,
    ):
        clients = [open_.enter_context(Client()) for _ in range(3)]
        for number, (client, (gateway, _, _)) in enumerate(zip(clients, (down, up, both), strict=True)):
            client.connect(gateway.address["url"])
            for pattern in ("load/*", "short/*", f"mark/{number}"):
                client.subscribe(pattern)
        logs(broker, [*numbered("load/a", [0]), *numbered("short/a", [0])])
        for client in clients:
            read_both(client, broker)

        for (_, *links), ways in zip((down, up, both), ({"up": False}, {"down": False}, {}), strict=True):
            for link in links:
                link.block(**ways)
        publish_both(broker)
        # What can come comes: the way down is open there.
        clients[1].read_events(clients[1].subscriptions["load/*"], 201)
        clients[0].read_stale(True)
        clients[2].read_stale(True)
        for link in down[1:]:
            link.heal()
        clients[0].read_stale(False)
        wait_for(lambda: not {"mark/1", "mark/2"} & wanted(broker), what="the broker lets the two go")
        publish_both(broker)
        clients[1].read_stale(True)
        for link in (*up[1:], *both[1:]):
            link.heal()

        logs(broker, [*numbered("load/a", [0]), *numbered("short/a", [0])])
        for client in clients:
            read_both(client, broker)
            assert client.is_stale is False
            assert client.close_code is None
            assert_has_all(client.subscriptions["load/*"], broker)
            assert_exact(client, client.subscriptions["short/*"], broker)
        assert all(gap["lost"] for client in clients[:1] + clients[2:] for gap in client.gaps)


def publish_both(broker: Broker) -> None:
    """Events of a topic that is kept, and of one that is hardly; returns when some of them have gone."""
    newest = status(broker.address["control"]).at.head
    logs(broker, [*numbered("load/a", range(200)), *numbered("short/a", range(2_000))])

    def has_gone() -> bool:
        (kept, *_) = logged(broker.address["control"], "short/a")
        return kept.seq > newest + 201

    wait_for(has_gone, what="retention was at work")


def read_both(client: Client, broker: Broker) -> None:
    """Until it has the newest of both."""
    newest = {topic: logged(broker.address["control"], topic)[-1].seq for topic in ("load/a", "short/a")}

    def has_come() -> bool:
        had = {
            event.topic: event.seq
            for name in ("load/*", "short/*")
            for event in client.subscriptions[name].events
        }
        return had == newest

    client.read_until(has_come, what=f"{newest}")


def wanted(broker: Broker) -> set[str]:
    """The prefixes that somebody listens to."""
    page, _ = ask(broker.address["control"], control.Demand(id=1), DemandPage)
    return set(page.prefixes)


def assert_exact(client: Client, subscription: Subscription, broker: Broker) -> None:
    """Each event of a topic once and in order; and where some are not there a gap that says how many."""
    events = subscription.events
    first, newest = events[0], logged(broker.address["control"], events[0].topic)[-1]
    assert (events[-1].topic, events[-1].seq) == (newest.topic, newest.seq)
    lost = 0
    for before, after in pairwise(events):
        if missing := after.nth - before.nth - 1:
            told = [
                gap["lost"]
                for gap in client.gaps
                if gap["pattern"] == after.topic
                and before.seq <= Position.parse(gap["after"]).seq
                and Position.parse(gap["before"]).seq <= after.seq
            ]
            assert sum(told) == missing, f"{before}, {after}: {client.gaps}"
            lost += missing
    assert len(events) + lost == newest.nth - first.nth + 1


# The control port's high-water mark


def test_answers_that_the_high_water_mark_drops_are_asked_for_again(tmp_path: Path) -> None:
    """Each reader asks another question, for half a megabyte; the answers do not fit on the way."""
    path = "a/b/c/d/e/f/g"
    wild = [[name, "*"] for name in path.split("/")[1:]]
    patterns = ["/".join(("a", *names)) for names in product(*wild)]
    with (
        running_broker(tmp_path, keep_events=KEEP) as broker,
        distant(tmp_path, broker, ring_max_bytes=0) as (gateway, _, asked),
        ExitStack() as open_,
    ):
        logs(broker, [[path.encode(), FILLER]] * 13)
        clients = [open_.enter_context(Client()) for _ in patterns]
        for client in clients:
            client.connect(gateway.address["url"])
        asked.block(up=False)
        made = [
            client.subscribe(pattern, awaited=False, since=at(client, 0))
            for client, pattern in zip(clients, patterns, strict=True)
        ]
        unanswered = re.compile(r"dropped reason=unanswered count=[1-9]")
        wait_for(lambda: unanswered.search(broker.stderr()), what="answers were dropped")
        asked.heal()
        for client, subscription in zip(clients, made, strict=True):
            client.read_events(subscription, 13)
            assert_has_all(subscription, broker)
            assert subscription.ok is not None
            assert (subscription.ok["recovered"], client.gaps) == (True, [])


# What never reached the broker


def test_what_a_producer_loses_on_the_way_is_counted(tmp_path: Path) -> None:
    """A plain PUB drops silently at its high-water mark. Its counts tell how many, from the first on."""
    sent = 3_000
    with (
        running_broker(tmp_path) as broker,
        proxied(broker.address["ingest"]) as way,
        zmq.Context() as context,
        context.socket(zmq.PUB) as producer,
    ):
        producer.set(zmq.LINGER, 0)
        producer.set(zmq.SNDHWM, 10)

        def publish(count: int) -> None:
            meta = pack_meta(0xFEED, count, count, Content.TEXT)
            producer.send_multipart([b"load", b"%d" % count + FILLER[:2_000], meta])

        publish(1)  # to nobody
        producer.connect(way.address)
        wait_for(lambda: way.carried[1] > 64, what="the broker has subscribed")
        way.block()
        for count in range(2, sent):
            publish(count)
        way.heal()
        # The last of a stream may be lost as well, and nothing would tell of it: another one does.
        last = sent

        def is_heard() -> bool:
            nonlocal last
            publish(last)
            last += 1
            return status(broker.address["control"]).received > 0 and bool(
                status(broker.address["control"]).missing
            )

        wait_for(is_heard, what="something arrives")
        push(broker.address["push"], [[b"load", b"", pack_meta(0xFEED, last, last, Content.TEXT)]])
        wait_for(lambda: arrived(broker)[-1:] == [b""], what="the last one")
        page = status(broker.address["control"])
        assert page.missing > sent // 2
        assert (page.received + page.missing - page.late, page.unclear) == (last, 0)
        (worst,) = page.worst
        assert (worst.producer, worst.missing, worst.last) == (f"{0xFEED:016x}", last - page.received, last)
        line = re.compile(rf"missing count=\d+ newest={0xFEED:016x}")
        wait_for(lambda: line.search(broker.stderr()), what="a line in the broker's log")


def arrived(broker: Broker) -> list[bytes]:
    return [event.payload for event in logged(broker.address["control"], "load")]


def test_across_a_killed_broker_every_number_is_accounted_for(tmp_path: Path) -> None:
    """Of its own time each broker knows exactly what is missing. What was on its way between the two is in
    neither's count: it is the difference between what the second calls unclear and what the log had.
    """
    with (
        running_broker(tmp_path) as broker,
        Publisher(broker.address["ingest"], high_water=50, producer_id="stream") as publisher,
    ):

        def publish(count: int) -> None:
            for _ in range(count):
                publisher.publish("load", publisher.published + 1)

        def heard(number: int) -> bool:
            return b"%d" % number in arrived(broker)

        publish(20)
        wait_for(lambda: heard(20), what="the first ones")
        first = status(broker.address["control"])
        assert (first.received, first.missing, first.unclear) == (20, 0, 0)
        publish(200)
        broker.kill()
        publish(300)  # more than it holds
        broker.start()

        def last_arrives() -> bool:
            publish(1)
            return heard(publisher.published)

        wait_for(last_arrives, what="the last one")
        page = status(broker.address["control"])
        assert publisher.dropped > 0
        assert page.unclear + page.received + page.missing - page.late == publisher.published
        numbers = sorted(map(int, arrived(broker)))
        new = [number for number in numbers if number > page.unclear]
        assert len(new) == page.received
        assert publisher.published - page.unclear - len(new) == page.missing
        (worst,) = page.worst
        assert (worst.producer, worst.first) == (publisher.producer, page.unclear + 1)
