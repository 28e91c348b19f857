"""What is wrong is named, counted and left alone; what is right beside it goes on."""

from __future__ import annotations

import re
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.support.log import logged, status
from tests.support.processes import Broker, Gateway, Service, broker_environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client

PAYLOAD_MAX = 10_000
META = bytes(25)
# Messages that are no events, by the reason they are counted under.
BAD: dict[str, list[list[bytes]]] = {
    "frame_count": [[b"a", b"1", META, b"x"], [b"a"] * 50],
    "bad_topic": [[name, b"1"] for name in (b"", b"a//b", b"a b", b"a/*", b"\xff", b"x" * 256)],
    "system_topic": [[b"$broker/beat", b"1"], [b"$sync/x/1", b"1", META]],
    "payload_too_large": [[b"a", b"x" * (PAYLOAD_MAX + 1)], [b"x" * (PAYLOAD_MAX + 1)]],
    "bad_meta": [[b"a", b"1", b"short"], [b"a", b"1", b""]],
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    with running_broker(folder, payload_max_bytes=PAYLOAD_MAX, keep_events=100_000) as service:
        yield service


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), broker) as service:
        yield service


def dropped(broker: Broker) -> dict[str, int]:
    return status(broker.address["control"]).dropped


@pytest.fixture(params=["push", "ingest"])
def port(request: pytest.FixtureRequest, broker: Broker) -> Iterator[zmq.Socket[bytes]]:
    """A producer's socket whose link to that port stands."""
    kind = zmq.PUSH if request.param == "push" else zmq.XPUB
    with zmq.Context() as context, context.socket(kind) as sending:
        sending.set(zmq.LINGER, 0)
        sending.connect(broker.address[request.param])
        if kind == zmq.XPUB:
            # What a PUB sends before this word of the broker's is lost.
            assert sending.poll(int(DEADLINE_S * 1000)) and sending.recv() == b"\x01"
        yield sending


@pytest.mark.parametrize("reason", BAD)
def test_what_is_no_event_is_dropped_and_counted_and_the_stream_goes_on(
    broker: Broker, port: zmq.Socket[bytes], reason: str
) -> None:
    address = broker.address["control"]
    counts, after = dropped(broker), status(address).at.head
    for number, bad in enumerate(BAD[reason]):
        port.send_multipart(bad)
        port.send_multipart([b"good", b"%d" % number])
    good = wait_for(
        lambda: found if len(found := logged(address, "**", after)) >= len(BAD[reason]) else None,
        what=f"what came between, beside {dropped(broker)}",
    )
    assert [(event.topic, event.payload) for event in good] == [
        ("good", b"%d" % number) for number in range(len(BAD[reason]))
    ]
    assert dropped(broker) == {**counts, reason: counts.get(reason, 0) + len(BAD[reason])}


# A frame of ZMTP 1 is its length and flags, and what it holds; the first one is the peer's name.
OLD_ZMTP = b"\x01\x00" + b"\x05\x01room" + b"\x02\x00x"
# What a page can have a browser send anywhere: its path and headers are frames of that, too, to who wants.
HTTP = b"POST /" + b"a" * 73 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n" + OLD_ZMTP[2:]


@pytest.mark.parametrize("port", ["push", "ingest", "control", "feed"])
@pytest.mark.parametrize("said", [pytest.param(OLD_ZMTP, id="ZMTP 1"), pytest.param(HTTP, id="HTTP")])
def test_who_does_not_speak_zmtp_3_publishes_nothing(broker: Broker, port: str, said: bytes) -> None:
    host, number = broker.address[port].removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(number)), DEADLINE_S) as peer:
        peer.sendall(said)
        heard = b""
        while data := _read(peer):
            heard += data
        assert b"HTTP" not in heard
        before = status(broker.address["control"])
        push(broker.address["push"], numbered("after", [1]))
        wait_for(lambda: status(broker.address["control"]).logged > before.logged, what="an event")
        after = status(broker.address["control"])
        assert (after.received, after.dropped) == (before.received + 1, before.dropped)
        assert [event.topic for event in logged(broker.address["control"], "**")][-1] == "after"


def _read(peer: socket.socket) -> bytes:
    """Until it is closed."""
    try:
        return peer.recv(4096)
    except ConnectionError:
        return b""


