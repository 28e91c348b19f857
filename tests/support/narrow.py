"""A way to a gateway that lets through only so many bytes a second, or none: what a browser far away has."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from urllib.parse import urlsplit

# What waits on the way is old when it comes out: little of it, as behind a short queue.
BUFFER_BYTES = 8 << 10
PIECE_BYTES = 1 << 10


class Narrow:
    """Connections to `url` go to a gateway. `bytes_per_s` of all that comes back on each; None: any.

    While it `is_blocked` nothing passes, either way, and nobody is told.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.bytes_per_s: float | None = None
        self._is_open = Event()
        self._is_open.set()
        self._target = target
        self._ended = Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    @property
    def is_blocked(self) -> bool:
        return not self._is_open.is_set()

    @is_blocked.setter
    def is_blocked(self, is_blocked: bool) -> None:
        (self._is_open.clear if is_blocked else self._is_open.set)()

    def close(self) -> None:
        self._ended.set()
        self._is_open.set()
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                browser, _ = self._listener.accept()
                gateway = socket.socket()
                gateway.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                self._sockets += [browser, gateway]
                try:
                    gateway.connect(self._target)
                except OSError:
                    browser.close()
                    continue
                self._start(self._carry, browser, gateway, False)
                self._start(self._carry, gateway, browser, True)

    def _carry(self, source: socket.socket, target: socket.socket, is_narrow: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self._is_open.wait()
                target.sendall(piece)
                if is_narrow and (rate := self.bytes_per_s):
                    self._ended.wait(len(piece) / rate)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        Thread(target=run, args=args, daemon=True).start()


@contextmanager
def narrow(url: str) -> Iterator[Narrow]:
    """A way to the gateway at `url`, closed after the block."""
    place = urlsplit(url)
    assert place.hostname and place.port
    way = Narrow((place.hostname, place.port))
    try:
        yield way
    finally:
        way.close()
