"""The least that a Python process can do: one non-blocking write of the same bytes to every socket.

It greets a crowd as a gateway does, knows neither topics nor a broker, and writes frames of the same
size at a steady rate. What a gateway takes beyond this is its own.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time

from msgspec import Struct

from deploy.load.payload import payload
from deploy.load.program import serve
from deploy.load.stream import Publish, Published, paced

GREETING = b'HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x0e{"welcome":{}}'
REPLY = b'\x81\x15{"reply":1,"ok":true}'


class Listen(Struct, tag=True):
    pass


class Port(Struct):
    port: int


class Floor:
    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._sockets: list[socket.socket] = []

    def obey(self, request: Listen | Publish) -> Struct:
        if isinstance(request, Publish):
            return self._publish(request)
        # A thread of its own, asleep once all have subscribed.
        threading.Thread(target=self._greet, daemon=True).start()
        return Port(self._listener.getsockname()[1])

    def _greet(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        greeted: set[socket.socket] = set()
        while True:
            for key, _ in selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._listener:
                    accepted, _ = self._listener.accept()
                    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(accepted, selectors.EVENT_READ)
                elif not (said := _heard(ready)):
                    selector.unregister(ready)
                elif ready not in greeted:
                    assert said.endswith(b"\r\n\r\n")
                    greeted.add(ready)
                    ready.sendall(GREETING)
                else:
                    ready.sendall(REPLY)
                    ready.setblocking(False)
                    self._sockets.append(ready)

    def _publish(self, request: Publish) -> Published:
        return paced(request.first, request.count, request.rate, self._write)

    def _write(self, number: int) -> None:
        head = b'{"topic":"bench/fanout","seq":%d,"prev":%d,"nth":%d,"time":1790000000.123456,"data":'
        event = head % (number, number - 1, number) + payload(number, time.monotonic_ns()) + b"}"
        frame = b"\x81\x7e" + len(event).to_bytes(2, "big") + event
        for each in self._sockets:
            os.write(each.fileno(), frame)


def _heard(browser: socket.socket) -> bytes:
    """Nothing if it has left."""
    try:
        return browser.recv(4096)
    except ConnectionError:
        return b""


if __name__ == "__main__":
    serve(Listen | Publish, Floor().obey)
