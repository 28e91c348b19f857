"""What docs/protocol.md says that programs exchange, and the metrics of docs/operating.md."""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import zmq
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from broker import control
from broker.wire import BEAT_TOPIC, DEMAND_TOPIC, pack_event
from tests.support.docs import OPERATING, PROTOCOL, blocks, first_cells, lines
from tests.support.examples import here, reading, wait_printed
from tests.support.log import logged
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.waiting import DEADLINE_S, wait_for

# What an object has only sometimes.
SOMETIMES = {"lost", "truncated"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=10_000) as service:
        yield service


@pytest.fixture
def gateway(tmp_path: Path, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path, broker, anonymous_publish='["room/**"]') as service:
        yield service


def fits(said: Any, real: Any) -> bool:
    """Whether a real value is of the shape of a documented one: names and kinds, down to the leaves."""
    if isinstance(said, dict):
        if not isinstance(real, dict) or not said.keys() - SOMETIMES <= real.keys() <= said.keys():
            return False
        return all(fits(said[name], value) for name, value in real.items())
    if isinstance(said, list):
        return isinstance(real, list) and (
            not said or all(any(fits(example, each) for example in said) for each in real)
        )
    if isinstance(said, str) and re.fullmatch(r"[0-9a-f]{16}(\.\d+)?", said):
        return isinstance(real, str) and len(real.partition(".")[0]) == 16 and ("." in real) == ("." in said)
    kind = (int, float) if isinstance(said, float) else type(said)
    return isinstance(real, kind) and isinstance(real, bool) == isinstance(said, bool)


PUBLISHED = [
    [b"cpu/load", b'{"v": 0.42}'],
    [b"cpu/load", b'{"v": 0.43}'],
    [b"note", b"window open"],
    [b"picture", b"\xff\xfe"],
    [b"no topic", b"1"],
]


@pytest.fixture
def published(broker: Broker) -> Broker:
    push(broker.address["push"], PUBLISHED)
    wait_for(lambda: logged(broker.address["control"], "picture"), what="all of them logged")
    return broker


