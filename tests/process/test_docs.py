"""The examples of the README and of docs/protocol.md, with a real broker and a real gateway."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
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
from tests.support.docs import DOCS, PROTOCOL, README, blocks, first_cells, lines
from tests.support.log import logged
from tests.support.ports import reserved_ports
from tests.support.processes import REPO, Broker, Gateway, environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.waiting import DEADLINE_S, wait_for

OPERATING = DOCS / "operating.md"
PRODUCERS = DOCS / "producers.md"
SOCKET_IO = DOCS / "socketio.md"
SUBSCRIBERS = DOCS / "subscribers.md"
PACKAGES = REPO / "web" / "node_modules"
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


def here(code: str, broker: Broker, gateway: Gateway | None = None) -> str:
    """An example, with the addresses of these processes for the usual ones."""
    for port, name in (("5555", "ingest"), ("5556", "feed"), ("5557", "control"), ("5558", "push")):
        code = code.replace(f"tcp://127.0.0.1:{port}", broker.address[name])
    code = code.replace("http://127.0.0.1:9100", broker.address["admin"])
    if gateway is not None:
        code = code.replace("http://127.0.0.1:9101", gateway.address["admin"])
        code = code.replace("127.0.0.1:8000", gateway.address["url"].removeprefix("http://"))
    return code


@contextmanager
def reading(command: list[str], folder: Path) -> Iterator[Path]:
    """A program that runs while the block lasts; the file that it prints to."""
    out, err = folder / "example.out", folder / "example.err"
    with out.open("wb") as to, err.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment({}), stdin=subprocess.DEVNULL, stdout=to, stderr=errors
        )
    try:
        yield out
    finally:
        process.kill()
        process.wait()
        sys.stderr.write(err.read_text())  # shown with a failure


def wait_printed(out: Path, *wanted: str) -> None:
    wait_for(
        lambda: all(text in out.read_text() for text in wanted),
        what=lambda: f"{wanted} printed, there is\n{out.read_text()}",
    )


def node(code: str, folder: Path) -> list[str]:
    """A command that runs it as a module, in a project that has the page's packages."""
    assert (PACKAGES / "ws").is_dir(), "run `npm ci` in web/ first"
    (folder / "node_modules").symlink_to(PACKAGES)
    (folder / "example.mjs").write_text(code)
    return ["node", "example.mjs"]


# The README


def test_a_producer_in_three_lines_of_pyzmq(broker: Broker) -> None:
    code, _ = blocks(README, "python")
    assert code.count("\n") == 3
    command = [sys.executable, "-c", here(code, broker)]
    for _ in range(3):
        subprocess.run(command, env=environment({}), timeout=DEADLINE_S, check=True)
    wait_for(lambda: len(logged(broker.address["control"], "room/*")) == 3, what="three events")
    assert logged(broker.address["control"], "room/*")[0].payload == b'{"celsius": 20.5}'


def test_a_producer_in_three_lines_waits_for_a_broker_that_comes_later(tmp_path: Path) -> None:
    code, _ = blocks(README, "python")
    with reserved_ports(1) as (port,):
        push = f"tcp://127.0.0.1:{port}"
        # It says when the lines have run, before the end of their `with`, and when that is over.
        code = code.replace("tcp://127.0.0.1:5558", push).rstrip() + "; print('sent')\nprint('over')"
        with reading([sys.executable, "-c", code], tmp_path) as out:
            wait_printed(out, "sent")
            assert "over" not in out.read_text()
            with running_broker(tmp_path, push=push) as broker:
                wait_printed(out, "over")
                events = wait_for(lambda: logged(broker.address["control"], "room/*"), what="it arrives")
                assert [event.payload for event in events] == [b'{"celsius": 20.5}']


def test_a_confirmed_producer(broker: Broker, tmp_path: Path) -> None:
    _, code = blocks(README, "python")
    code = code.replace("confirm=True", f"confirm=True, control={broker.address['control']!r}")
    subprocess.run([sys.executable, "-c", code], env=environment({}), timeout=DEADLINE_S, check=True)
    assert [event.payload for event in logged(broker.address["control"], "order/*")] == [b'{"total":42}']


