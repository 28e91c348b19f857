"""Publishing from outside, over HTTP and WebSockets: once, or told that not, whoever is killed meanwhile."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.log import logged
from tests.support.processes import REPO, Broker, Gateway, environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client

PACKAGES = REPO / "web" / "node_modules"
ANYBODY = json.dumps(["room/**"])
PAGE = "https://page.example"


class Answer(NamedTuple):
    status: int
    headers: Any
    said: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.said["error"]["code"])


def post(
    gateway: Gateway, topic: str, body: bytes, key: str | None = None, headers: dict[str, str] | None = None
) -> Answer:
    named = {**({"Idempotency-Key": key} if key else {}), **(headers or {})}
    url = f"{gateway.address['own']}/api/publish/{topic}"
    request = urllib.request.Request(url, body, named, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return Answer(answer.status, answer.headers, json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, json.load(error))


def payloads(broker: Broker, topic: str) -> list[bytes]:
    return [event.payload for event in logged(broker.address["control"], topic)]


def published(gateway: Gateway) -> dict[str, int]:
    """By what became of it."""
    with urllib.request.urlopen(gateway.address["admin"] + "/metrics", timeout=DEADLINE_S) as answer:
        found = re.findall(r'^penstock_published_total\{code="(\w+)"\} (\S+)$', answer.read().decode(), re.M)
    return {code: int(float(count)) for code, count in found if float(count)}


class Set(NamedTuple):
    broker: Broker
    first: Gateway
    second: Gateway


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    folder = tmp_path_factory.mktemp("set")
    settings: dict[str, Any] = {"anonymous_publish": ANYBODY, "origins": json.dumps([PAGE])}
    with (
        running_broker(folder) as broker,
        running_gateway(folder, broker, **settings) as first,
        running_gateway(folder, broker, number=1, **settings) as second,
    ):
        yield Set(broker, first, second)


def test_what_is_answered_is_in_the_log_at_that_place(running: Set) -> None:
    before = published(running.first).get("ok", 0)
    answer = post(running.first, "room/place", b'{"v": 1.0}', headers={"Content-Type": "application/json"})
    (event,) = logged(running.broker.address["control"], "room/place")
    assert (answer.status, event.payload) == (200, b'{"v": 1.0}')
    assert answer.said["position"].endswith(f".{event.seq}") and answer.said.keys() == {"position"}
    assert published(running.first)["ok"] == before + 1


def test_a_key_is_known_to_all_gateways_and_to_websockets(running: Set) -> None:
    first = post(running.first, "room/key", b'{"v":1}', "k", {"Content-Type": "application/json"})
    again = post(running.second, "room/key", b'{"v":1}', '"k"', {"Content-Type": "application/json"})
    assert again.said == {"position": first.said["position"], "repeated": True}
    other = post(running.second, "room/key", b'{"v":2}', "k")
    assert (other.status, other.code) == (409, "conflict")
    with Client() as client:
        client.connect(running.second.address["own"])
        client.say('{"publish": "room/key", "data": {"v":1}, "key": "k", "id": 70}')
        client.say('{"publish": "room/key", "text": "x", "key": "k", "id": 71}')
        client.read_until(lambda: len(client.replies) == 2, what="two replies")
    assert client.replies[0] == {"reply": 70, "ok": {"position": first.said["position"], "repeated": True}}
    assert client.errors[0]["code"] == "conflict"
    assert payloads(running.broker, "room/key") == [b'{"v":1}']


def test_what_a_websocket_publishes_comes_as_it_was_written(running: Set) -> None:
    with Client() as client:
        client.connect(running.first.address["own"])
        followed = client.subscribe("room/kinds")
        said = ['"data": {"big": 12345678901234567890123, "n": 1.50}', '"text": "{}"', '"base64": "//4="']
        for number, each in enumerate(said, 70):
            client.say(f'{{"publish": "room/kinds", {each}, "id": {number}}}')
        client.read_events(followed, 3)
        client.read_until(lambda: len(client.replies) == 4, what="their replies")
        data = {"big": 12345678901234567890123, "n": 1.5}
        assert [event.data for event in followed.events] == [data, "{}", "//4="]
        # The place of an own event says nothing of what was received.
        places = [reply["ok"]["position"] for reply in client.replies[1:]]
        assert [int(place.split(".")[1]) for place in places] == [event.seq for event in followed.events]
    assert payloads(running.broker, "room/kinds")[0] == b'{"big": 12345678901234567890123, "n": 1.50}'


def test_a_batch_is_logged_in_one_piece_or_not_at_all(running: Set) -> None:
    lines = {"Content-Type": "application/x-ndjson"}
    bad = post(running.first, "room/batch", b'1\n\n{"v": 2\n3\n', headers=lines)
    assert (bad.status, bad.code) == (400, "bad_payload") and "line 3" in bad.said["error"]["message"]
    good = post(running.first, "room/batch", b'1\n\n{"v": 2}\n3\n', "b", lines)
    events = logged(running.broker.address["control"], "room/batch")
    assert [event.payload for event in events] == [b"1", b'{"v": 2}', b"3"]
    assert good.said["count"] == 3 and good.said["position"].endswith(f".{events[-1].seq}")
    assert events[-1].seq == events[0].seq + 2
    again = post(running.second, "room/batch", b'1\n\n{"v": 2}\n3\n', "b", lines)
    assert again.said == {**good.said, "repeated": True}


def test_where_everybody_may_publish_is_said_by_a_setting(running: Set, tmp_path: Path) -> None:
    elsewhere = post(running.first, "hall/1", b"1")
    with running_gateway(tmp_path, running.broker, number=2) as as_installed, Client() as client:
        nowhere = post(as_installed, "room/1", b"1")
        client.connect(as_installed.address["own"])
        client.say('{"publish": "room/1", "data": 1, "id": 70}')
        client.read_until(lambda: client.errors, what="a refusal")
        assert published(as_installed) == {"forbidden": 2}
        wait_for(lambda: "not published code=forbidden count=" in as_installed.stderr(), what="a line")
    for answer in (elsewhere, nowhere):
        assert (answer.status, answer.code) == (403, "forbidden")
        assert "PENSTOCK_GATEWAY__ANONYMOUS_PUBLISH='[\"room/**\"]'" in answer.said["error"]["message"]
    assert client.errors[0]["code"] == "forbidden"
    assert payloads(running.broker, "hall/1") + payloads(running.broker, "room/1") == []


def test_a_foreign_page_publishes_nothing_and_a_listed_one_does(running: Set) -> None:
    foreign = post(running.first, "room/page", b"1", headers={"Origin": "http://evil.example"})
    assert (foreign.status, foreign.code) == (403, "foreign_origin")
    assert payloads(running.broker, "room/page") == []
    listed = post(running.first, "room/page", b"1", headers={"Origin": PAGE})
    assert (listed.status, listed.headers["Access-Control-Allow-Origin"]) == (200, PAGE)


@pytest.mark.parametrize(
    ("told", "body"),
    [
        pytest.param("Content-Length: 1048577", b"", id="by its length alone"),
        pytest.param("Transfer-Encoding: chunked", b"80001\r\n" + b"x" * 0x80001 + b"\r\n", id="in chunks"),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_its_end(running: Set, told: str, body: bytes) -> None:
    host, port = running.first.address["own"].removeprefix("http://").split(":")
    head = f"POST /api/publish/room/large HTTP/1.1\r\nHost: a\r\n{told}\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), DEADLINE_S) as client:
        client.sendall(head + body * 2)
        answer = client.recv(4096).decode()
        while '"payload_too_large"' not in answer:
            more = client.recv(4096)
            assert more, answer
            answer += more.decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert payloads(running.broker, "room/large") == []


def test_bodies_that_break_off_trouble_nobody(running: Set) -> None:
    host, port = running.first.address["own"].removeprefix("http://").split(":")
    length, chunked = b"Content-Length: 9\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
    for rest in (length, length + b"abc", chunked, chunked + b"zz\r\n", chunked + b"9\r\nabc"):
        with socket.create_connection((host, int(port)), DEADLINE_S) as client:
            client.sendall(b"POST /api/publish/room/cut HTTP/1.1\r\nHost: a\r\n" + rest)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    assert payloads(running.broker, "room/cut") == []
    assert "Traceback" not in running.first.stderr()


COUNT = 60


def test_a_broker_that_is_killed_logs_what_has_a_key_once(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path) as broker,
        running_gateway(tmp_path, broker, anonymous_publish=ANYBODY) as gateway,
        ThreadPoolExecutor(20) as clients,
    ):
        answers = [clients.submit(post, gateway, "room/a", b"%d" % n, f"k{n}") for n in range(COUNT)]
        wait_for(lambda: sum(answer.done() for answer in answers) >= 5, what="some answers")
        broker.kill()
        broker.start()
        found = [answer.result() for answer in answers]
        assert {answer.status for answer in found} == {200}
        events = {b"%d" % n: int(answer.said["position"].split(".")[1]) for n, answer in enumerate(found)}
        assert {event.payload: event.seq for event in logged(broker.address["control"], "room/a")} == events
        assert len(payloads(broker, "room/a")) == COUNT
        broker.kill()
        wait_for(lambda: post(gateway, "room/a", b"1").status == 503, what="a silent broker to be known")
        refused = post(gateway, "room/a", b"1", "k")
        assert (refused.code, refused.headers["Retry-After"]) == ("unavailable", "1")


SCRIPT = """
import { WebSocket } from 'ws'
import { connect } from '%s'
globalThis.WebSocket = WebSocket
const feed = connect('%s')
const places = []
const all = Array.from({ length: %d }, (_, n) => feed.publish('room/js', { n }).then(({ position }) => {
  places.push(position)
  console.log(n)
}))
await Promise.all(all)
console.log(`done ${new Set(places).size}`)
feed.close()
"""


def test_the_javascript_client_publishes_each_once_and_in_order_whoever_is_killed(tmp_path: Path) -> None:
    count = 500
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    with (
        running_broker(tmp_path) as broker,
        running_gateway(tmp_path, broker, anonymous_publish=ANYBODY) as gateway,
    ):
        url = gateway.address["url"].replace("http://", "ws://") + "/ws"
        script, out = tmp_path / "publish.mjs", tmp_path / "out"
        script.write_text(SCRIPT % (REPO / "web/public/penstock.js", url, count))
        with out.open("wb") as to:
            process = subprocess.Popen(["node", script], cwd=tmp_path, env=environment({}), stdout=to)
        try:
            wait_for(lambda: "\n10\n" in out.read_text(), what="the first ones")
            gateway.kill()
            gateway.start()
            wait_for(lambda: "\n150\n" in out.read_text(), what="some more, over another connection")
            broker.kill()
            broker.start()
            wait_for(lambda: "done" in out.read_text(), what=lambda: f"all of them\n{out.read_text()[-200:]}")
        finally:
            process.kill()
            process.wait()
        numbers = [json.loads(payload)["n"] for payload in payloads(broker, "room/js")]
        assert numbers == list(range(count))
        assert f"done {count}" in out.read_text()
