"""WebSockets as `websocket_echo` serves them: what is sent comes back, in whatever pieces."""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import Iterator
from contextlib import closing

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.support.pressing import Pressing
from tests.support.processes import Service, running
from tests.support.waiting import DEADLINE_S

MIB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    args = ["-m", "tests.conformance.websocket_echo"]
    found = Service("websocket_echo", args, {}, tmp_path_factory.mktemp("echo"))
    with running(found):
        yield found
        assert "Traceback" not in found.stderr()


def opened(service: Service) -> ClientConnection:
    return connect(
        service.address["url"].replace("http", "ws") + "/",
        compression=None,
        proxy=None,
        max_size=None,
        open_timeout=DEADLINE_S,
    )


def frame(opcode: int, data: bytes, *, is_last: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin=is_last).serialize(mask=True)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, MIB, 16 * MIB])
@pytest.mark.parametrize("kind", [str, bytes], ids=["text", "binary"])
def test_frames_of_every_size(service: Service, kind: type, size: int) -> None:
    data: str | bytes = "*" * size if kind is str else os.urandom(size)
    with opened(service) as found:
        found.send(data)
        assert found.recv(DEADLINE_S) == data


@pytest.mark.parametrize("size", [1, 64, 65_536])
def test_messages_in_fragments(service: Service, size: int) -> None:
    text = "ä€🎈" * 100
    data = text.encode()
    parts = [data[at : at + size] for at in range(0, len(data), size)][:1_000]
    with opened(service) as found:
        # Characters are cut in half by that.
        found.socket.sendall(
            b"".join(
                frame(Opcode.CONT if at else Opcode.TEXT, part, is_last=at == len(parts) - 1)
                + frame(Opcode.PING, b"between")
                for at, part in enumerate(parts)
            )
        )
        assert found.recv(DEADLINE_S) == text


def test_bytes_of_a_frame_one_by_one(service: Service) -> None:
    with opened(service) as found:
        found.socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        for byte in frame(Opcode.TEXT, b"hello"):
            found.socket.sendall(bytes([byte]))
        assert found.recv(DEADLINE_S) == "hello"


def test_every_ping_is_answered(service: Service) -> None:
    with opened(service) as found:
        pings = [found.ping(b"%d" % number) for number in range(10)]
        assert all(ping.wait(DEADLINE_S) for ping in pings)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 3000, 3999, 4000, 4999])
def test_a_sound_close_is_answered_with_its_code(service: Service, code: int) -> None:
    with opened(service) as found:
        found.close(code, "over")
        assert found.close_code == code


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(frame(Opcode.TEXT, b"\xce\xba\xed\xa0\x80edited"), 1007, id="no UTF-8"),
        pytest.param(frame(Opcode.TEXT, b"\xf4\x90", is_last=False), 1007, id="no UTF-8 in a fragment"),
        pytest.param(frame(Opcode.CONT, b"a"), 1002, id="a continuation of nothing"),
        pytest.param(frame(Opcode.CLOSE, b"\x03"), 1002, id="half a close code"),
        pytest.param(frame(Opcode.CLOSE, b"\x03\xe7"), 1002, id="a close code that is none"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="a reserved bit"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="a reserved opcode"),
    ],
)
def test_what_breaks_a_rule_ends_the_connection(service: Service, said: bytes, code: int) -> None:
    with opened(service) as found:
        found.socket.sendall(said)
        with pytest.raises(ConnectionClosed):
            found.recv(DEADLINE_S)
        assert found.close_code == code


def test_who_does_not_read_is_not_read_and_loses_nothing(service: Service) -> None:
    message = frame(Opcode.BINARY, bytes(MIB))
    with closing(Pressing(service.address["url"] + "/", message)) as found:
        found.press()
        assert found.written < 128 * MIB
        awaited = found.finish() * (len(message) - 4)  # without the mask
        while awaited > 0:
            data = found.read()
            assert data
            awaited -= len(data)
        assert awaited == 0
