"""The producer of the benches for servers that are no Penstock: same events, same rate, over TCP."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable

from deploy.load.dialect import upgrade
from deploy.load.payload import PAYLOAD_BYTES, payload
from deploy.load.program import serve
from deploy.load.stream import LATE_MAX_S, Publish, Published, paced

Link = Callable[[socket.socket, str], Callable[[bytes], None]]
IN_FLIGHT_MAX = 64  # requests that wait for their answer


def nats(link: socket.socket, topic: str) -> Callable[[bytes], None]:
    """NATS's own protocol. Source: docs.nats.io, client protocol."""
    link.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
    _until(link, b"PONG\r\n")
    head = b"PUB %b %d\r\n" % (topic.encode(), PAYLOAD_BYTES)
    return lambda event: link.sendall(head + event + b"\r\n")


def lines(link: socket.socket, topic: str) -> Callable[[bytes], None]:
    """A line an event, for the servers of this folder: topic, space, payload."""
    head = topic.encode() + b" "
    return lambda event: link.sendall(head + event + b"\n")


def frames(link: socket.socket, topic: str) -> Callable[[bytes], None]:
    """The same in WebSocket messages, for a server whose event loop knows nothing else."""
    link.sendall(upgrade("/publish").encode())
    _until(link, b"\r\n\r\n")
    head = topic.encode() + b" "

    def send(event: bytes) -> None:
        message = head + event
        link.sendall(b"\x81\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message)

    return send


def http(link: socket.socket, topic: str) -> Callable[[bytes], None]:
    """POST on one kept connection; a few are under way at a time."""
    head = (
        f"POST /pub/{topic} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {PAYLOAD_BYTES}\r\n\r\n"
    ).encode()
    in_flight = 0

    def send(event: bytes) -> None:
        nonlocal in_flight
        link.sendall(head + event)
        in_flight += 1
        while in_flight >= IN_FLIGHT_MAX:
            in_flight -= link.recv(65536).count(b"HTTP/1.1 ")

    return send


LINKS: dict[str, Link] = {"nats": nats, "lines": lines, "frames": frames, "http": http}


def _until(link: socket.socket, word: bytes) -> None:
    heard = b""
    while word not in heard:
        more = link.recv(65536)
        assert more, f"closed before {word!r}"
        heard += more


class Producer:
    def __init__(self, link: Link, port: int) -> None:
        self._link = link
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(LATE_MAX_S)  # whoever takes nothing for so long is not waited for
        self._topic = ""
        self._send: Callable[[bytes], None]

    def obey(self, request: Publish) -> Published:
        if request.topic != self._topic:
            assert not self._topic, "a link has one topic"
            self._topic, self._send = request.topic, self._link(self._socket, request.topic)
        sent = 0

        def send(number: int) -> None:
            nonlocal sent
            self._send(payload(number, time.monotonic_ns()))
            sent += 1

        try:
            return paced(request.first, request.count, request.rate, send)
        except TimeoutError:
            return Published(sent, request.count / request.rate + LATE_MAX_S, time.monotonic_ns())


if __name__ == "__main__":
    serve(Publish, Producer(LINKS[sys.argv[1]], int(sys.argv[2])).obey)
