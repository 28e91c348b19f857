"""The edge server over real sockets: who gets a 101, who a refusal, and what stays behind."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event

from broker.errors import AddressInUse, BadSetting
from gateway.handshake import EdgeServer, Handler, listen
from gateway.upgrade import Refusal, Upgrade

DEADLINE_S = 5
HEAD = (
    "{method} {target} {version}\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)


def request(method: str = "GET", target: str = "/ws", version: str = "HTTP/1.1", more: str = "") -> bytes:
    return HEAD.format(method=method, target=target, version=version, more=more).encode()


class Edge:
    """A server on a port of the kernel's choice, and whom it adopted."""

    def __init__(self) -> None:
        self.adopted: list[tuple[int, Upgrade, bytes]] = []
        self._changed = Event()
        listener = listen("127.0.0.1", 0, reuse=False, setting="PORT")
        self.server = EdgeServer(
            listener, self._application, adopt=self._adopt, admit=self._admit, deflates=True
        )
        self.port: int = listener.getsockname()[1]
        self.server.start()
        self._clients: list[Any] = []

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["PATH_INFO"].encode() + environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    def _adopt(self, fd: int, upgrade: Upgrade, early: bytes) -> None:
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
    body = b""
    while len(body) < int(headers.get("Content-Length", "0")):
        body += client.recv(1024)
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
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Handler)]
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
    assert edge.answer(request())[0] == 101


def test_listeners_share_a_port_only_when_told() -> None:
    with listen("127.0.0.1", 0, reuse=True, setting="PORT") as first:
        port = first.getsockname()[1]
        listen("127.0.0.1", port, reuse=True, setting="PORT").close()
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port} is in use.*PORT"):
            listen("127.0.0.1", port, reuse=False, setting="PORT")


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(BadSetting, match=r"HOST: cannot listen on 203\.0\.113\.1:0"):
        listen("203.0.113.1", 0, reuse=False, setting="HOST")