def test_a_producer_in_node(broker: Broker, tmp_path: Path) -> None:
    code, _ = blocks(README, "js")
    command = node(here(code, broker), tmp_path)
    subprocess.run(command, cwd=tmp_path, env=environment({}), timeout=DEADLINE_S, check=True)
    wait_for(lambda: logged(broker.address["control"], "room/*"), what="it arrives")
    assert logged(broker.address["control"], "room/*")[0].payload == b'{"celsius":21.5}'


def test_a_listener_in_five_lines(broker: Broker, gateway: Gateway, tmp_path: Path) -> None:
    (html,), (_, code) = blocks(README, "html"), blocks(README, "js")
    assert html.count("\n") + code.count("\n") <= 5
    # Our pages run no inline script.
    assert '<script type="module" src="mine.js"></script>' in html
    code = code.replace("/penstock.js", str(REPO / "web/public/penstock.js"))
    # What a browser has and Node has not: a WebSocket, and a page that it is on.
    browser = f"""
        import {{ WebSocket }} from 'ws'
        globalThis.WebSocket = WebSocket
        globalThis.location = {{ href: '{gateway.address["url"]}/' }}
    """
    push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.5}']])
    with reading(node(browser + code, tmp_path), tmp_path) as out:
        wait_printed(out, "room/temperature { celsius: 20.5 }")
        push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.6}']])
        wait_printed(out, "room/temperature { celsius: 20.6 }")


def test_a_client_of_socket_io(broker: Broker, gateway: Gateway, tmp_path: Path) -> None:
    code, *_ = blocks(SOCKET_IO, "js")
    push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.5}']])
    with reading(node(here(code, broker, gateway), tmp_path), tmp_path) as out:
        wait_printed(out, "room/temperature { celsius: 20.5 }", "subscribed { position: ", "recovered: true")
        push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.6}']])
        wait_printed(out, "room/temperature { celsius: 20.6 }")


def test_a_client_of_socket_io_that_keeps_its_offset_itself(
    broker: Broker, gateway: Gateway, tmp_path: Path
) -> None:
    beginning = """
        import { io } from 'socket.io-client'
        const socket = io('http://127.0.0.1:8000')
        // As older ones, which have none.
        socket.on('disconnect', () => { delete socket._pid; console.log('away') })
        socket.on('event', ({ data, history }) => console.log(data, history))
    """
    (code,) = blocks(SOCKET_IO, "js", "Clients that keep it themselves")
    push(broker.address["push"], [[b"room/temperature", b"1"]])
    with reading(node(here(beginning + code, broker, gateway), tmp_path), tmp_path) as out:
        wait_printed(out, "1 true")
        push(broker.address["push"], [[b"room/temperature", b"2"]])
        wait_printed(out, "2 undefined")
        gateway.kill()
        wait_printed(out, "away")
        push(broker.address["push"], [[b"room/temperature", b"3"]])
        wait_for(lambda: len(logged(broker.address["control"], "room/*")) == 3, what="a third event")
        gateway.start()
        wait_printed(out, "3 true")
        assert out.read_text().splitlines() == ["1 true", "2 undefined", "away", "3 true"]


CURLS = [(page.name, line) for page in (README, OPERATING) for line in lines(page, "sh") if "curl" in line]


@pytest.mark.parametrize(("page", "line"), CURLS)
def test_every_address_that_is_asked_answers(broker: Broker, gateway: Gateway, page: str, line: str) -> None:
    _, *options, url = shlex.split(here(line, broker, gateway))
    body = options[1].encode() if options[:1] == ["-d"] else None
    with urllib.request.urlopen(url, body, timeout=DEADLINE_S) as answer:
        assert answer.status == 200


# What programs exchange


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


def with_addresses(code: str, broker: Broker) -> str:
    """An example that uses the usual addresses without naming them, with those of this broker."""
    links = "feed={feed!r}, control={control!r}".format(**broker.address)
    code = re.sub(r'Subscriber\(("[^)]*)\)', rf"Subscriber(\1, {links})", code)
    return code.replace("Publisher()", f"Publisher({broker.address['ingest']!r}, {links})")


