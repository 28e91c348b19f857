"""Whatever is dropped, held up or cut between real sockets: a client gets it all the same, once and in
order, or is told exactly what it lacks.

Each test makes sure that the fault has struck before it looks at what became of it.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain, islice, product
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest
import zmq

from broker.sockets import ANSWERS_HIGH_WATER
from broker.wire import Position
from tests.support.lacking import FILLER, KEEP, assert_exact, assert_has_all, at, distant, drops, logs
from tests.support.log import logged, status
from tests.support.processes import Broker
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push, stream
from tests.support.waiting import wait_for
from tests.support.websocket import Client, Subscription, places

HIGH_WATER = 20
FLOOD = 50
FLOODS_MAX = 20  # no queue and no kernel holds 40 MB


def flood(broker: Broker, topic: str) -> int:
    """Publish until a subscriber has lost some of it, and more. How many events that took."""
    before = drops(broker)
    for count in range(FLOOD, FLOOD * FLOODS_MAX, FLOOD):
        logs(broker, [[topic.encode(), FILLER]] * FLOOD)
        if drops(broker) > before:
            logs(broker, [[topic.encode(), FILLER]] * FLOOD)
            return count + FLOOD
    raise AssertionError("all of it fits into the queues")


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
