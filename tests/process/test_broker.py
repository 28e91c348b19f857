"""The broker as a process, over its real sockets."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import zmq

from broker import control
from broker.control import DemandPage, Head, Submit
from broker.sockets import HEARTBEAT_MS
from broker.wire import BEAT_TOPIC, DEMAND_TOPIC, Stamp, pack_event, unpack_stamp
from tests.support.log import ask, logged, status
from tests.support.processes import Broker, Service, broker_environment
from tests.support.processes import broker as running_broker
from tests.support.waiting import DEADLINE_S, wait_for

Socket = zmq.Socket[bytes]
DEADLINE_MS = int(DEADLINE_S * 1000)
_barriers = count(1)


class Peers:
    """Sockets of one context, all closed at the end."""

    def __init__(self) -> None:
        self.context = zmq.Context[Socket]()
        self._sockets: list[Socket] = []  # one that is garbage would be closed with its linger

    def connect(self, kind: int, address: str, **options: int) -> Socket:
        socket = self.context.socket(kind)
        self._sockets.append(socket)
        socket.setsockopt(zmq.LINGER, DEADLINE_MS)
        socket.setsockopt(zmq.RCVTIMEO, DEADLINE_MS)
        socket.setsockopt(zmq.SNDTIMEO, DEADLINE_MS)
        for option, value in options.items():
            socket.setsockopt(getattr(zmq, option), value)
        socket.connect(address)
        return socket

    def pusher(self, broker: Broker) -> Socket:
        return self.connect(zmq.PUSH, broker.address["push"])

    def publisher(self, broker: Broker) -> Socket:
        """A PUB (an XPUB, which sees the subscription come: before that it would send to nobody)."""
        socket = self.connect(zmq.XPUB, broker.address["ingest"], SNDHWM=0)
        assert socket.recv() == b"\x01"
        return socket

    def subscriber(self, broker: Broker, *prefixes: bytes, **options: int) -> tuple[Socket, Head]:
        """Prefixes in force, and the head from which on events come live."""
        socket = self.connect(zmq.SUB, broker.address["feed"], **options)
        for prefix in prefixes:
            socket.setsockopt(zmq.SUBSCRIBE, prefix)
        return socket, barrier(socket)

    def close(self) -> None:
        """Returns when what was sent has left; twice is once."""
        self.context.destroy()


def barrier(socket: Socket) -> Head:
    """Subscribes to a new marker and waits for it; events that come before it are dropped."""
    topic = b"$sync/test/%d" % next(_barriers)
    socket.setsockopt(zmq.SUBSCRIBE, topic)
    while True:
        found, stamp, body = socket.recv_multipart()
        if found == topic:
            head = head_of(body)
            assert (unpack_stamp(stamp).seq, unpack_stamp(stamp).epoch) == (head.head, head.epoch_number)
            return head


def head_of(body: bytes) -> Head:
    return Head(**json.loads(body))


def event(socket: Socket) -> tuple[bytes, Stamp, bytes]:
    topic, stamp, payload = socket.recv_multipart()
    return topic, unpack_stamp(stamp), payload


@pytest.fixture
def peers() -> Iterator[Peers]:
    made = Peers()
    try:
        yield made
    finally:
        made.context.destroy(linger=0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as service:
        yield service


def test_what_comes_in_goes_out_stamped_and_is_in_the_log(broker: Broker, peers: Peers) -> None:
    feed, head = peers.subscriber(broker, b"cpu/", b"default")
    assert (head.head, head.oldest) == (0, 1)
    pusher, publisher = peers.pusher(broker), peers.publisher(broker)
    pusher.send_multipart([b"cpu/load", b"1"])
    assert event(feed)[0] == b"cpu/load"
    publisher.send_multipart([b"cpu/load", b"2", bytes(24) + b"\x01"])
    topic, stamp, payload = event(feed)
    assert (topic, payload, stamp.seq, stamp.prev, stamp.nth) == (b"cpu/load", b"2", 2, 1, 2)
    assert (stamp.epoch, stamp.content, stamp.drops) == (head.epoch_number, 1, 0)
    assert abs(stamp.time_us / 1e6 - time.time()) < DEADLINE_S
    publisher.send(b'{"alone": true}')
    assert event(feed)[0] == b"default"
    assert [each.place for each in logged(broker.address["control"], "**")] == [
        ("cpu/load", 1, 1),
        ("cpu/load", 2, 2),
        ("default", 3, 1),
    ]


def test_bad_input_is_dropped_and_counted_and_the_stream_goes_on(tmp_path: Path, peers: Peers) -> None:
    with running_broker(tmp_path, payload_max_bytes=100) as broker:
        publisher = peers.publisher(broker)
        for _ in range(50):
            publisher.send_multipart([b"a b", b"bad topic"])
        for frames in (
            [b"a"] * 4,
            [b"a"] * 5_000,
            [b"$broker/beat", b""],
            [b"a", b"x" * 400],
            [b"a", b"", b""],
        ):
            publisher.send_multipart(frames)
        publisher.send_multipart([b"a", b"good"])
        found = wait_for(lambda: logged(broker.address["control"], "**"), what="the good one")
        assert [each.payload for each in found] == [b"good"]
        counted = status(broker.address["control"])
        assert counted.dropped == {
            "bad_topic": 50,
            "frame_count": 2,
            "system_topic": 1,
            "payload_too_large": 1,
            "bad_meta": 1,
        }
        assert (counted.received, counted.logged) == (56, 1)
        # Logged by the beat, a line a reason: not a line a message.
        lines = wait_for(lambda: dropped_lines(broker, "bad_topic"), what="a line on what was dropped")
        assert 1 <= len(lines) <= 2


def dropped_lines(broker: Broker, reason: str) -> list[str]:
    return [line for line in broker.stderr().splitlines() if f"dropped reason={reason}" in line]


def test_a_message_far_too_large_costs_its_sender_only(tmp_path: Path, peers: Peers) -> None:
    with running_broker(tmp_path, payload_max_bytes=100) as broker:
        pusher = peers.pusher(broker)
        peers.pusher(broker).send_multipart([b"a", b"x" * 1_000_000])
        pusher.send_multipart([b"a", b"good"])
        wait_for(lambda: logged(broker.address["control"], "**"), what="the good one")


def test_a_marker_tells_where_the_live_stream_begins(broker: Broker, peers: Peers) -> None:
    """Under a stream, each of many subscribers gets all events beyond its marker."""
    publisher = peers.publisher(broker)
    for number in range(20):
        for _ in range(100):
            publisher.send_multipart([b"a", b"%d" % number])
        feed, head = peers.subscriber(broker, b"a")
        publisher.send_multipart([b"a", b"end"])
        _, stamp, payload = event(feed)
        assert stamp.seq == head.head + 1
        while payload != b"end":
            _, later, payload = event(feed)
            assert (later.seq, later.prev) == (stamp.seq + 1, stamp.seq)
            stamp = later
        feed.close()


def test_beats_come_under_load_and_carry_the_head(broker: Broker, peers: Peers) -> None:
    feed, _ = peers.subscriber(broker, BEAT_TOPIC)
    publisher = peers.publisher(broker)
    heads: list[Head] = []
    while len(heads) < 3:
        for _ in range(100):
            publisher.send_multipart([b"a", b"x" * 128])
        if feed.poll(0):
            topic, stamp, body = event(feed)
            assert (topic, stamp.seq) == (BEAT_TOPIC, 0)
            heads.append(head_of(body))
    assert heads[0].head < heads[2].head


def test_demand_is_published_and_listed(broker: Broker, peers: Peers) -> None:
    watching, _ = peers.subscriber(broker, DEMAND_TOPIC)
    feed, _ = peers.subscriber(broker, b"cpu/")
    assert json.loads(event(watching)[2]) == {"prefix": "cpu/", "wanted": True}
    page: DemandPage = ask(broker.address["control"], control.Demand(id=1), DemandPage)[0]
    assert page.prefixes == ["cpu/"]
    feed.close()
    assert json.loads(event(watching)[2]) == {"prefix": "cpu/", "wanted": False}


def test_messages_to_the_feed_are_ignored(broker: Broker, peers: Peers) -> None:
    feed, _ = peers.subscriber(broker, b"")
    intruder = peers.connect(zmq.XSUB, broker.address["feed"])
    intruder.send_multipart([b"a", b"not", b"an event"])
    intruder.send(b"neither")
    intruder.send(b"\x01$sync/intruder/1")
    assert intruder.recv_multipart()[0] == b"$sync/intruder/1"
    peers.pusher(broker).send_multipart([b"a", b"an event"])
    while (found := event(feed))[0].startswith(b"$"):
        pass
    assert found[2] == b"an event"
    assert status(broker.address["control"]).received == 1


def test_a_subscriber_that_stalls_loses_alone_and_can_tell(tmp_path: Path, peers: Peers) -> None:
    with running_broker(tmp_path, feed_high_water=50) as broker:
        stalled, _ = peers.subscriber(broker, b"a", RCVHWM=1, RCVBUF=4096)
        feed, _ = peers.subscriber(broker, b"a", RCVHWM=100_000)
        pusher = peers.pusher(broker)
        payload, sent, drops = b"x" * 100_000, 0, 0
        # One at a time, so that the one who reads is never at its own mark.
        while not drops:
            pusher.send_multipart([b"a", payload])
            sent += 1
            _, stamp, _ = event(feed)
            assert stamp.seq == sent, "the others get every event"
            drops = stamp.drops
        assert status(broker.address["control"]).at.drops == drops
        seen = [event(stalled)[1]]
        while not seen[-1].drops:
            pusher.send_multipart([b"a", payload])
            while stalled.poll(20):
                seen.append(event(stalled)[1])
        assert seen[-1].prev > seen[-2].seq
        assert len({stamp.drops for stamp in seen}) > 1


def test_sigterm_takes_in_what_has_arrived_and_the_log_goes_on(broker: Broker, peers: Peers) -> None:
    before = status(broker.address["control"]).at
    pusher = peers.pusher(broker)
    pusher.send_multipart([b"a", b"first"])
    wait_for(lambda: logged(broker.address["control"], "a"), what="the first event")
    with standing_still(broker):
        for _ in range(100):
            pusher.send_multipart([b"a", b"sent while it stood still"])
        peers.close()  # returns when the kernel has them all
        os.kill(broker.pid, signal.SIGTERM)
    assert broker.wait() == 0
    broker.start()
    assert [each.seq for each in logged(broker.address["control"], "a")] == list(range(1, 102))
    at = status(broker.address["control"]).at
    assert (at.epoch, at.head) == (before.epoch, 101)


def test_what_was_seen_survives_kill_9_and_no_seq_comes_twice(tmp_path: Path, peers: Peers) -> None:
    with running_broker(tmp_path, keep_events=100_000) as broker:
        seen: dict[int, bytes] = {}
        epochs = set()
        for life in range(3):
            feed, head = peers.subscriber(broker, b"a")
            epochs.add(head.epoch)
            publisher = peers.publisher(broker)
            for number in range(500):
                publisher.send_multipart([b"a", b"%d.%d" % (life, number)])
            for _ in range(200):
                _, stamp, payload = event(feed)
                assert seen.setdefault(stamp.seq, payload) == payload
            broker.kill()
            feed.close(linger=0)
            publisher.close(linger=0)
            broker.start()
        kept = {each.seq: each.payload for each in logged(broker.address["control"], "a")}
        assert {seq: kept.get(seq) for seq in seen} == seen
        assert (len(seen), len(epochs)) == (600, 1)


def test_memory_begins_a_new_epoch(tmp_path: Path, peers: Peers) -> None:
    with running_broker(tmp_path, durability="memory") as broker:
        before = status(broker.address["control"]).at
        broker.stop()
        broker.start()
        assert status(broker.address["control"]).at.epoch != before.epoch
    assert not list(tmp_path.glob("log.db*"))


def test_a_producer_that_sends_and_closes_loses_nothing_though_the_broker_lags(
    broker: Broker, peers: Peers
) -> None:
    """What is written to a peer that has closed makes its kernel drop what it has not yet sent."""
    pusher = peers.connect(zmq.PUSH, broker.address["push"], SNDHWM=0, SNDBUF=1 << 20)
    pusher.send_multipart([b"a", b"first"])
    wait_for(lambda: logged(broker.address["control"], "a"), what="the first event")
    with standing_still(broker):
        for _ in range(3_000):  # more than the broker's buffer takes, less than both do
            pusher.send_multipart([b"a", b"x" * 128])
        peers.close()
        # Longer than any heartbeat: it would be due as soon as the broker goes on.
        due_s = time.monotonic() + HEARTBEAT_MS / 1000 + 0.5
        wait_for(lambda: time.monotonic() > due_s, what="a heartbeat's time")
    wait_for(lambda: status(broker.address["control"]).logged >= 3_001, what="all of it", deadline_s=5)


def test_each_of_many_that_publish_at_once_is_answered(broker: Broker, peers: Peers) -> None:
    """As those of a gateway are. What bears no key is asked once, and the socket has room for 64 answers."""
    asker, asked = peers.connect(zmq.DEALER, broker.address["control"], SNDHWM=0, RCVHWM=0), range(1_000)
    with standing_still(broker):
        for number in asked:
            request = control.encode(Submit(id=number))
            asker.send_multipart([request, pack_event(b"a", b"%d" % number, 0)])
    answered = [control.decode_answer(asker.recv()) for _ in asked]
    assert [answer.id for answer in answered if answer.error is None] == list(asked)
    assert status(broker.address["control"]).unanswered == 0


@contextmanager
def standing_still(broker: Broker) -> Iterator[None]:
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def test_health_and_metrics(broker: Broker, peers: Peers) -> None:
    peers.pusher(broker).send_multipart([b"a b", b"bad"])
    peers.pusher(broker).send_multipart([b"a", b"good"])
    admin = broker.address["admin"]
    assert get(f"{admin}/healthz") == (200, "ok\n")
    assert get(f"{admin}/readyz") == (200, "ok\n")
    assert get(f"{admin}/else")[0] == 404
    wanted = {
        "penstock_broker_events_logged_total 1.0",
        'penstock_broker_events_dropped_total{reason="bad_topic"} 1.0',
        "penstock_broker_head_seq 1.0",
    }
    wait_for(lambda: wanted <= set(get(f"{admin}/metrics")[1].splitlines()), what=f"metrics {wanted}")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class TestRefusals:
    """One line that says what is wrong and how to mend it, and an exit code."""

    def refused(self, folder: Path, **settings: object) -> tuple[int, list[str]]:
        named = {f"PENSTOCK_BROKER__{name.upper()}": str(value) for name, value in settings.items()}
        service = Service("broker", ["-m", "broker"], {**broker_environment(folder), **named}, folder)
        service.launch()
        try:
            code = service.wait()
        finally:
            service.end()
        return code, [line for line in service.stderr().splitlines() if "level=INFO" not in line]

    def test_a_log_that_is_held(self, broker: Broker, tmp_path: Path) -> None:
        code, (line,) = self.refused(tmp_path)
        assert code == 1
        assert f"held by process {broker.pid}" in line and "PENSTOCK_BROKER__LOG" in line

    @pytest.mark.parametrize("port", ["ingest", "push", "control", "feed"])
    def test_a_port_in_use(self, broker: Broker, tmp_path: Path, port: str) -> None:
        address = broker.address[port]
        code, (line,) = self.refused(tmp_path, log=tmp_path / "other.db", **{port: address})
        assert code == 1
        assert f"{address} is in use" in line and f"PENSTOCK_BROKER__{port.upper()}" in line

    def test_an_admin_port_in_use(self, broker: Broker, tmp_path: Path) -> None:
        address = broker.address["admin"].removeprefix("http://")
        code, (line,) = self.refused(tmp_path, log=tmp_path / "other.db", admin=address)
        assert (code, "PENSTOCK_BROKER__ADMIN" in line) == (1, True)

    def test_an_address_that_is_not_ours(self, tmp_path: Path) -> None:
        code, (line,) = self.refused(tmp_path, feed="tcp://192.0.2.1:5556")
        assert code == 78
        assert "PENSTOCK_BROKER__FEED = 'tcp://192.0.2.1:5556': cannot listen there" in line

    def test_a_wrong_setting(self, tmp_path: Path) -> None:
        code, (line,) = self.refused(tmp_path, keep_event=5)
        assert (code, "did you mean PENSTOCK_BROKER__KEEP_EVENTS" in line) == (78, True)

    def test_a_foreign_log(self, tmp_path: Path) -> None:
        (tmp_path / "log.db").write_bytes(b"something of somebody" * 100)
        code, (line,) = self.refused(tmp_path)
        assert (code, "is not a Penstock log" in line) == (1, True)
