"""Many browsers in one process: raw sockets and one epoll, so that the load costs less than what it loads."""

from __future__ import annotations

import resource
import select
import socket
import struct
import time
from collections.abc import Mapping

from msgspec import Struct

from deploy.load.dialect import Dialect, Step
from deploy.load.errors import Failed

AT_ONCE = 200  # connections on their way: the listener's backlog is 1,024
STEP_DEADLINE_S = 60.0
BUFFER_BYTES = 256 << 10


class Connect(Struct, tag=True):
    """Open connections; answered when all were greeted."""

    host: str
    port: int
    count: int
    dialect: Dialect
    topic: str  # for servers that want to know it at once


class Done(Struct):
    took_s: float


class Browsers:
    """What has come on a connection is in `buffer` until the next `take`."""

    def __init__(self) -> None:
        self.sockets: dict[int, socket.socket] = {}
        self.buffer = bytearray(BUFFER_BYTES)
        self.dialect: Dialect  # from `connect` on
        self._poll = select.epoll()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def connect(self, request: Connect) -> None:
        self.dialect = request.dialect
        head = request.dialect.request.replace("{topic}", request.topic).encode()
        for left in range(request.count, 0, -AT_ONCE):
            opened = {}
            for _ in range(min(left, AT_ONCE)):
                browser = socket.create_connection((request.host, request.port), STEP_DEADLINE_S)
                # A reset at the end: ten thousand connections would keep their ports for a minute.
                browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                browser.sendall(head)
                browser.setblocking(False)
                opened[browser.fileno()] = browser
                self._poll.register(browser, select.EPOLLIN)
            self.sockets |= opened
            for step in request.dialect.greeting:
                self.do(dict.fromkeys(opened, step.about(request.topic)))

    def do(self, steps: Mapping[int, Step]) -> None:
        """Each of these connections says its part; returns when all were answered.

        Raises:
            Failed: one was not in time, or was closed.
        """
        for fd, step in steps.items():
            self.say(fd, step)
        words = {fd: step.until.encode() for fd, step in steps.items()}
        heard = dict.fromkeys(words, b"")
        deadline_s = time.monotonic() + STEP_DEADLINE_S
        while heard:
            word = words[next(iter(heard))]
            if time.monotonic() > deadline_s:
                raise Failed(f"{len(heard)} connections got no {word!r}")
            for fd in self.ready(1):
                count = self.take(fd)
                if not count:
                    raise Failed(f"a connection was closed before its {word!r}: {heard.get(fd, b'')!r}")
                if fd in heard:
                    heard[fd] += self.buffer[:count]
                    if words[fd] in heard[fd]:
                        del heard[fd]

    def say(self, fd: int, step: Step) -> None:
        if step.say:
            self.sockets[fd].sendall(text_frame(step.say.encode()))

    def ready(self, timeout_s: float) -> list[int]:
        """The connections on which something has come."""
        return [fd for fd, _ in self._poll.poll(timeout_s)]

    def take(self, fd: int) -> int:
        """How much has come; 0 if the connection was closed, and it is forgotten."""
        try:
            count = self.sockets[fd].recv_into(self.buffer)
        except ConnectionError:
            count = 0
        if not count:
            self._poll.unregister(fd)
            self.sockets.pop(fd).close()
        return count


def text_frame(text: bytes) -> bytes:
    """As browsers send it, but masked with zeros, which leave it as it is. At most 125 bytes."""
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


def quantile_ms(ordered_ns: list[int], share: float) -> float:
    return ordered_ns[min(int(len(ordered_ns) * share), len(ordered_ns) - 1)] / 1e6 if ordered_ns else 0.0
