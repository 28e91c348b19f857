"""Many browsers in one process: raw sockets and one epoll, so that the load costs less than what it loads.

Every connection must get every event: all are checked by the event with which their bytes end, a few
of them by each number in between, and these tell the latency.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from itertools import islice

import msgspec
from msgspec import Struct

from tests.bench.payload import ending, stamped
from tests.bench.program import serve

AT_ONCE = 200  # connections or subscriptions on their way: the listener's backlog is 1,024
STEP_DEADLINE_S = 60.0
BUFFER_BYTES = 256 << 10

_REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: penstock.v1\r\n\r\n"
)


class Connect(Struct, tag=True):
    """Open connections to 127.0.0.1; answered when all were welcomed."""

    port: int
    count: int


class Subscribe(Struct, tag=True):
    """Answered when every connection has its reply."""

    topic: str
    own: bool = False  # each connection a topic of its own below that one


class Read(Struct, tag=True):
    """Answered when every connection got the event numbered `last`, or at the deadline."""

    last: int
    deadline_s: float
    pause_s: float = 0.0  # between two looks at what has come
    watched: int = 10  # connections that are looked at event by event


class Done(Struct):
    took_s: float


class Received(Struct):
    complete: int  # connections that got the last event
    took_s: float  # between the first bytes and the last
    bytes: int
    reads: int
    missed: int  # numbers that a watched connection lacks or has twice
    p50_ms: float  # from the producer's call to a watched connection's read
    p99_ms: float


class Crowd:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._buffer = bytearray(BUFFER_BYTES)
        self._seen = 0  # number up to which all was read

    def obey(self, request: Connect | Subscribe | Read) -> Struct:
        if isinstance(request, Read):
            return self._read(request)
        started_s = time.monotonic()
        if isinstance(request, Connect):
            self._connect(request)
        else:
            self._subscribe(request)
        return Done(time.monotonic() - started_s)

    def _connect(self, request: Connect) -> None:
        for left in range(request.count, 0, -AT_ONCE):
            opened = set()
            for _ in range(min(left, AT_ONCE)):
                browser = socket.create_connection(("127.0.0.1", request.port))
                # A reset at the end: ten thousand connections would keep their ports for a minute.
                browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                browser.sendall(_REQUEST)
                browser.setblocking(False)
                self._sockets[browser.fileno()] = browser
                self._poll.register(browser, select.EPOLLIN)
                opened.add(browser.fileno())
            self._await(opened, b'{"welcome"')

    def _subscribe(self, request: Subscribe) -> None:
        everybody = iter(self._sockets.items())
        while some := list(islice(everybody, AT_ONCE)):
            for fd, browser in some:
                topic = f"{request.topic}/{fd}" if request.own else request.topic
                browser.sendall(_text_frame(msgspec.json.encode({"subscribe": topic, "id": 1})))
            self._await({fd for fd, _ in some}, b'{"reply":1,"ok"')

    def _await(self, waiting: set[int], word: bytes) -> None:
        """Until each of these got a message with the word in it."""
        deadline_s = time.monotonic() + STEP_DEADLINE_S
        while waiting:
            assert time.monotonic() < deadline_s, f"{len(waiting)} connections got no {word!r}"
            for fd, _ in self._poll.poll(1):
                if self._buffer.find(word, 0, self._take(fd)) >= 0:
                    waiting.discard(fd)

    def _read(self, request: Read) -> Received:
        last = ending(request.last)
        size = len(last)
        tails = dict.fromkeys(self._sockets, b"")
        watched = {fd: b"" for fd in islice(self._sockets, request.watched)}
        numbers: dict[int, list[int]] = {fd: [] for fd in watched}
        late_ns: list[int] = []
        complete = reads = total = 0
        began_s = ended_s = 0.0
        deadline_s = time.monotonic() + request.deadline_s
        buffer, take = self._buffer, self._take
        pause = threading.Event()  # never set: its wait is the pause itself
        while complete < len(tails) and time.monotonic() < deadline_s:
            if request.pause_s:
                pause.wait(request.pause_s)
            ready = self._poll.poll(0.5)
            began_s = began_s or time.monotonic()
            for fd, _ in ready:
                count = take(fd)
                reads += 1
                total += count
                if count >= size:
                    tail = bytes(buffer[count - size : count])
                else:
                    tail = (tails[fd] + buffer[:count])[-size:]
                tails[fd] = tail
                complete += tail == last
                if fd in watched:
                    now_ns = time.monotonic_ns()
                    events, watched[fd] = stamped(watched[fd] + buffer[:count])
                    numbers[fd] += [number for number, _ in events]
                    late_ns += [now_ns - sent_ns for _, sent_ns in events]
            ended_s = time.monotonic() if ready else ended_s
        expected = list(range(self._seen + 1, request.last + 1))
        self._seen = request.last
        late_ns.sort()
        return Received(
            complete=complete,
            took_s=ended_s - began_s,
            bytes=total,
            reads=reads,
            missed=sum(_difference(expected, got) for got in numbers.values()),
            p50_ms=_quantile(late_ns, 0.5) / 1e6,
            p99_ms=_quantile(late_ns, 0.99) / 1e6,
        )

    def _take(self, fd: int) -> int:
        """What has come on a connection goes into the buffer; how much it is."""
        count = self._sockets[fd].recv_into(self._buffer)
        assert count, "a connection was closed"
        return count


def _text_frame(text: bytes) -> bytes:
    """As browsers send it, but masked with zeros, which leave it as it is. At most 125 bytes."""
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


def _difference(expected: list[int], got: list[int]) -> int:
    """How many numbers are not in their place, 0 if both are the same."""
    return 0 if expected == got else max(1, len(set(expected) ^ set(got)))


def _quantile(ordered: list[int], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


if __name__ == "__main__":
    serve(Connect | Subscribe | Read, Crowd().obey)
