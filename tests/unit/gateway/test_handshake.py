"""The answer to a request for a WebSocket, and how it leaves."""

from __future__ import annotations

import gc

import pytest

from gateway.forms import NATIVE, RAW, Form
from gateway.handshake import Handshake
from gateway.upgrade import Upgrade
from tests.support.flow import PLENTY, Flow, Socket

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


def upgrade(protocol: str | None = None, extensions: str | None = None) -> Upgrade:
    key = "dGhlIHNhbXBsZSBub25jZQ=="  # as in RFC 6455, 1.3
    return Upgrade("/ws", "", "a", None, protocol, "127.0.0.1:5", key, extensions)


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        pytest.param(upgrade(), b"", id="plain"),
        pytest.param(upgrade("penstock.v1"), b"Sec-WebSocket-Protocol: penstock.v1\r\n", id="protocol"),
        pytest.param(upgrade(None, "x; y"), b"Sec-WebSocket-Extensions: x; y\r\n", id="extension"),
    ],
)
def test_the_head_of_the_101(asked: Upgrade, more: bytes) -> None:
    assert Handshake().answer(asked) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" + more + b"\r\n"
    )


def test_one_serves_all_and_keeps_nothing() -> None:
    handshake = Handshake()
    answers = {handshake.answer(upgrade()) for _ in range(3)}
    assert len(answers) == 1
    gc.collect()
    gc.disable()  # nor for the collector to find
    try:
        before = len(gc.get_objects())
        for _ in range(100):
            handshake.answer(upgrade())
        assert len(gc.get_objects()) - before < 20
    finally:
        gc.enable()


def begun(form: Form, room: int = PLENTY) -> Socket:
    """A connection that has yet to send the head of its answer when it joins the hub."""
    hub = Flow().hub
    socket = Socket(hub, 1, room, form)
    socket._work().unsent = memoryview(HEAD)
    hub.add(socket)
    return socket


@pytest.mark.parametrize(("form", "begin"), [(NATIVE, b'{"welcome"'), (RAW, b"")], ids=["native", "raw"])
def test_it_goes_out_in_one_write_with_the_first_words(form: Form, begin: bytes) -> None:
    socket = begun(form)
    assert socket.writes == 1
    assert socket._sent.startswith(HEAD)
    (*words,) = _frames(socket)
    assert [word[: len(begin)] for word in words] == ([begin] if begin else [])


def test_a_socket_that_takes_little_gets_the_rest_later() -> None:
    socket = begun(NATIVE, room=10)
    assert socket._sent == HEAD[:10]
    socket.room = PLENTY
    socket.pump()
    assert socket._sent.startswith(HEAD)
    (word,) = _frames(socket)
    assert word.startswith(b'{"welcome"')


def _frames(socket: Socket) -> list[bytes]:
    """The payloads of what came behind the head."""
    socket._sent = socket._sent.removeprefix(HEAD)
    return list(socket.frames())
