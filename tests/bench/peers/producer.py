"""The producer of the benches for servers that are no Penstock: same events, same rate, over TCP."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable

from deploy.load.dialect import upgrade
from deploy.load.errors import Failed
from deploy.load.payload import PAYLOAD_BYTES, payload, spread
from deploy.load.program import serve
from deploy.load.stream import LATE_MAX_S, Publish, Published, paced

Send = Callable[[bytes, bytes], None]  # topic, payload
IN_FLIGHT_MAX = 64  # requests that wait for their answer


def nats(link: socket.socket) -> Send:
    """NATS's own protocol. Source: docs.nats.io, client protocol."""
    link.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
    _until(link, b"PONG\r\n")
    return lambda topic, event: link.sendall(b"PUB %b %d\r\n%b\r\n" % (topic, PAYLOAD_BYTES, event))


def lines(link: socket.socket) -> Send:
    """A line an event, for the servers of this folder."""
    return lambda topic, event: link.sendall(b"%b %b\n" % (topic, event))


def frames(link: socket.socket) -> Send:
    """The same in WebSocket messages, for a server whose event loop knows nothing else."""
    link.sendall(upgrade("/publish").encode())
    _until(link, b"\r\n\r\n")

    def send(topic: bytes, event: bytes) -> None:
        message = b"%b %b" % (topic, event)
        link.sendall(b"\x81\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message)

    return send


def http(link: socket.socket) -> Send:
    """POST on one kept connection; a few are under way at a time."""
    head = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % PAYLOAD_BYTES
    in_flight = 0

    def send(topic: bytes, event: bytes) -> None:
        nonlocal in_flight
        link.sendall(b"POST /pub/%b HTTP/1.1\r\n%b%b" % (topic, head, event))
        in_flight += 1
        while in_flight >= IN_FLIGHT_MAX:
            in_flight -= link.recv(65536).count(b"HTTP/1.1 ")

    return send


LINKS: dict[str, Callable[[socket.socket], Send]] = {
    "nats": nats,
    "lines": lines,
    "frames": frames,
    "http": http,
}


def _until(link: socket.socket, word: bytes) -> None:
    heard = b""
    while word not in heard:
        more = link.recv(65536)
        if not more:
            raise Failed(f"closed before {word!r}")
        heard += more


class Producer:
    def __init__(self, link: Callable[[socket.socket], Send], port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(LATE_MAX_S)  # whoever takes nothing for so long is not waited for
        self._send = link(self._socket)

    def obey(self, request: Publish) -> Published:
        topics = request.names()

        def send(number: int) -> None:
            self._send(topics[spread(number, len(topics))], payload(number, time.monotonic_ns()))

        return paced(request.first, request.count, request.rate, send)


if __name__ == "__main__":
    serve(Publish, Producer(LINKS[sys.argv[1]], int(sys.argv[2])).obey)
