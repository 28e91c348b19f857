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
from itertools import chain, islice, pairwise, product
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest
import zmq

from broker import control
from broker.control import PAGE_EVENTS, DemandPage
from broker.sockets import ANSWERS_HIGH_WATER
from broker.wire import Content, Position, pack_meta
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


@pytest.mark.parametrize("way", ["a gateway that is stopped", "a link that is slow"])
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


# Losses that no counter tells of


@contextmanager
def lossy(feed: str, is_lost: Callable[[bytes, bytes], bool]) -> Iterator[str]:
    """An address of the feed behind a relay that loses some messages without a word."""
    stop = Event()
    with zmq.Context() as context, context.socket(zmq.XSUB) as above, context.socket(zmq.XPUB) as below:
        for each in (above, below):
            each.set(zmq.LINGER, 0)
            each.set(zmq.SNDHWM, 0)
            each.set(zmq.RCVHWM, 0)
        above.connect(feed)
        port = below.bind_to_random_port("tcp://127.0.0.1")

        def relay() -> None:
            poller = zmq.Poller()
            poller.register(above, zmq.POLLIN)
            poller.register(below, zmq.POLLIN)
            while not stop.is_set():
                for source, _ in poller.poll(50):
                    frames = source.recv_multipart()
                    if source is below:
                        above.send_multipart(frames)
                    elif not is_lost(frames[0], frames[2]):
                        below.send_multipart(frames)

        thread = Thread(target=relay, name="relay")
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            stop.set()
            thread.join()


def test_the_last_event_of_a_quiet_topic_is_found_by_its_tail(tmp_path: Path) -> None:
    lost: list[bytes] = []

    def is_lost(topic: bytes, payload: bytes) -> bool:
        if is_it := topic == b"quiet" and payload == b'{"n": 2}':
            lost.append(payload)
        return is_it

    with (
        running_broker(tmp_path) as broker,
        lossy(broker.address["feed"], is_lost) as feed,
        running_gateway(tmp_path, broker, feed=feed) as gateway,
        Client() as client,
    ):
        client.connect(gateway.address["url"])
        quiet = client.subscribe("quiet")
        push(broker.address["push"], numbered("quiet", [1]))
        client.read_events(quiet, 1)
        push(broker.address["push"], numbered("quiet", [2]))
        client.read_events(quiet, 2)
        assert (len(lost), drops(broker), client.gaps) == (1, 0, [])
        assert_has_all(quiet, broker)


def test_a_feed_that_loses_one_in_five_of_all_it_carries_costs_nothing_untold(tmp_path: Path) -> None:
    """Markers and beats among them. What is found too late to be put in its place is told, and how many."""
    dice = Random(5)
    with (
        running_broker(tmp_path, keep_events=KEEP) as broker,
        lossy(broker.address["feed"], lambda topic, payload: dice.random() < 0.2) as feed,
        running_gateway(tmp_path, broker, feed=feed) as gateway,
        Client() as client,
    ):
        client.connect(gateway.address["url"])
        followed = [client.subscribe(topic) for topic in ("a", "b", "c")]
        for number in range(300):
            messages = [numbered(each.pattern.text, [number]) for each in followed[: 1 + number % 3]]
            push(broker.address["push"], list(chain.from_iterable(messages)))
        for each in followed:
            assert_exact(client, each, broker)


# The barrier

SUBSCRIBERS, EACH = 8, 20


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
                if client is clients[0] and place % 6 == 5:
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
        assert len(re.findall("broker connected", gateway.stderr())) > 1


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
            for pattern in ("load/*", "short/a", f"mark/{number}"):
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
            assert (client.is_stale, client.close_code) == (False, None)
            assert_has_all(client.subscriptions["load/*"], broker)
            assert_exact(client, client.subscriptions["short/a"], broker)
        # What the first lacked for a moment had waited in the broker's queue; the others were cut out of it.
        assert [{gap["cause"] for gap in client.gaps} for client in clients] == [
            set(),
            {"retention"},
            {"retention"},
        ]


def publish_both(broker: Broker) -> None:
    """Events of a topic that is hardly kept, and of one that is; returns when most of them have gone."""
    newest = status(broker.address["control"]).at.head
    logs(broker, [*numbered("short/a", range(3_000)), *numbered("load/a", range(200))])
    # So few that all that is left comes in one page: of more nobody could say at once how many are gone.
    wait_for(
        lambda: len(logged(broker.address["control"], "**", newest)) < PAGE_EVENTS // 2,
        what="retention was at work",
    )


def read_both(client: Client, broker: Broker) -> None:
    """Until it has the newest of both."""
    newest = {topic: logged(broker.address["control"], topic)[-1].seq for topic in ("load/a", "short/a")}

    def has_come() -> bool:
        had = {
            event.topic: event.seq
            for name in ("load/*", "short/a")
            for event in client.subscriptions[name].events
        }
        return had == newest

    client.read_until(has_come, what=f"{newest}")


def wanted(broker: Broker) -> set[str]:
    """The prefixes that somebody listens to."""
    page, _ = ask(broker.address["control"], control.Demand(id=1), DemandPage)
    return set(page.prefixes)


def assert_exact(client: Client, subscription: Subscription, broker: Broker) -> None:
    """Of a topic all there ever was: each once and in order, or in a gap that says how many it stands for."""
    topic = subscription.pattern.text
    newest = logged(broker.address["control"], topic)[-1]
    events = subscription.events

    def gaps() -> list[tuple[int, int, int]]:
        told = [gap for gap in client.gaps if gap["pattern"] == topic]
        return [
            (Position.parse(gap["after"]).seq, Position.parse(gap["before"]).seq, gap["lost"]) for gap in told
        ]

    def is_settled() -> bool:
        return any(end > newest.seq for _, end, _ in gaps()) or any(
            event.seq == newest.seq for event in events
        )

    client.read_until(is_settled, what=f"the newest of {topic}, {newest}, or word that it is lost")
    had = [(0, 0), *((event.seq, event.nth) for event in events), (newest.seq + 1, newest.nth + 1)]
    for (before, before_nth), (after, after_nth) in pairwise(had):
        assert before < after
        if after_nth != before_nth + 1:
            assert any(start < after - 1 and before + 1 < end for start, end, _ in gaps()), (before, after)
    assert sum(lost for *_, lost in gaps()) == newest.nth - len(events)


# The control port's high-water mark


def test_answers_that_the_high_water_mark_drops_are_asked_for_again(tmp_path: Path) -> None:
    """Each reader asks another question, for half a megabyte; the answers do not fit on the way."""
    path = "a/b/c/d/e/f/g/h"
    wild = [[name, "*"] for name in path.split("/")[1:]]
    patterns = ["/".join(("a", *names)) for names in islice(product(*wild), ANSWERS_HIGH_WATER + 26)]
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
