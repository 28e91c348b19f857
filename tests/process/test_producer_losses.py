"""What never reached the broker is counted: what a producer loses on the way, and across a killed broker."""

from __future__ import annotations

import re
from pathlib import Path

import zmq

from broker.wire import Content, pack_meta
from producer import Publisher
from tests.support.lacking import FILLER
from tests.support.log import logged, status
from tests.support.processes import Broker
from tests.support.processes import broker as running_broker
from tests.support.proxy import proxied
from tests.support.sending import push
from tests.support.waiting import wait_for


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
