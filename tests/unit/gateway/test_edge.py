"""The edge server over real sockets: who gets a 101, who a refusal, how long, and what stays behind."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from http import HTTPStatus
from typing import Any

import gevent
import gevent.select
import pytest
from gevent import socket as gsocket
from gevent.event import Event

import gateway.edge
from broker.errors import AddressInUse, BadSetting
from gateway import plain
from gateway.arrival import Arrival
from gateway.edge import EdgeServer
from gateway.listener import listen, turn_away
from gateway.lobby import Lobby
from gateway.plain import Handler
from gateway.upgrade import Refusal, Upgrade
from tests.support.waiting import wait_in_loop

DEADLINE_S = 5
HEAD = (
    "{method} {target} {version}\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)


def request(method: str = "GET", target: str = "/ws", version: str = "HTTP/1.1", more: str = "") -> bytes:
    return HEAD.format(method=method, target=target, version=version, more=more).encode()


class Edge:
    """A server on a port of the kernel's choice, and whom it adopted."""

    def __init__(self, **options: Any) -> None:
        self.adopted: list[tuple[int, Upgrade, bytes]] = []
        self._changed = Event()
        listener = listen("127.0.0.1", 0, reuse=False, setting="PORT")
        self.server = EdgeServer(
            listener, self._application, adopt=self._adopt, admit=self._admit, deflates=True, **options
        )
        self.port: int = listener.getsockname()[1]
        self.server.start()
        self._clients: list[Any] = []

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fault":
            raise ValueError("a fault of ours")
        body = b"" if environ["PATH_INFO"] == "/unread" else environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        # A generator has no length that pywsgi could tell.
        if environ["PATH_INFO"] == "/unknown":
            return iter([b"/unknown"])
        if environ["PATH_INFO"] == "/late-fault":
            return (b"x" * (10 // left) for left in (2, 1, 0))
        return [environ["PATH_INFO"].encode() + body]

    def _adopt(self, fd: int, upgrade: Upgrade, head: bytes, early: bytes) -> None:
        os.write(fd, head)
        self.adopted.append((fd, upgrade, early))
        self._changed.set()

    def _admit(self, upgrade: Upgrade) -> Refusal | None:
        if upgrade.path == "/ws":
            return None
        return Refusal(HTTPStatus.NOT_FOUND, "not_found", f"no WebSocket at {upgrade.path}")

    def adopts(self, count: int) -> list[tuple[int, Upgrade, bytes]]:
        """Wait until so many were adopted."""
        with gevent.Timeout(DEADLINE_S):
            while len(self.adopted) < count:
                self._changed.clear()
                self._changed.wait()
        return self.adopted

    def connect(self, data: bytes) -> Any:
        client = gsocket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        self._clients.append(client)
        client.sendall(data)
        return client

    def answer(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer that ends with its Content-Length."""
        return read_answer(self.connect(data))

    def close(self) -> None:
        self.server.stop()
        for client in self._clients:
            client.close()
        for fd, _, _ in self.adopted:
            os.close(fd)


def read_answer(client: Any) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(1)  # to the end of the head, and no byte further
    first, *lines = data[:-4].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body, size = b"", int(headers.get("Content-Length", "0"))
    while len(body) < size:
        body += client.recv(size - len(body))  # nor here
    return int(first.split()[1]), headers, body


@pytest.fixture
def edge() -> Iterator[Edge]:
    edge = Edge()
    try:
        yield edge
    finally:
        edge.close()


def test_the_101_is_right(edge: Edge) -> None:
    status, headers, _ = edge.answer(request(more="Sec-WebSocket-Protocol: penstock.v1\r\n"))
    assert status == 101
    # The key and the answer to it are those of RFC 6455, 1.3.
    assert headers == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Sec-WebSocket-Protocol": "penstock.v1",
    }


def test_a_protocol_not_offered_is_not_named(edge: Edge) -> None:
    assert "Sec-WebSocket-Protocol" not in edge.answer(request())[1]


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        pytest.param(
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            id="taken",
        ),
        pytest.param("permessage-deflate; server_max_window_bits=9", None, id="not acceptable"),
        pytest.param('permessage-deflate; "', None, id="malformed"),
    ],
)
def test_compression_is_agreed_on(edge: Edge, offer: str, answer: str | None) -> None:
    status, headers, _ = edge.answer(request(more=f"Sec-WebSocket-Extensions: {offer}\r\n"))
    assert (status, headers.get("Sec-WebSocket-Extensions")) == (101, answer)
    [(_, upgrade, _)] = edge.adopts(1)
    assert upgrade.extensions == answer


def test_the_descriptor_is_handed_over_open_and_non_blocking(edge: Edge) -> None:
    client = edge.connect(request(target="/ws?a=1"))
    assert read_answer(client)[0] == 101
    [(fd, upgrade, early)] = edge.adopts(1)
    assert (upgrade.path, upgrade.query, upgrade.host, early) == ("/ws", "a=1", "localhost", b"")
    assert os.get_blocking(fd) is False
    with socket.socket(fileno=os.dup(fd)) as ours:
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    os.write(fd, b"from the gateway")
    assert client.recv(100) == b"from the gateway"
    # What comes now stays in the kernel for the new owner: nobody else reads here.
    client.sendall(b"to the gateway")
    with gevent.Timeout(DEADLINE_S):
        gsocket.wait_read(fd)
    assert os.read(fd, 100) == b"to the gateway"


def test_bytes_behind_the_request_are_handed_over(edge: Edge) -> None:
    edge.connect(request() + b"\x81\x80abcd")
    [(_, _, early)] = edge.adopts(1)
    assert early == b"\x81\x80abcd"


def test_an_upgrade_may_follow_plain_requests_on_one_connection(edge: Edge) -> None:
    client = edge.connect(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
    assert read_answer(client)[2] == b"/plain"
    client.sendall(request())
    assert read_answer(client)[0] == 101


def test_nothing_of_the_request_stays_behind(edge: Edge) -> None:
    count = 20
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(count):
            read_answer(edge.connect(request()))
        edge.adopts(count)
        gevent.idle()  # the handlers' greenlets end
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Handler | Arrival)]
        # The clients' sockets and what `adopt` noted are the test's own, a few objects each.
        assert len(gc.get_objects()) - before < 15 * count
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        pytest.param(request(target="/elsewhere"), 404, "not_found", id="no WebSocket there"),
        pytest.param(request(more="Origin: http://evil.example\r\n"), 403, "foreign_origin", id="foreign"),
        pytest.param(request(method="POST"), 405, "bad_method", id="POST"),
        pytest.param(request(version="HTTP/1.0"), 400, "bad_request", id="HTTP/1.0"),
        pytest.param(request().replace(b"Version: 13", b"Version: 12"), 400, "bad_version", id="version 12"),
        pytest.param(request().replace(b"-Version", b"-None"), 426, "bad_version", id="no version"),
        pytest.param(request().replace(b"dGhl", b"!!!!"), 400, "bad_request", id="key no base64"),
        pytest.param(request().replace(b"Host", b"Ghost"), 400, "bad_request", id="no Host"),
    ],
)
def test_a_refusal_is_json_and_ends_the_connection(edge: Edge, data: bytes, status: int, code: str) -> None:
    client = edge.connect(data)
    found, headers, body = read_answer(client)
    assert (found, json.loads(body)["error"]["code"]) == (status, code)
    assert headers["Connection"] == "close"
    assert client.recv(1) == b""
    assert not edge.adopted


def test_doubtful_requests_end_the_connection(edge: Edge) -> None:
    client = edge.connect(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert read_answer(client)[0] == 400
    assert client.recv(1) == b""


def test_plain_requests_go_to_the_application(edge: Edge) -> None:
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    assert edge.answer(data)[2] == b"/echoabc"


def test_a_client_that_leaves_early_hurts_nobody(edge: Edge) -> None:
    edge.connect(b"GET /ws HT").close()
    edge.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na").close()
    assert edge.answer(request())[0] == 101


PLAIN = b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_head_may_come_byte_by_byte(edge: Edge) -> None:
    client = edge.connect(b"")
    for byte in b"\r\n" + request():
        client.sendall(bytes((byte,)))
    assert read_answer(client)[0] == 101


def test_requests_in_one_packet_are_answered_in_their_order(edge: Edge) -> None:
    post = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    chunked = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    client = edge.connect(post % 1 + PLAIN + post % 2 + chunked + PLAIN + request() + b"\x81\x80abcd")
    answers = [read_answer(client) for _ in range(6)]
    assert [body for _, _, body in answers] == [b"/1abc", b"/plain", b"/2abc", b"/cab", b"/plain", b""]
    assert answers[-1][0] == 101
    [(_, _, early)] = edge.adopts(1)
    assert early == b"\x81\x80abcd"


def test_a_large_body_is_read_to_its_end(edge: Edge) -> None:
    body = bytes(range(256)) * 1_000
    client = edge.connect(
        b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body + PLAIN
    )
    assert read_answer(client)[2] == b"/p" + body
    assert read_answer(client)[2] == b"/plain"


def test_a_body_that_nobody_reads_is_no_request(edge: Edge) -> None:
    body = PLAIN
    client = edge.connect(
        b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body + request()
    )
    assert read_answer(client)[2] == b"/unread"
    assert read_answer(client)[0] == 101


UNREAD = b"POST /unread HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"


@pytest.mark.parametrize(
    ("told", "more"),
    [
        pytest.param(b"Content-Length: 100000", b"x" * 100_000, id="whole"),
        pytest.param(b"Transfer-Encoding: chunked", b"3e8\r\n" + b"x" * 1_000 + b"\r\n", id="without end"),
        pytest.param(b"Content-Length: 1000\r\nExpect: 100-continue", b"", id="if it was wanted"),
    ],
)
def test_who_has_more_to_say_than_anybody_hears_has_the_answer_and_goes(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, told: bytes, more: bytes
) -> None:
    monkeypatch.setattr(plain, "DISCARDED_MAX_BYTES", 50_000)
    client = edge.connect(UNREAD % told)
    assert read_answer(client)[2] == b"/unread"
    with suppress(ConnectionError):  # it may hear of the end as it speaks
        for _ in range(100):
            client.sendall(more)
        assert client.recv(1) == b""


def test_a_body_that_does_not_come_to_its_end_is_no_fault_of_ours(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    client = edge.connect(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    assert (edge.server.tally.counts, caplog.records) == ({"cut": 1}, [])


def test_a_body_has_its_time_in_all(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "BODY_S", 0.2)
    client = edge.connect(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    with pytest.raises(ConnectionError), gevent.Timeout(DEADLINE_S):
        while True:
            client.sendall(b"x")  # never still
            gevent.idle()
    assert edge.server.tally.counts == {"cut": 1}


@pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n"])
@pytest.mark.parametrize("path", ["/plain", "/unknown"])
def test_http_1_0_gets_one_answer_that_ends_with_its_connection(
    edge: Edge, path: str, connection: str
) -> None:
    client = edge.connect(f"GET {path} HTTP/1.0\r\n{connection}\r\n".encode() + PLAIN)
    data = b""
    while piece := client.recv(1024):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == path.encode()
    assert b"chunked" not in head and b"keep-alive" not in head and b"Connection: close" in head


@pytest.mark.parametrize("wish", ["close", "Close", "foo, close"])
def test_who_wants_the_connection_closed_has_it_closed(edge: Edge, wish: str) -> None:
    client = edge.connect(f"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: {wish}\r\n\r\n".encode())
    assert read_answer(client)[2] == b"/plain"
    assert client.recv(1) == b""


def test_an_answer_of_unknown_length_comes_in_chunks(edge: Edge) -> None:
    client = edge.connect(PLAIN.replace(b"plain", b"unknown") + PLAIN)
    assert read_answer(client)[1]["Transfer-Encoding"] == "chunked"
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        data += client.recv(1)
    assert data == b"8\r\n/unknown\r\n0\r\n\r\n"
    assert read_answer(client)[2] == b"/plain"


@pytest.mark.parametrize("path", ["/fault", "/late-fault"])
def test_a_fault_of_ours_is_a_500_and_a_line(edge: Edge, caplog: pytest.LogCaptureFixture, path: str) -> None:
    status, _, body = edge.answer(f"GET {path}?token=secret HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert (status, body) == (500, b"Internal Server Error")
    (record,) = caplog.records
    assert f"path={path}" in record.getMessage() and "secret" not in record.getMessage()
    assert record.exc_info and isinstance(record.exc_info[1], ValueError | ZeroDivisionError)


def test_a_large_answer_comes_whole(edge: Edge) -> None:
    body = bytes(range(256)) * 2_000
    data = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert edge.answer(data + PLAIN)[2] == b"/p" + body


# Time


def ends(client: Any) -> bytes:
    """What came until the other side ended the connection."""
    data = b""
    with gevent.Timeout(DEADLINE_S), suppress(ConnectionResetError):
        while piece := client.recv(1024):
            data += piece
    return data


@pytest.fixture
def hurried() -> Iterator[Edge]:
    edge = Edge(head_s=0.2)
    try:
        yield edge
    finally:
        edge.close()


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"G", id="a byte"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\r\n", id="half a head"),
        pytest.param(b"\x16\x03\x01\x02", id="TLS"),
    ],
)
def test_a_head_that_does_not_come_ends_the_connection(hurried: Edge, begun: bytes) -> None:
    status, headers, body = read_answer(hurried.connect(begun))
    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    assert headers["Connection"] == "close"
    assert hurried.server.lobby.count == 0
    assert hurried.server.tally.counts["request_timeout"] == 1


def test_bytes_now_and_then_win_no_time(hurried: Edge) -> None:
    client = hurried.connect(b"GET /ws HTTP/1.1\r\nX: ")
    with gevent.Timeout(DEADLINE_S):
        while not gevent.select.select([client], [], [], 0.01)[0]:
            client.sendall(b"x")
    assert ends(client).startswith(b"HTTP/1.1 408")


def test_a_connection_that_is_kept_has_longer_until_it_begins() -> None:
    edge = Edge(head_s=1)
    try:
        quick, idle = edge.connect(PLAIN), edge.connect(PLAIN)
        for client in (quick, idle):
            assert read_answer(client)[2] == b"/plain"
        quick.sendall(b"GET")
        assert ends(quick).startswith(b"HTTP/1.1 408")
        idle.sendall(PLAIN)  # later than `quick` by all that it was given
        assert read_answer(idle)[2] == b"/plain"
    finally:
        edge.close()


def test_a_connection_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.edge, "KEPT_S", 0.2)
    edge = Edge(head_s=1)
    try:
        client = edge.connect(PLAIN)
        assert read_answer(client)[2] == b"/plain"
        assert ends(client) == b""
        assert edge.server.lobby.count == 0
    finally:
        edge.close()


def test_whoever_is_idle_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.edge, "KEPT_MAX", 2)
    edge = Edge(lobby=Lobby(1, 1))
    try:
        idle = [edge.connect(b"") for _ in range(3)]
        assert [read_answer(client)[0] for client in idle[1:]] == [429, 429]
        idle[1:] = []
        for _ in range(3):
            idle[-1].sendall(PLAIN)
            assert read_answer(idle[-1])[2] == b"/plain"
            idle.append(edge.connect(b""))
        oldest, second, third, fourth = idle
        assert ends(oldest) == b""
        fourth.sendall(b"GET")
        second.sendall(PLAIN)  # it comes back while there is no place
        assert read_answer(second)[0] == 429
        fourth.sendall(PLAIN[3:])
        assert read_answer(fourth)[2] == b"/plain"
        third.close()
    finally:
        edge.close()


def test_a_body_that_stands_still_ends_the_connection(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.edge, "STILL_S", 0.2)
    for path in (b"/echo", b"/unread"):
        client = edge.connect(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
        assert (b"200 OK" in ends(client)) is (path == b"/unread")
    assert edge.server.lobby.count == 0


# Number


def test_a_head_that_does_not_end_is_cut(edge: Edge) -> None:
    client = edge.connect(b"GET /ws HTTP/1.1\r\n")
    with suppress(OSError):
        for _ in range(20):
            client.sendall(b"X: " + b"x" * 4_000 + b"\r\n")
    assert ends(client).startswith(b"HTTP/1.1 431") or edge.server.tally.counts["bad_request"] == 1
    assert edge.server.lobby.count == 0


def test_too_many_at_once_are_refused_and_the_others_served() -> None:
    edge = Edge(lobby=Lobby(10, 3))
    try:
        waiting = [edge.connect(b"GET") for _ in range(3)]
        status, headers, body = edge.answer(request())
        assert (status, json.loads(body)["error"]["code"]) == (429, "too_many_arrivals")
        assert headers["Retry-After"] == "1"
        for client in waiting:
            client.sendall(request()[3:])
            assert read_answer(client)[0] == 101
        # Adopted, they wait no more.
        assert edge.answer(request())[0] == 101
        assert edge.server.lobby.count == 0
    finally:
        edge.close()


def test_everybody_who_has_gone_is_counted_out(edge: Edge) -> None:
    for data in (b"", b"GET", PLAIN, request(), request(target="/no"), b"\r\nnonsense\r\n\r\n"):
        client = edge.connect(data)
        if data.endswith(b"\r\n\r\n"):
            read_answer(client)
        client.close()
    wait_in_loop(lambda: edge.server.lobby.count == 0, what="nobody is left")


def test_many_refusals_are_a_line_a_kind(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(50):
        edge.answer(request(target="/no"))
        edge.answer(b"nonsense\r\n\r\n")

    def told() -> dict[str, int]:
        found: Counter[str] = Counter()
        for record in caplog.records:
            if match := re.search(r"refused code=(\w+) count=(\d+)", record.getMessage()):
                found[match[1]] += int(match[2])
        return found

    wait_in_loop(
        lambda: told() == {"not_found": 50, "bad_request": 50}, what=lambda: f"50 of each told: {told()}"
    )
    assert len(caplog.records) <= 20


def test_listeners_share_a_port_only_when_told() -> None:
    with listen("127.0.0.1", 0, reuse=True, setting="PORT") as first:
        port = first.getsockname()[1]
        listen("127.0.0.1", port, reuse=True, setting="PORT").close()
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port} is in use.*PORT"):
            listen("127.0.0.1", port, reuse=False, setting="PORT")


@pytest.mark.parametrize(
    "host", [pytest.param("203.0.113.1", id="another's"), pytest.param("\u00e4..b", id="none at all")]
)
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(BadSetting, match=re.escape(f"HOST: cannot listen on {host}:0: ")):
        listen(host, 0, reuse=False, setting="HOST")


def test_who_waits_in_the_queue_is_taken_in_and_nobody_after(edge: Edge) -> None:
    edge.server.stop_accepting()
    queued = edge.connect(request())
    edge.server.leave()
    assert read_answer(queued)[0] == 101
    with pytest.raises(ConnectionRefusedError):
        edge.connect(b"")


def test_an_answer_is_the_last_when_we_leave_and_says_so(edge: Edge) -> None:
    kept = edge.connect(PLAIN)
    assert "Connection" not in read_answer(kept)[1]
    edge.server.leave()
    assert edge.server.let_go() is False  # it may be about to ask
    kept.sendall(PLAIN)
    status, headers, body = read_answer(kept)
    assert (status, headers["Connection"], body) == (200, "close", b"/plain")
    assert kept.recv(1) == b""
    assert edge.server.let_go() is True


def test_an_upgrade_is_taken_while_we_leave(edge: Edge) -> None:
    kept = edge.connect(PLAIN)
    read_answer(kept)
    edge.server.leave()
    kept.sendall(request())
    assert read_answer(kept)[0] == 101


def test_who_says_nothing_is_let_go_and_who_has_begun_is_not(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.edge, "QUIET_S", 0.0)
    kept, new, begun = edge.connect(PLAIN), edge.connect(b""), edge.connect(PLAIN[:9])
    read_answer(kept)
    wait_in_loop(lambda: edge.server.lobby.count >= 2, what="two who are about to ask")
    edge.server.leave()
    assert edge.server.let_go() is False
    assert (kept.recv(1), new.recv(1)) == (b"", b"")
    begun.sendall(PLAIN[9:])
    assert read_answer(begun)[2] == b"/plain"
    wait_in_loop(edge.server.let_go, what="the last one is let go")


def test_time_in_which_we_stood_still_is_not_held_against_anybody(edge: Edge) -> None:
    slow = edge.connect(PLAIN[:9])
    wait_in_loop(lambda: edge.server.lobby.count, what="one who is about to ask")
    (arrival,) = edge.server._fresh.all()
    edge.server._fresh.discard(arrival)
    edge.server._fresh.add(arrival, time.monotonic() - 60)
    edge.server._ticked_s = time.monotonic() - 60
    edge.server._tick()
    slow.sendall(PLAIN[9:])
    assert read_answer(slow)[0] == 200


def test_who_begins_to_connect_finds_another_door() -> None:
    with closing(listen("127.0.0.1", 0, reuse=True, setting="PORT")) as stays:
        port = stays.getsockname()[1]
        leaves = listen("127.0.0.1", port, reuse=True, setting="PORT")
        turn_away(leaves)
        with ExitStack() as stack:
            for _ in range(16):
                client = stack.enter_context(closing(socket.socket()))
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            with pytest.raises(BlockingIOError):
                leaves.accept()
            leaves.close()
            # Half of them try again, after a second.
            for _ in range(16):
                gsocket.wait_read(stays.fileno(), timeout=DEADLINE_S)
                stack.enter_context(closing(stays.accept()[0]))
