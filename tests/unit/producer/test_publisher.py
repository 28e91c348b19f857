"""The publisher over real sockets: the test is the broker, with a raw XSUB or PULL."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import psutil
import pytest
import zmq

from broker.errors import BadPayload, BadSetting, BadTopic, PayloadTooLarge, PublishTimeout
from broker.wire import META, Content, producer_hash
from producer import Publisher
from tests.support.waiting import wait_for

DEADLINE_MS = 10_000
CLOSE_S = 10.0


class Ingest:
    """A broker's ingest, of which only the socket is real."""

    def __init__(self, kind: int, address: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.set(zmq.RCVHWM, 0)
        if kind == zmq.XSUB:
            self._socket.send(b"\x01")  # subscribe to everything, as the broker does
        try:
            self._socket.bind(address)
        except zmq.ZMQError:
            self.close()
            raise
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT)

    def take(self, count: int) -> list[list[bytes]]:
        """The next `count` messages; fewer if they do not come."""
        taken: list[list[bytes]] = []
        while len(taken) < count and self._socket.poll(DEADLINE_MS):
            taken.append(self._socket.recv_multipart())
        return taken

    def close(self) -> None:
        """Returns once the port is free and every link is cut."""
        self._context.destroy(linger=0)


class Kind(NamedTuple):
    socket: int
    wait: bool


KINDS = [pytest.param(Kind(zmq.XSUB, False), id="stream"), pytest.param(Kind(zmq.PULL, True), id="wait")]

Listen = Callable[..., Ingest]


@pytest.fixture
def listen() -> Iterator[Listen]:
    opened: list[Ingest] = []

    def open_one(kind: Kind, address: str = "tcp://127.0.0.1:*") -> Ingest:
        opened.append(Ingest(kind.socket, address))
        return opened[-1]

    yield open_one
    for ingest in opened:
        ingest.close()


def free_address(listen: Listen, kind: Kind) -> str:
    """Where nobody listens now, and the test may later."""
    ingest = listen(kind)
    ingest.close()
    return ingest.address


def links_to(address: str) -> list[object]:
    """This process's TCP connections to `address`."""
    port = int(address.rsplit(":", 1)[1])
    found = psutil.Process().net_connections("tcp")
    return [link for link in found if link.raddr and link.raddr.port == port]


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_topic_payload_and_meta(listen: Listen, kind: Kind) -> None:
    ingest = listen(kind)
    before_us = time.time_ns() // 1000
    with Publisher(ingest.address, wait=kind.wait, producer_id="meter-1") as publisher:
        publisher.publish("cpu/load", {"v": 0.42})
        publisher.publish("log", "a line")
        publisher.publish("raw", b'{"v":1}', content=Content.JSON)
    events = ingest.take(3)
    after_us = time.time_ns() // 1000
    assert [event[:2] for event in events] == [
        [b"cpu/load", b'{"v":0.42}'],
        [b"log", b"a line"],
        [b"raw", b'{"v":1}'],
    ]
    metas = [META.unpack(event[2]) for event in events]
    assert {meta[0] for meta in metas} == {producer_hash("meter-1")}
    assert [meta[1] for meta in metas] == [1, 2, 3]
    assert all(before_us <= meta[2] <= after_us for meta in metas)
    assert [meta[3] for meta in metas] == [Content.JSON, Content.TEXT, Content.JSON]


@pytest.mark.parametrize("kind", KINDS)
def test_opened_published_and_closed_at_once_loses_nothing(listen: Listen, kind: Kind) -> None:
    ingest = listen(kind)
    for _ in range(20):
        publisher = Publisher(ingest.address, wait=kind.wait, close_s=CLOSE_S)
        for number in range(20):
            publisher.publish("short", number)
        assert publisher.close()
        assert [int(event[1]) for event in ingest.take(20)] == list(range(20))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published_before_the_broker_is_there_comes_when_it_is(listen: Listen, kind: Kind) -> None:
    address = free_address(listen, kind)
    with Publisher(address, wait=kind.wait, close_s=CLOSE_S) as publisher:
        for number in range(20):
            publisher.publish("early", number)
        ingest = listen(kind, address)
        assert [int(event[1]) for event in ingest.take(20)] == list(range(20))


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_that_comes_back_gets_what_was_published_meanwhile(listen: Listen, kind: Kind) -> None:
    ingest = listen(kind)
    with Publisher(ingest.address, wait=kind.wait, close_s=CLOSE_S) as publisher:
        publisher.publish("before", 0)
        assert len(ingest.take(1)) == 1
        ingest.close()
        # What is written into a link that is about to break is lost; this is about what comes after.
        wait_for(lambda: not links_to(ingest.address), what="the link is down")
        for number in range(1_000):
            publisher.publish("meanwhile", number)
        again = listen(kind, ingest.address)
        assert [int(event[1]) for event in again.take(1_000)] == list(range(1_000))


