"""A client of Engine.IO that does what a test says, be it wrong: polls, posts and WebSockets, by hand.

session = Polled("http://127.0.0.1:8000/socket.io/")
session.post("40")
session.poll().text     # "40{...}"
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import parse_headers
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.waiting import DEADLINE_S

SEPARATOR = "\x1e"
POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"
TRANSPORT, SESSION, METHOD, REQUEST, FORBIDDEN, REVISION = range(6)  # numbers of errors


class Answer(NamedTuple):
    status: int
    text: str
    headers: Mapping[str, str]  # names in lower case

    @property
    def packets(self) -> list[str]:
        return self.text.split(SEPARATOR)

    @property
    def code(self) -> int:
        """Of an error."""
        code: int = json.loads(self.text)["code"]
        return code


class Line:
    """One connection: what is asked on it, and later the answers."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._host, self._path = parts.netloc, parts.path
        self._socket = create_connection((parts.hostname, parts.port or 80), DEADLINE_S)
        self._socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def ask(
        self,
        query: str,
        body: str | bytes | None = None,
        method: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send(self.request(query, body, method, headers))

    def request(
        self,
        query: str,
        body: str | bytes | None = None,
        method: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        data = body.encode() if isinstance(body, str) else body
        method = method or ("GET" if data is None else "POST")
        lines = {"Host": self._host, **(headers or {})}
        if data is not None:
            lines["Content-Length"] = str(len(data))
        told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {self._path}?{query} HTTP/1.1\r\n{told}\r\n".encode() + (data or b"")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> Answer:
        status = int(self._answers.readline().split()[1])
        headers = {name.lower(): value for name, value in parse_headers(self._answers).items()}
        return Answer(status, self._answers.read(int(headers["content-length"])).decode(), headers)

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def ask(
    url: str,
    query: str = POLLING,
    body: str | bytes | None = None,
    method: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """On a connection of its own."""
    with closing(Line(url)) as line:
        line.ask(query, body, method, headers)
        return line.answer()


class Polled:
    """A session that polls."""

    def __init__(self, url: str, query: str = "") -> None:
        self.url = url
        self.opening = ask(url, f"{POLLING}{query}")
        assert self.opening.status == 200, self.opening
        assert self.opening.text[0] == "0"
        self.hello: dict[str, Any] = json.loads(self.opening.packets[0][1:])
        self.sid: str = self.hello["sid"]

    @property
    def query(self) -> str:
        return f"{POLLING}&sid={self.sid}"

    def poll(self) -> Answer:
        return ask(self.url, self.query)

    def post(self, body: str | bytes) -> Answer:
        return ask(self.url, self.query, body)

    @contextmanager
    def polling(self) -> Iterator[Line]:
        """A poll that waits: it has come, and there is nothing to say."""
        with closing(Line(self.url)) as line:
            # What comes right behind a request is taken up before the answer to that can be read.
            line.send(line.request(self.query, "3") + line.request(self.query))
            assert line.answer().status == 200
            yield line

    def socket(self) -> ClientConnection:
        """A WebSocket that is to take over."""
        return socket(self.url, f"{WEBSOCKET}&sid={self.sid}")


def socket(url: str, query: str = WEBSOCKET) -> ClientConnection:
    """Raises websockets.exceptions.InvalidStatus if it is refused."""
    return connect(
        f"{url.replace('http://', 'ws://')}?{query}",
        compression=None,
        proxy=None,
        max_size=None,
        ping_interval=None,
        open_timeout=DEADLINE_S,
        close_timeout=1.0,
        legacy=True,
    )


def hear(socket: ClientConnection) -> str | bytes:
    """The next message; pings of Engine.IO are answered and passed over."""
    while (message := socket.recv(DEADLINE_S)) == "2":
        socket.send("3")
    return message


def hear_end(socket: ClientConnection) -> tuple[list[str | bytes], int | None]:
    """All that comes until it ends, and the code of the close, if there was one."""
    heard: list[str | bytes] = []
    try:
        while True:
            heard.append(socket.recv(DEADLINE_S))
    except ConnectionClosed as error:
        return heard, error.rcvd.code if error.rcvd else None