def test_a_flood_of_bad_messages_is_a_line_a_second_in_the_log(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        push(broker.address["push"], [[b"a b", b"1"]] * 5_000)
        pattern = r"dropped reason=bad_topic count=(\d+)"

        def told() -> list[int]:
            return [int(count) for count in re.findall(pattern, broker.stderr())]

        wait_for(lambda: sum(told()) == 5_000, what=lambda: f"5,000 told of, there are {told()}")
        assert len(told()) <= 5


@pytest.mark.parametrize(
    ("said", "reply", "code", "named"),
    [
        pytest.param("", None, "bad_request", "an empty frame", id="nothing"),
        pytest.param("{", None, "bad_request", "not JSON", id="no JSON"),
        pytest.param("[1]", None, "bad_request", "want a JSON object", id="no object"),
        pytest.param("{}", None, "bad_request", "exactly one of subscribe", id="no verb"),
        pytest.param('{"dance": 1, "id": 3}', 3, "bad_request", "exactly one of", id="unknown verb"),
        pytest.param(
            '{"subscribe": "a", "ping": 1, "id": 3}', 3, "bad_request", "exactly one of", id="two verbs"
        ),
        pytest.param('{"subscribe": "a"}', None, "bad_request", "id is missing", id="no id"),
        pytest.param('{"subscribe": "a", "id": -1}', None, "bad_request", "id: want", id="negative id"),
        pytest.param('{"subscribe": "a", "id": "x"}', None, "bad_request", "id: want", id="id of text"),
        pytest.param('{"subscribe": 5, "id": 3}', 3, "bad_pattern", "as a string", id="pattern is a number"),
        pytest.param('{"subscribe": "a//b", "id": 3}', 3, "bad_pattern", "empty segment", id="bad pattern"),
        pytest.param('{"subscribe": "**/a", "id": 3}', 3, "bad_pattern", "last segment", id="early **"),
        pytest.param('{"subscribe": "$broker/beat", "id": 3}', 3, "forbidden", "system's own", id="system"),
        pytest.param(
            '{"subscribe": "a", "id": 3, "histroy": 5}', 3, "bad_request", "'histroy'", id="unknown field"
        ),
        pytest.param(
            '{"subscribe": "a", "id": 3, "history": 1e9}', 3, "bad_request", "history: want", id="history"
        ),
        pytest.param('{"subscribe": "a", "id": 3, "since": "x"}', 3, "bad_request", "since: bad", id="since"),
        pytest.param(
            '{"subscribe": "a", "id": 3, "since": "0000000000000001.1", "history": 1}',
            3,
            "bad_request",
            "exclude each other",
            id="both",
        ),
        pytest.param('{"unsubscribe": "zz", "id": 3}', 3, "not_subscribed", "'zz'", id="never subscribed"),
        pytest.param('{"publish": "a", "data": 1, "id": 3}', 3, "forbidden", "anonymous_", id="publish"),
        pytest.param('{"publish": "a b", "data": 1, "id": 3}', 3, "bad_topic", "white space", id="bad topic"),
        pytest.param('{"publish": "a", "base64": "?", "id": 3}', 3, "bad_payload", "base64", id="payload"),
        pytest.param('{"token": "x", "id": 3}', 3, "forbidden", "token", id="token"),
        pytest.param(b"\x00\x01", None, "bad_request", "want text", id="binary"),
        pytest.param("[" * 5_000, None, "bad_request", "not JSON", id="deep"),
    ],
)
def test_a_client_is_told_what_was_wrong_and_stays(
    gateway: Gateway, said: str | bytes, reply: int | None, code: str, named: str
) -> None:
    with Client() as client:
        client.connect(gateway.address["url"])
        client.say(said)
        client.say('{"ping": 1, "id": 77}')
        client.read_until(lambda: len(client.replies) == 2, what="a refusal and a pong")
        refused, pong = client.replies
        assert (refused["reply"], refused["error"]["code"]) == (reply, code)
        assert named in refused["error"]["message"]
        assert pong["reply"] == 77 and "time" in pong["ok"]


def test_a_payload_too_deep_for_the_parser_is_text(broker: Broker, gateway: Gateway) -> None:
    with Client() as client:
        client.connect(gateway.address["url"])
        followed = client.subscribe("deep/a")
        push(broker.address["push"], [[b"deep/a", b"[" * 2_000], *numbered("deep/a", [1])])
        client.read_more(followed, 2)
        assert client.subscribe("deep/**", history=5)


def test_a_thousand_subscribes_at_once_are_answered_in_order(gateway: Gateway) -> None:
    """With a prefix each: one barrier does for all, and the connection joins the flow once."""
    with Client() as client:
        client.connect(gateway.address["url"])
        client.say("\n".join(f'{{"subscribe": "many/{n}/**", "id": {n}}}' for n in range(1_000)))
        client.read_until(lambda: len(client.replies) == 1_000, what="a thousand replies")
        assert [answer["reply"] for answer in client.replies] == list(range(1_000))
        assert all("ok" in answer for answer in client.replies)


def test_what_is_right_in_a_frame_with_mistakes_is_done(broker: Broker, gateway: Gateway) -> None:
    with Client() as client:
        client.connect(gateway.address["url"])
        followed = client.subscribe("mixed/a")
        client.say('{"subscribe": "mixed//b", "id": 90}\n{"nonsense"}\n{"ping": 1, "id": 91}')
        client.read_until(lambda: len(client.replies) == 4, what="an answer to each")
        assert [answer["reply"] for answer in client.replies[1:]] == [90, None, 91]
        push(broker.address["push"], numbered("mixed/a", [1]))
        client.read_more(followed, 1)


class Started:
    """A process that ended by itself."""

    def __init__(self, service: Service) -> None:
        service.launch()
        try:
            self.code = service.wait()
            self.lines = service.stderr().splitlines()
            self.stdout = service.stdout()
        finally:
            service.end()

    @property
    def complaint(self) -> str:
        """Its one line, beside what it logs of itself."""
        told = [line for line in self.lines if not re.match(r"\d{4}-\d\d-\d\d ", line)]
        assert len(told) == 1, self.lines
        return told[0]


def start_broker(folder: Path, **settings: object) -> Started:
    env = broker_environment(folder) | named("BROKER", settings)
    return Started(Service("broker", ["-m", "broker"], env, folder))


def start_gateway(folder: Path, **settings: object) -> Started:
    env = named("GATEWAY", {"port": 0, "own_port": 0, "admin_port": 0, **settings})
    return Started(Service("gateway", ["-m", "gateway"], env, folder))


def named(section: str, settings: dict[str, Any]) -> dict[str, str]:
    return {f"PENSTOCK_{section}__{name.upper()}": str(value) for name, value in settings.items()}


@pytest.fixture
def busy() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield somebody.getsockname()[1]


@pytest.mark.parametrize("name", ["ingest", "push", "control", "feed", "admin"])
def test_a_broker_names_the_port_that_is_in_use(tmp_path: Path, busy: int, name: str) -> None:
    address = f"127.0.0.1:{busy}" if name == "admin" else f"tcp://127.0.0.1:{busy}"
    ended = start_broker(tmp_path, **{name: address})
    assert (ended.code, ended.stdout) == (1, "")
    assert f"{address} is in use: stop the process" in ended.complaint
    assert f"PENSTOCK_BROKER__{name.upper()}" in ended.complaint


@pytest.mark.parametrize("name", ["port", "own_port", "admin_port"])
def test_a_gateway_names_the_port_that_is_in_use(tmp_path: Path, busy: int, name: str) -> None:
    ended = start_gateway(tmp_path, **{name: busy})
    assert (ended.code, ended.stdout) == (1, "")
    assert f"127.0.0.1:{busy} is in use: stop the process" in ended.complaint
    assert f"PENSTOCK_GATEWAY__{name.upper()}" in ended.complaint


def write_text(path: Path) -> None:
    path.write_text("Dear diary, " * 100)


def write_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name)")
    database.close()


