"""Three of `handing` on one port, and connections to them, request by request."""

from __future__ import annotations

import json
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import Service, running
from tests.support.waiting import DEADLINE_S

IDS = ("00", "01", "02")
UNKNOWN = {"code": 1, "message": "Session ID unknown"}

Set = dict[str, Service]


def handing(folder: Path, sockets: str, gateway_id: str, port: int) -> Service:
    args = ["-m", "tests.support.handing", "--id", gateway_id, "--folder", sockets, "--port", str(port)]
    return Service(f"handing-{gateway_id}", args, {}, folder)


@contextmanager
def three(folder: Path) -> Iterator[Set]:
    """On one port, each with one of its own."""
    # pytest's own folders have names too long for a Unix socket.
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="penstock-") as sockets:
        found: Set = {}
        port = 0
        for each in IDS:
            found[each] = stack.enter_context(running(handing(folder, sockets, each, port)))
            port = port_of(found[each], "url")
        yield found


def port_of(service: Service, name: str) -> int:
    return int(service.address[name].rsplit(":", 1)[1])


class Line:
    """A connection to one of them, and what is answered on it."""

    def __init__(self, to: Service, name: str = "own") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port_of(to, name)), DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and what its JSON says."""
        status, headers, body = self._answer()
        return status, headers, json.loads(body) if body else None

    def text(self) -> tuple[int, str]:
        status, _, body = self._answer()
        return status, body.decode()

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("Content-Length", "0"))
        while len(self._data) < size:
            self._more()
        body, self._data = self._data[:size], self._data[size:]
        return int(first.split()[1]), headers, body

    def by(self) -> str:
        """Who gives the next answer, which must be a good one."""
        status, _, told = self.answer()
        assert status == 200, told
        return str(told["by"])

    def rest(self) -> bytes:
        """What comes until it ends."""
        while data := self._socket.recv(1 << 16):
            self._data += data
        return self._data

    def _more(self) -> None:
        data = self._socket.recv(1 << 16)
        assert data, self._data
        self._data += data

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._socket.close()


def request(
    sid: str, more: str = "", body: bytes = b"", *, method: str = "", path: str = "/socket.io/"
) -> bytes:
    method = method or ("POST" if body else "GET")
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    query = f"?EIO=4&transport=polling&sid={sid}" if sid else ""
    return f"{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\n{length}{more}\r\n".encode() + body


Connect = Callable[[Service], Line]


@contextmanager
def lines() -> Iterator[Connect]:
    """All are closed after the block."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(closing(Line(service)))


def counts(service: Service) -> dict[str, Any]:
    with closing(Line(service)) as asking:
        asking.send(request("", path="/counts"))
        found: dict[str, Any] = asking.answer()[2]
        return found
