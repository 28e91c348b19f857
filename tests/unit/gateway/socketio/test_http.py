"""Requests of Engine.IO clients at a played hub, as the edge and a WSGI server hand them over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import gevent
import pytest
from gevent.hub import get_hub
from werkzeug.test import Client, EnvironBuilder, TestResponse, run_wsgi_app

from gateway.head import Head, parse
from gateway.socketio.engine_client import PACKETS_MAX, EngineClient
from gateway.socketio.http import SocketIO
from gateway.socketio.requests import Wanted
from gateway.upgrade import Refusal
from tests.support.flow import Flow
from tests.support.socketio import Browser, Played

POLLING = "EIO=4&transport=polling"
HERE = "http://here"
FOREIGN = "http://pages"


class Stage:
    """The application, and a client in the namespace."""

    def __init__(self) -> None:
        self.at = Played(Flow())
        self.socketio = SocketIO(
            self.at.clients, admit=lambda: None, greet=lambda client: None, origins=[FOREIGN]
        )
        self.browser: Browser = self.at.browser()
        self._client = Client(self.socketio.over(self._nothing))

    @property
    def session(self) -> EngineClient:
        assert self.browser.client is not None
        return self.browser.client

    def _nothing(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise AssertionError("it was for the other application")

    def request(self, method: str, headers: dict[str, str] | None = None, body: bytes = b"") -> TestResponse:
        query = f"{POLLING}&sid={self.session.sid}"
        return self._client.open(
            "/socket.io/", method=method, query_string=query, headers=headers, data=body, base_url=HERE
        )

    def post_chunked(self, body: bytes) -> tuple[str, bytes]:
        """The status, and the answer's body."""
        builder = EnvironBuilder(
            "/socket.io/", method="POST", query_string=f"{POLLING}&sid={self.session.sid}", base_url=HERE
        )
        environ = builder.get_environ()
        environ |= {"wsgi.input": BytesIO(body), "wsgi.input_terminated": True}
        assert "CONTENT_LENGTH" not in environ
        pieces, status, _ = run_wsgi_app(self._client.application, environ)
        return status, b"".join(pieces)

    def examine(self, *lines: str) -> Wanted | Refusal | None:
        told = "".join(f"{line}\r\n" for line in ("Host: here", *lines))
        head = parse(f"GET /socket.io/?{POLLING} HTTP/1.1\r\n{told}\r\n".encode())
        assert isinstance(head, Head)
        return self.socketio.examine(head, "127.0.0.1")


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    if made.browser.client is not None:
        made.browser.client.end()


def test_a_body_in_chunks_may_be_as_large_as_another(stage: Stage) -> None:
    most = stage.at.clients.limits.message_max_bytes
    start, end = b'42["a","', b'"]'
    largest = start + b"x" * (most - len(start + end)) + end
    assert stage.post_chunked(largest) == ("200 OK", b"ok")
    for more in (b"\x1e", b"\x1e" + largest):
        status, told = stage.post_chunked(largest + more)
        assert (status, stage.session.has_ended) == ("400 BAD REQUEST", True)
        assert b"maxPayload" in told
        stage.browser.connect()


def test_others_have_their_turn_while_many_packets_are_heeded(stage: Stage) -> None:
    reads, writes = os.pipe()
    os.write(writes, b"1")
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    watcher = get_hub().loop.io(reads, 1)
    watcher.start(turn)
    try:
        assert stage.request("POST", body=b"\x1e".join([b"3"] * PACKETS_MAX)).status_code == 200
    finally:
        watcher.stop()
        watcher.close()
        os.close(reads)
        os.close(writes)
    assert turns >= PACKETS_MAX // 64


@pytest.mark.parametrize(("end", "status"), [("told", 200), ("lost", 400)])
def test_who_ends_in_the_middle_of_a_payload_is_heard_no_further(stage: Stage, end: str, status: int) -> None:
    """Whoever ends by a packet knows it; whose session ends otherwise has to know that not all was taken."""
    client, packets = stage.session, ["3"] * 200
    if end == "told":
        packets[63] = "1"
    else:
        gevent.spawn(client.lose_poll)
    assert stage.request("POST", body="\x1e".join(packets).encode()).status_code == status
    assert client.has_ended


def test_a_preflight_is_answered_to_pages_of_its_host_and_those_let_in(stage: Stage) -> None:
    for headers, status in (
        ({"Origin": HERE, "Host": "here"}, 204),
        ({"Origin": FOREIGN, "Host": "here"}, 204),
        ({"Origin": "http://elsewhere", "Host": "here"}, 403),
        ({"Origin": "", "Host": ""}, 403),
        ({"Origin": FOREIGN, "Host": ""}, 403),
    ):
        answer = stage.request("OPTIONS", headers)
        assert answer.status_code == status, headers
        assert ("Access-Control-Allow-Origin" in answer.headers) == (status == 204)


@pytest.mark.parametrize(
    ("line", "is_sound"),
    [
        ("Content-Length: 0", True),
        ("Content-Length: 1", False),
        ("Content-Length: 10", False),
        ("Transfer-Encoding: chunked", False),
    ],
)
def test_a_poll_has_no_body_but_may_say_so(stage: Stage, line: str, is_sound: bool) -> None:
    assert isinstance(stage.examine(line), Wanted) == is_sound