@pytest.mark.parametrize("write", [write_text, write_database])
def test_a_file_that_is_no_log_is_left_as_it_is(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "log.db"
    write(path)
    before = path.read_bytes()
    ended = start_broker(tmp_path)
    assert (ended.code, ended.stdout) == (1, "")
    assert f"{path} is not a Penstock log" in ended.complaint
    assert "move it away, or set PENSTOCK_BROKER__LOG" in ended.complaint
    assert path.read_bytes() == before


def test_a_log_that_is_held_names_its_holder_who_goes_on(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        ended = start_broker(tmp_path)
        assert (ended.code, ended.stdout) == (1, "")
        assert f"the log {tmp_path / 'log.db'} is held by process {broker.pid}" in ended.complaint
        assert "stop that one, or set PENSTOCK_BROKER__LOG" in ended.complaint
        push(broker.address["push"], numbered("a", [1]))
        wait_for(lambda: logged(broker.address["control"], "a"), what="an event in the log all the same")


@pytest.mark.parametrize(
    ("start", "setting", "value", "said"),
    [
        pytest.param(start_broker, "keep_evnts", 5, "mean PENSTOCK_BROKER__KEEP_EVENTS?", id="unknown"),
        pytest.param(start_broker, "keep_events", 0, "from 1", id="out of range"),
        pytest.param(start_broker, "feed", "tcp://nowhere", "cannot listen there", id="no such address"),
        pytest.param(start_gateway, "prot", 5, "did you mean PENSTOCK_GATEWAY__PORT?", id="gateway, unknown"),
        pytest.param(start_gateway, "port", 70_000, "to 65535", id="gateway, out of range"),
        pytest.param(start_gateway, "feed", "nowhere", "PENSTOCK_GATEWAY__FEED", id="gateway, no address"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, start: Any, setting: str, value: object, said: str) -> None:
    ended = start(tmp_path, **{setting: value})
    assert (ended.code, ended.stdout) == (78, "")
    assert said in ended.complaint
