"""The least that a Python process can do: one non-blocking write of the same bytes to every socket.

It greets a crowd as a gateway does, knows neither topics nor a broker, and writes frames of the same
size at a steady rate. What a gateway takes beyond this is its own.
"""

from __future__ import annotations

import os
import socket
import time

from msgspec import Struct

from tests.bench.payload import payload
from tests.bench.program import serve
from tests.bench.stream import paced

GREETING = b'HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x0e{"welcome":{}}'
REPLY = b'\x81\x15{"reply":1,"ok":true}'


class Listen(Struct, tag=True):
    pass


class Greet(Struct, tag=True):
    """Take in so many connections, each with its request and its subscription."""

    count: int


class Write(Struct, tag=True):
    first: int  # number of the first event
    count: int
    rate: float  # a second


class Port(Struct):
    port: int


class Done(Struct):
    took_s: float


class Floor:
    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.settimeout(20)
        self._sockets: list[socket.socket] = []

    def obey(self, request: Listen | Greet | Write) -> Struct:
        if isinstance(request, Listen):
            return Port(self._listener.getsockname()[1])
        if isinstance(request, Greet):
            return self._greet(request.count)
        return Done(paced(request.first, request.count, request.rate, self._write))

    def _greet(self, count: int) -> Done:
        started_s = time.monotonic()
        while len(self._sockets) < count:
            accepted, _ = self._listener.accept()
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.settimeout(20)
            accepted.recv(4096)
            accepted.sendall(GREETING)
            self._sockets.append(accepted)
        for each in self._sockets:
            each.recv(4096)
            each.sendall(REPLY)
            each.setblocking(False)
        return Done(time.monotonic() - started_s)

    def _write(self, number: int) -> None:
        head = b'{"topic":"bench/fanout","seq":%d,"prev":%d,"nth":%d,"time":1790000000.123456,"data":'
        event = head % (number, number - 1, number) + payload(number, time.monotonic_ns()) + b"}"
        frame = b"\x81\x7e" + len(event).to_bytes(2, "big") + event
        for each in self._sockets:
            os.write(each.fileno(), frame)


if __name__ == "__main__":
    serve(Listen | Greet | Write, Floor().obey)