@pytest.mark.parametrize("kind", KINDS)
def test_closing_without_a_broker_ends_in_time_and_says_so(
    listen: Listen, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(free_address(listen, kind), wait=kind.wait)
    publisher.publish("nobody", 1)
    with caplog.at_level(logging.WARNING):
        assert not publisher.close(timeout_s=0.1)
    assert "did not take everything within 0.1 s" in caplog.text
    assert not publisher.close()  # again: the same answer


@pytest.mark.parametrize("kind", KINDS)
def test_closing_with_nothing_published_does_not_wait_for_a_broker(listen: Listen, kind: Kind) -> None:
    assert Publisher(free_address(listen, kind), wait=kind.wait).close(timeout_s=CLOSE_S)


def test_a_full_stream_drops_new_events_counts_them_and_keeps_their_numbers(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    kind = Kind(zmq.XSUB, False)
    address = free_address(listen, kind)
    publisher = Publisher(address, high_water=10, close_s=CLOSE_S)
    for number in range(15):
        publisher.publish("full", number)
    assert (publisher.published, publisher.dropped) == (15, 5)
    ingest = listen(kind, address)
    assert [META.unpack(event[2])[1] for event in ingest.take(10)] == list(range(1, 11))
    with caplog.at_level(logging.WARNING):
        assert not publisher.close()
    assert "events=5 of=15" in caplog.text


def test_a_full_publisher_that_waits_refuses_after_its_time_and_counts_nothing(listen: Listen) -> None:
    kind = Kind(zmq.PULL, True)
    address = free_address(listen, kind)
    publisher = Publisher(address, wait=True, wait_s=0.05, high_water=10, close_s=CLOSE_S)
    for number in range(10):
        publisher.publish("full", number)
    with pytest.raises(PublishTimeout, match=r"took nothing for 0\.05 s"):
        publisher.publish("full", 10)
    assert (publisher.published, publisher.dropped) == (10, 0)
    ingest = listen(kind, address)
    taken = ingest.take(10)
    publisher.publish("full", 10)
    assert publisher.close()
    assert [META.unpack(event[2])[1] for event in taken + ingest.take(1)] == list(range(1, 12))


def test_a_full_publisher_that_waits_goes_on_when_there_is_room(listen: Listen) -> None:
    kind = Kind(zmq.PULL, True)
    address = free_address(listen, kind)
    publisher = Publisher(address, wait=True, high_water=10, close_s=CLOSE_S)

    def publish_all() -> None:
        for number in range(1_000):
            publisher.publish("many", number)

    with ThreadPoolExecutor(1) as other:
        publishing = other.submit(publish_all)
        events = listen(kind, address).take(1_000)
        publishing.result()
    assert publisher.close()
    assert [int(event[1]) for event in events] == list(range(1_000))


@pytest.mark.parametrize(
    ("topic", "data", "error"),
    [
        pytest.param("", 1, BadTopic, id="empty topic"),
        pytest.param("a//b", 1, BadTopic, id="empty segment"),
        pytest.param("a b", 1, BadTopic, id="white space"),
        pytest.param("a/*", 1, BadTopic, id="pattern"),
        pytest.param("$broker/beat", 1, BadTopic, id="system topic"),
        pytest.param("a", float("nan"), BadPayload, id="nan"),
        pytest.param("a", b"12345", PayloadTooLarge, id="oversize"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused_is_neither_sent_nor_counted(
    listen: Listen, kind: Kind, topic: str, data: object, error: type[Exception]
) -> None:
    ingest = listen(kind)
    with Publisher(ingest.address, wait=kind.wait, payload_max_bytes=4) as publisher:
        with pytest.raises(error):
            publisher.publish(topic, data)
        publisher.publish("good", b"1234")
    ((name, _, meta),) = ingest.take(1)
    assert (name, META.unpack(meta)[1]) == (b"good", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_may_share_one(listen: Listen, kind: Kind) -> None:
    ingest = listen(kind)
    with Publisher(ingest.address, wait=kind.wait, close_s=CLOSE_S) as publisher:

        def publish_some(thread: int) -> None:
            for number in range(500):
                publisher.publish(f"thread/{thread}", number)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(publish_some, range(4)))
    events = ingest.take(2_000)
    assert [META.unpack(event[2])[1] for event in events] == list(range(1, 2_001))
    for thread in range(4):
        of_thread = [int(event[1]) for event in events if event[0] == b"thread/%d" % thread]
        assert of_thread == list(range(500))


def test_one_that_is_forgotten_is_flushed(listen: Listen) -> None:
    ingest = listen(Kind(zmq.XSUB, False))
    Publisher(ingest.address).publish("forgotten", 1)
    gc.collect()
    assert len(ingest.take(1)) == 1


def test_publishing_on_a_closed_one_is_an_error(listen: Listen) -> None:
    publisher = Publisher(listen(Kind(zmq.XSUB, False)).address)
    publisher.close()
    with pytest.raises(RuntimeError, match="closed"):
        publisher.publish("late", 1)


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "http://127.0.0.1:5555"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(BadSetting, match="no address"):
        Publisher(address)


@pytest.mark.parametrize("high_water", [0, -1])
def test_no_room_at_all_is_refused(high_water: int) -> None:
    with pytest.raises(BadSetting, match="1 or more"):
        Publisher(high_water=high_water)


def test_two_publishers_are_two_streams_in_the_brokers_count(listen: Listen) -> None:
    ingest = listen(Kind(zmq.XSUB, False))
    for _ in range(2):
        with Publisher(ingest.address) as publisher:
            publisher.publish("one", 1)
    assert len({META.unpack(event[2])[0] for event in ingest.take(2)}) == 2
