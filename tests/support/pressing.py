"""A WebSocket that is written to and not read, until its server takes no more; then it reads on."""

from __future__ import annotations

import socket
from threading import Thread
from urllib.parse import urlsplit

from tests.support.waiting import DEADLINE_S, wait_for

AT_ONCE_BYTES = 1 << 20
LOOKS = 10  # in a row at which nothing was taken


class Pressing:
    """`message` is a frame, sent again and again."""

    def __init__(self, url: str, message: bytes) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._socket = socket.create_connection((parts.hostname, parts.port or 80), DEADLINE_S)
        self._size = len(message)
        self._many = memoryview(message * (1 + AT_ONCE_BYTES // len(message)))
        self.written = 0
        self._looks_without = 0
        self._ending: Thread | None = None
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):  # what comes behind it is left to `read`
            more = self._socket.recv(1)
            assert more, head
            head += more
        assert head.startswith(b"HTTP/1.1 101 "), head

    def press(self) -> None:
        """Returns when the socket takes no more."""
        self._socket.setblocking(False)
        wait_for(self._is_stuck, what="a socket that takes no more")
        self._socket.settimeout(DEADLINE_S)

    def _is_stuck(self) -> bool:
        try:
            self.written += self._socket.send(self._many[self.written % len(self._many) :])
            self._looks_without = 0
        except BlockingIOError:
            self._looks_without += 1
        return self._looks_without > LOOKS

    def finish(self) -> int:
        """Send the rest of the last one, when there is room. How many that makes."""
        left = -self.written % self._size
        rest = self._many[self._size - left : self._size]
        self.written += left
        self._ending = Thread(target=self._socket.sendall, args=(rest,))
        self._ending.start()
        return self.written // self._size

    def say(self, frame: bytes) -> None:
        """As soon as the last one has been sent; before that, nothing."""
        if self._ending is not None and not self._ending.is_alive():
            self._socket.sendall(frame)

    def read(self) -> bytes:
        """b"" at the end."""
        return self._socket.recv(1 << 20)

    def close(self) -> None:
        if self._ending is not None:
            self._ending.join()
        self._socket.close()
