"""Many browsers in one process: raw sockets and one epoll, so that the load costs less than what it loads.

Every connection must get every event: all are checked by the event with which their bytes end, a few
of them, others each time, by each number in between, and these tell the latency and the rate.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable
from itertools import islice

from msgspec import Struct

from deploy.load.dialect import Dialect, Step
from deploy.load.payload import ending, stamped
from deploy.load.program import serve

AT_ONCE = 200  # connections or subscriptions on their way: the listener's backlog is 1,024
STEP_DEADLINE_S = 60.0
BUFFER_BYTES = 256 << 10
BEHIND_BYTES = 16  # that may follow the last event: the end of its message, a ping


class Connect(Struct, tag=True):
    """Open connections; answered when all were greeted."""

    host: str
    port: int
    count: int
    dialect: Dialect
    topic: str  # for servers that want to know it at once


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
    lost: int  # connections that the server closed
    missed: int  # numbers that a watched connection lacks or has twice
    rate: float  # events a second that a connection got, in the middle half of the time
    ended_ns: int  # the last read, by the monotonic clock
    bytes: int
    reads: int
    p50_ms: float  # from the producer's call to a watched connection's read
    p99_ms: float


class Crowd:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._buffer = bytearray(BUFFER_BYTES)
        self._dialect: Dialect | None = None
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
        self._dialect = request.dialect
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
            self._sockets |= opened
            for step in request.dialect.greeting:
                self._take_step(step, dict.fromkeys(opened, request.topic))

    def _subscribe(self, request: Subscribe) -> None:
        assert self._dialect is not None
        if self._dialect.subscribe is None:
            return
        everybody = iter(self._sockets)
        while some := list(islice(everybody, AT_ONCE)):
            topics = {fd: f"{request.topic}/{fd}" if request.own else request.topic for fd in some}
            self._take_step(self._dialect.subscribe, topics)

    def _take_step(self, step: Step, topics: dict[int, str]) -> None:
        """Each of these connections says its part; returns when all were answered."""
        if step.say:
            for fd, topic in topics.items():
                self._sockets[fd].sendall(text_frame(step.say.replace("{topic}", topic).encode()))
        self._await(topics, step.until.encode())

    def _await(self, fds: Iterable[int], word: bytes) -> None:
        """Until each of these got bytes with the word in them."""
        heard = dict.fromkeys(fds, b"")
        deadline_s = time.monotonic() + STEP_DEADLINE_S
        while heard:
            assert time.monotonic() < deadline_s, f"{len(heard)} connections got no {word!r}"
            for fd, _ in self._poll.poll(1):
                count = self._take(fd)
                assert count, f"a connection was closed before its {word!r}"
                if fd in heard:
                    heard[fd] += self._buffer[:count]
                    if word in heard[fd]:
                        del heard[fd]

    def _read(self, request: Read) -> Received:
        last = ending(request.last)
        tail_bytes = len(last) + BEHIND_BYTES
        tails = dict.fromkeys(self._sockets, b"")  # of those that lack the last event
        watched = dict.fromkeys(random.sample(list(self._sockets), min(request.watched, len(tails))), b"")
        numbers: dict[int, list[int]] = {fd: [] for fd in watched}
        reads_of: dict[int, list[tuple[int, int]]] = {fd: [] for fd in watched}
        late_ns: list[int] = []
        lost = reads = total = ended_ns = 0
        deadline_s = time.monotonic() + request.deadline_s
        buffer, take = self._buffer, self._take
        pause = threading.Event()  # never set: its wait is the pause itself
        while tails and time.monotonic() < deadline_s:
            if request.pause_s:
                pause.wait(request.pause_s)
            for fd, _ in self._poll.poll(0.5):
                count = take(fd)
                if not count:
                    self._forget(fd)
                    lost += 1
                    tails.pop(fd, None)
                    continue
                reads += 1
                total += count
                if fd in watched:
                    now_ns = time.monotonic_ns()
                    events, watched[fd] = stamped(watched[fd] + buffer[:count])
                    numbers[fd] += [number for number, _ in events]
                    late_ns += [now_ns - sent_ns for _, sent_ns in events]
                    reads_of[fd].append((now_ns, len(numbers[fd])))
                if fd in tails:
                    if count >= tail_bytes:
                        tail = bytes(buffer[count - tail_bytes : count])
                    else:
                        tail = (tails[fd] + buffer[:count])[-tail_bytes:]
                    if last in tail:
                        del tails[fd]
                        ended_ns = time.monotonic_ns()
                    else:
                        tails[fd] = tail
        expected = list(range(self._seen + 1, request.last + 1))
        self._seen = request.last
        late_ns.sort()
        rates = [_middle_rate(each) for each in reads_of.values()]
        return Received(
            complete=len(self._sockets) - len(tails),
            lost=lost,
            missed=sum(_difference(expected, got) for got in numbers.values()),
            rate=sum(rates) / len(rates),
            ended_ns=ended_ns,
            bytes=total,
            reads=reads,
            p50_ms=_quantile(late_ns, 0.5) / 1e6,
            p99_ms=_quantile(late_ns, 0.99) / 1e6,
        )

    def _take(self, fd: int) -> int:
        """What has come on a connection goes into the buffer; how much it is, 0 if it was closed."""
        try:
            return self._sockets[fd].recv_into(self._buffer)
        except ConnectionError:
            return 0

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._sockets.pop(fd).close()


def text_frame(text: bytes) -> bytes:
    """As browsers send it, but masked with zeros, which leave it as it is. At most 125 bytes."""
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


def _middle_rate(reads: list[tuple[int, int]]) -> float:
    """Events a second in the middle half of the time, of (when, how many so far).

    Neither how late the first came nor how late the last did is in it.
    """
    if len(reads) < 2:
        return 0.0
    (first_ns, _), (last_ns, _) = reads[0], reads[-1]
    quarter_ns = (last_ns - first_ns) // 4
    middle = [each for each in reads if first_ns + quarter_ns <= each[0] <= last_ns - quarter_ns]
    if len(middle) < 2:
        middle = reads
    (first_ns, before), (last_ns, after) = middle[0], middle[-1]
    return (after - before) / (last_ns - first_ns) * 1e9


def _difference(expected: list[int], got: list[int]) -> int:
    """How many numbers are not in their place, 0 if both are the same."""
    return 0 if expected == got else max(1, len(set(expected) ^ set(got)))


def _quantile(ordered: list[int], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


if __name__ == "__main__":
    serve(Connect | Subscribe | Read, Crowd().obey)