def test_a_subscriber_in_three_lines(broker: Broker, tmp_path: Path) -> None:
    code = blocks(SUBSCRIBERS, "python")[0]
    assert len([line for line in code.splitlines() if line]) == 3
    push(broker.address["push"], [*numbered("room/a", range(12)), [b"room/note", b"window open"]])
    wait_for(lambda: logged(broker.address["control"], "room/note"), what="all of it logged")
    with reading([sys.executable, "-c", with_addresses(code, broker)], tmp_path) as out:
        wait_printed(out, "room/a {'n': 2}", "room/note window open")
        broker.kill()
        broker.start()
        push(broker.address["push"], numbered("room/a", range(12, 14)))
        wait_printed(out, "room/a {'n': 13}")
        numbers = [f"room/a {{'n': {number}}}" for number in range(2, 14)]
        assert out.read_text().splitlines() == [*numbers[:10], "room/note window open", *numbers[10:]]


def test_a_subscriber_is_told_what_is_missing(broker: Broker, tmp_path: Path) -> None:
    push(broker.address["push"], numbered("room/a", range(2)))
    wait_for(lambda: len(logged(broker.address["control"], "room/a")) == 2, what="two events")
    code = with_addresses(blocks(SUBSCRIBERS, "python")[1], broker)
    with reading([sys.executable, "-c", code], tmp_path) as out:
        wait_printed(out, "{'n': 1}")
        assert out.read_text().startswith("missing ** 0000000000000001.99 ")
        assert out.read_text().splitlines()[0].endswith(" epoch None")


def test_a_subscriber_that_stores_its_position_goes_on_there(broker: Broker, tmp_path: Path) -> None:
    code = with_addresses(blocks(SUBSCRIBERS, "python")[2], broker)
    push(broker.address["push"], numbered("room/a", range(2)))
    wait_for(lambda: len(logged(broker.address["control"], "room/a")) == 2, what="two events")
    for first in (0, 2, 4):
        with reading([sys.executable, "-c", code], tmp_path) as out:
            wait_printed(out, f"{{'n': {first + 1}}}")
            assert [line.split(" ", 1)[1] for line in out.read_text().splitlines()] == [
                f"{{'n': {number}}}" for number in (first, first + 1)
            ]
            wait_stored(tmp_path / "room.position", logged(broker.address["control"], "room/a")[-1].seq)
        push(broker.address["push"], numbered("room/a", [first + 2, first + 3]))


def wait_stored(file: Path, seq: int) -> None:
    wait_for(lambda: file.exists() and file.read_text().endswith(f".{seq}"), what=f"{seq} in {file}")


def test_a_producer_that_asks_who_watches(broker: Broker, tmp_path: Path) -> None:
    (code,) = blocks(PRODUCERS, "python", "Work that nobody watches")
    with reading([sys.executable, "-c", with_addresses(code, broker)], tmp_path):
        wait_for(lambda: logged(broker.address["control"], "room/temperature"), what="an event")


def test_events_on_the_command_line(broker: Broker, tmp_path: Path) -> None:
    (told,) = [line for line in lines(PRODUCERS, "sh") if line.startswith("penstock pub ")]
    listening, *_ = [line for line in lines(SUBSCRIBERS, "sh") if line.startswith("penstock sub ")]
    names = ("ingest", "push", "feed", "control")
    env = environment({f"PENSTOCK_PRODUCER__{name.upper()}": broker.address[name] for name in names})
    published = subprocess.run(
        ["sh", "-c", told], cwd=REPO, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert re.fullmatch(r"[0-9a-f]{16}\.1\n", published.stdout)
    out = tmp_path / "sub.out"
    with (
        out.open("wb") as to,
        subprocess.Popen(shlex.split(listening, comments=True), env=env, stdout=to) as sub,
    ):
        try:
            wait_printed(out, 'room/temperature {"celsius": 20.5}')
        finally:
            sub.kill()


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