def test_beat_and_demand(broker: Broker) -> None:
    (beat,) = map(json.loads, lines(PROTOCOL, "json", "Beat"))
    (demand,) = map(json.loads, lines(PROTOCOL, "json", "Demand"))
    with zmq.Context() as context, context.socket(zmq.SUB) as feed:
        feed.set(zmq.LINGER, 0)
        feed.set(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        feed.connect(broker.address["feed"])
        feed.subscribe(BEAT_TOPIC)
        assert fits(beat, json.loads(feed.recv_multipart()[2]))
        feed.unsubscribe(BEAT_TOPIC)
        feed.subscribe(DEMAND_TOPIC)
        feed.subscribe(b"cpu/")
        while (message := feed.recv_multipart())[0] != DEMAND_TOPIC:
            pass
        assert json.loads(message[2]) == demand


def test_a_subscriber_in_plain_pyzmq(broker: Broker, tmp_path: Path) -> None:
    (code,) = blocks(PROTOCOL, "python", "A subscriber in plain pyzmq")
    push(broker.address["push"], [*numbered("room/a", range(3)), *numbered("rooms", range(3))])
    wait_for(lambda: len(logged(broker.address["control"], "**")) == 6, what="six events")
    with reading([sys.executable, "-c", here(code, broker)], tmp_path) as out:
        wait_printed(out, 'room/a 3 {"n": 2}')
        push(broker.address["push"], numbered("room/a", range(3, 6)))
        wait_printed(out, 'room/a 9 {"n": 5}')
        seqs = [int(line.split()[1]) for line in out.read_text().splitlines()]
        assert seqs == [1, 2, 3, 7, 8, 9]


PUBLISHING = {each.__struct_config__.tag for each in get_args(control.Publishing)}


OPERATIONS = {each.__struct_config__.tag for each in get_args(control.AnyRequest)} - PUBLISHING


def test_control_answers_what_the_docs_say(published: Broker) -> None:
    said = [json.loads(line) for line in lines(PROTOCOL, "json", "Control: what the log is asked")]
    pairs = list(zip(said[::2], said[1::2], strict=True))
    assert {request["op"] for request, _ in pairs} == OPERATIONS
    with zmq.Context() as context, context.socket(zmq.SUB) as feed, context.socket(zmq.DEALER) as asking:
        for socket in (feed, asking):
            socket.set(zmq.LINGER, 0)
        asking.set(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        feed.connect(published.address["feed"])
        feed.subscribe(b"cpu/")
        asking.connect(published.address["control"])

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            asking.send_json(request)
            answer, *records = asking.recv_multipart()
            assert bool(records) == (request["op"] in ("replay", "newest", "last") and b'"ok"' in answer)
            found: dict[str, Any] = json.loads(answer)
            return found

        demand = {"op": "demand", "id": 0}
        wait_for(lambda: ask(demand)["ok"]["prefixes"] == ["cpu/"], what="the subscription in force")
        for request, answer in pairs:
            assert fits(answer, real := ask(request)), f"{request}\n{answer}\n{real}"


def test_publishing_is_answered_as_the_docs_say(published: Broker) -> None:
    said = [json.loads(line) for line in lines(PROTOCOL, "json", "Confirmed publishing")]
    pairs = list(zip(said[::2], said[1::2], strict=True))
    assert {request["op"] for request, _ in pairs} == PUBLISHING
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        asking.set(zmq.LINGER, 0)
        asking.set(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        asking.connect(published.address["control"])
        incarnation = 0
        for request, answer in pairs:
            if "incarnation" in request:
                request["incarnation"] = incarnation
            frames = [json.dumps(request).encode()]
            if request["op"] != "hello":
                frames.append(pack_event(b"till", b'{"total": 4.2}', 1) * 2)
            asking.send_multipart(frames)
            real: dict[str, Any] = json.loads(asking.recv())
            incarnation = real.get("ok", {}).get("incarnation", incarnation)
            assert fits(answer, real), f"{request}\n{answer}\n{real}"


@contextmanager
def talking(gateway: Gateway) -> Iterator[ClientConnection]:
    url = gateway.address["url"].replace("http://", "ws://") + "/ws"
    with connect(url, subprotocols=[Subprotocol("penstock.v1")], proxy=None, close_timeout=0.1) as socket:
        yield socket


def heard(socket: ClientConnection, last: str) -> list[Any]:
    """What the gateway says, until an object that holds this text."""
    found: list[Any] = []
    while not any(last in json.dumps(each) for each in found):
        found += [json.loads(line) for line in str(socket.recv(DEADLINE_S)).split("\n")]
    return found


REQUESTS = [
    '{"subscribe": "cpu/**", "id": %d, "since": "1d4e9f3c2a7be041.877"}',
    '{"subscribe": "note", "id": %d}',
    '{"subscribe": "picture", "id": %d}',
    '{"unsubscribe": "nothing", "id": %d}',
    '{"subscribe": "other", "id": %d}',
    '{"unsubscribe": "other", "id": %d}',
    '{"ping": 7, "id": %d}',
    '{"publish": "room/1", "data": 1, "id": %d}',
    '{"publish": "room/1", "text": "x", "key": "k", "id": %d}',
    '{"publish": "room/1", "text": "x", "key": "k", "id": %d}',
    '{"beat": true, "id": %d}',
]


def test_a_gateway_says_what_the_docs_say_and_nothing_else(tmp_path: Path) -> None:
    said = [json.loads(line) for line in lines(PROTOCOL, "json", "What the gateway says")]
    with running_broker(tmp_path, durability="memory") as broker:
        broker.kill()
        # With a second for a frame it looks at its clients four times a second.
        settings: dict[str, Any] = {"anonymous_publish": '["room/**"]', "frame_s": 1}
        with running_gateway(tmp_path, broker, **settings) as gateway, talking(gateway) as socket:
            real = heard(socket, '"stale": true')
            broker.start()
            real += heard(socket, '"at"')
            push(broker.address["push"], PUBLISHED)
            wait_for(lambda: logged(broker.address["control"], "picture"), what="all of them logged")
            for number, request in enumerate(REQUESTS):
                socket.send(request % number)
                real += heard(socket, f'"reply": {number},')
            push(broker.address["push"], PUBLISHED)
            real += heard(socket, '"base64"')
            broker.kill()
            broker.start()
            real += heard(socket, '"gap": {"pattern": "**"')
            real += heard(socket, '"beat"')
            assert gateway.stop() == 0
            real += heard(socket, '"draining"')
    strange = [each for each in real if not any(fits(example, each) for example in said)]
    unseen = [example for example in said if not any(fits(example, each) for each in real)]
    assert (strange, unseen) == ([], [])


def test_a_client_in_python_misses_nothing(tmp_path: Path) -> None:
    (code,) = blocks(PROTOCOL, "python", "What a client keeps, and how it resumes")
    with (
        running_broker(tmp_path, durability="memory") as broker,
        running_gateway(tmp_path, broker) as gateway,
        reading([sys.executable, "-c", here(code, broker, gateway)], tmp_path) as out,
    ):
        push(broker.address["push"], numbered("room/a", range(3)))
        wait_printed(out, '"n": 2')
        gateway.kill()
        push(broker.address["push"], numbered("room/a", range(3, 6)))
        gateway.start()
        wait_printed(out, '"n": 5')
        broker.kill()
        broker.start()
        push(broker.address["push"], numbered("room/a", range(6, 9)))
        wait_printed(out, '"n": 8', '"gap"')
        told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each["data"]["n"] for each in told if "topic" in each] == list(range(9))
    assert [each["gap"]["cause"] for each in told if "gap" in each] == ["epoch"]


HTTP = [
    ("/api/topics?limit=0", 400),
    ("/api/topics?pattern=cpu/**&limit=1000", 200),
    ("/api/topics/cpu/load/history?limit=100", 200),
    ("/api/status", 200),
]


def test_the_http_api_answers_what_the_docs_say(published: Broker, gateway: Gateway) -> None:
    said = [json.loads(line) for line in lines(PROTOCOL, "json", "HTTP")]
    wait_for(lambda: get(gateway, "/api/status")[1]["broker"], what="a broker that is heard")
    for example, (path, status) in zip(said, HTTP, strict=True):
        code, real = get(gateway, path)
        assert (code, fits(example, real)) == (status, True), real


POSTS = [
    ({"Idempotency-Key": "k"}, b"1"),
    ({"Idempotency-Key": "k"}, b"1"),
    ({"Content-Type": "application/x-ndjson"}, b"1\n2\n3\n"),
]


def test_publishing_over_http_answers_what_the_docs_say(gateway: Gateway) -> None:
    said = [json.loads(line) for line in lines(PROTOCOL, "json", "Publishing over HTTP")]
    url = gateway.address["url"] + "/api/publish/room/1"
    for example, (headers, body) in zip(said, POSTS, strict=True):
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            real = json.load(answer)
        assert fits(example, real), real


def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(gateway.address["url"] + path, timeout=DEADLINE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_every_metric_has_its_line(published: Broker, gateway: Gateway) -> None:
    exported: set[str] = set()
    for process in (published, gateway):
        with urllib.request.urlopen(process.address["admin"] + "/metrics", timeout=DEADLINE_S) as answer:
            exported |= set(re.findall(r"^(penstock_\w+)", answer.read().decode(), re.MULTILINE))
    said = first_cells(OPERATING, "Health and metrics")
    # The example of a reason appears with the first beat after it.
    counted = "penstock_broker_events_dropped_total"
    assert {name.removesuffix("_info") for name in exported | {counted}} == {
        name.removesuffix("_info") for name in said
    }
