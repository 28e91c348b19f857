"""Thousands of clients in one process: they follow, break off, come back elsewhere, and write down what came.

    python -m tests.faults.crowd        requests on stdin, answers on stdout, a line of JSON each

One epoll, and no thread: what is asked of it is answered between two reads. A client comes back as
penstock.js does, after a random time below a bound that doubles; who is asked to come back later does so.
"""

from __future__ import annotations

import errno
import heapq
import os
import random
import re
import resource
import select
import socket
import struct
import sys
import time
from enum import Enum, auto
from itertools import count
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy.load.dialect import upgrade
from tests.faults.browser import CLOSE, PING, PING_ID, PONG, TEXT, Book, Browser, frames, masked, text_frame
from tests.faults.journal import Arrival

FIRST_S, LONGEST_S = 0.5, 30.0  # of the wait before another try, as in web/public/penstock/backoff.js
LOOK_EVERY_S = 0.25
BUFFER_BYTES = 256 << 10
READS = 256  # connections that are read before requests and timers have their turn
SMALL_BUFFER = 8 << 10  # of a slow client, in the kernel
COME_BACK = 1012
RESET = struct.pack("ii", 1, 0)
REQUEST = upgrade("/ws", "penstock.v1").encode()


class Follow(Struct, tag=True):
    """So many clients more. Answered at once: see Look."""

    urls: list[str]  # of gateways; the first client begins at the first, and comes back at any other
    pattern: str
    count: int = 1
    since: str = ""
    history: int = 0
    resumes: bool = True
    watched: int = 0  # of them, those whose arrivals are written down
    bytes_per_s: float | None = None  # that each takes; 0 for none, None for all
    ask_s: float = 2.0  # silence, after which a client asks whether its gateway is there
    silence_s: float = 5.0  # and after which it gives it up


class Look(Struct, tag=True):
    """How they are, in a State."""


class Pace(Struct, tag=True):
    """What each of the slow ones takes from now on."""

    bytes_per_s: float | None


class Write(Struct, tag=True):
    """Their stories into a file, as MessagePack of a Journal. Answered by State; they stop following."""

    path: str


class State(Struct):
    clients: int
    following: int
    least_seq: int  # that each of them has reached, those that do not follow included
    epochs: list[int]  # in which they are
    entries: int
    gaps: int
    breaks: int
    silent: int  # of the breaks, those where the client gave up


class Step(Enum):
    WAITING = auto()  # for its time to try
    OPENING = auto()  # until the answer to its upgrade is whole
    OPEN = auto()


class Connection:
    """A client's place in the loop."""

    def __init__(self, browser: Browser, follow: Follow, gateway: int, is_watched: bool) -> None:
        self.browser, self.follow, self.is_watched = browser, follow, is_watched
        self.gateway = browser.story.gateway = gateway
        self.step = Step.WAITING
        self.socket: socket.socket | None = None
        self.held = b""
        self.attempt = 0
        self.heard_s = self.free_s = 0.0
        self.has_asked = False


class Crowd:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._book = Book()
        self._all: list[Connection] = []
        self._by_fd: dict[int, Connection] = {}
        self._due: list[tuple[float, int, Connection]] = []
        self._ties = count()
        self._bytes_per_s: dict[int, float | None] = {}
        self._poll = select.epoll()
        self._poll.register(0, select.EPOLLIN)
        self._buffer = bytearray(BUFFER_BYTES)
        self._asked = b""
        self._next_look_s = 0.0
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._decode = msgspec.json.Decoder(Follow | Look | Pace | Write).decode

    def run(self) -> None:
        """Until stdin ends."""
        while True:
            now_s = time.monotonic()
            while self._due and self._due[0][0] <= now_s:
                _, _, connection = heapq.heappop(self._due)
                self._wake(connection, now_s)
            if now_s >= self._next_look_s:
                self._next_look_s = now_s + LOOK_EVERY_S
                self._look_for_silence(now_s)
            wait_s = self._next_look_s - now_s
            if self._due:
                wait_s = min(wait_s, self._due[0][0] - now_s)
            for fd, _ in self._poll.poll(max(0.0, wait_s), READS):
                if fd:
                    if (ready := self._by_fd.get(fd)) is not None:
                        self._read(ready)
                elif not self._obey():
                    return

    # Requests

    def _obey(self) -> bool:
        data = os.read(0, 1 << 16)
        if not data:
            return False
        *lines, self._asked = (self._asked + data).split(b"\n")
        for line in lines:
            request = self._decode(line)
            match request:
                case Follow():
                    self._follow(request)
                case Pace():
                    for connection in self._all:
                        if connection.follow.bytes_per_s is not None:
                            connection.follow = msgspec.structs.replace(
                                connection.follow, bytes_per_s=request.bytes_per_s
                            )
                            connection.heard_s = time.monotonic()  # it did not listen until now
                            self._watch(connection)
                case Write():
                    for connection in self._all:
                        connection.browser.close()
                    Path(request.path).write_bytes(msgspec.msgpack.encode(self._book.journal))
            sys.stdout.buffer.write(msgspec.json.encode(self._state()) + b"\n")
            sys.stdout.buffer.flush()
        return True

    def _follow(self, request: Follow) -> None:
        for number in range(request.count):
            browser = Browser(
                self._book, request.pattern, request.since, request.history, resumes=request.resumes
            )
            is_watched = number < request.watched
            made = Connection(browser, request, number % len(request.urls), is_watched)
            self._all.append(made)
            self._later(made, 0.0)

    def _state(self) -> State:
        browsers = [each.browser for each in self._all]
        stories = [browser.story for browser in browsers]
        return State(
            clients=len(browsers),
            following=sum(browser.is_following for browser in browsers),
            least_seq=min((browser.seq if browser.is_following else 0 for browser in browsers), default=0),
            epochs=sorted({browser.epoch for browser in browsers}),
            entries=sum(len(story.entries) for story in stories),
            gaps=len(self._book.journal.gaps),
            breaks=sum(len(story.breaks) for story in stories),
            silent=sum(each.was_silent for story in stories for each in story.breaks),
        )

    # Timers

    def _later(self, connection: Connection, wait_s: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + wait_s, next(self._ties), connection))

    def _wake(self, connection: Connection, now_s: float) -> None:
        if connection.step is Step.WAITING:
            self._open(connection, now_s)
        elif connection.step is Step.OPEN and connection.socket is not None:
            self._watch(connection)  # a slow one reads on

    def _look_for_silence(self, now_s: float) -> None:
        for connection in self._all:
            if connection.step is Step.WAITING or connection.follow.bytes_per_s is not None:
                continue
            silent_s = now_s - connection.heard_s
            if silent_s > connection.follow.silence_s:
                self._lose(connection, 0, was_silent=True)
            elif (
                silent_s > connection.follow.ask_s
                and not connection.has_asked
                and connection.step is Step.OPEN
            ):
                connection.has_asked = True
                self._say(connection, text_frame(f'{{"ping":1,"id":{PING_ID}}}'))

    # Sockets

    def _open(self, connection: Connection, now_s: float) -> None:
        host, port = connection.follow.urls[connection.gateway].removeprefix("http://").split(":")
        connection.socket = made = socket.socket()
        # A reset at the end: thousands of connections would keep their ports for a minute.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if connection.follow.bytes_per_s is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        made.setblocking(False)
        connection.step, connection.held = Step.OPENING, b""
        connection.heard_s, connection.has_asked = now_s, False
        code = made.connect_ex((host, int(port)))
        self._by_fd[made.fileno()] = connection
        if code not in (0, errno.EINPROGRESS):
            self._lose(connection, 0)
        else:
            # Writable, or refused, when the connect is over; then the upgrade is said.
            self._poll.register(made, select.EPOLLOUT)

    def _watch(self, connection: Connection) -> None:
        assert connection.socket is not None
        slow = connection.follow.bytes_per_s == 0 and connection.step is Step.OPEN
        is_held = slow and connection.browser.is_following
        self._poll.modify(connection.socket, 0 if is_held else select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        made = connection.socket
        assert made is not None
        rate = connection.follow.bytes_per_s
        # What it takes at a time, a tenth of a second's worth, is what it then waits for.
        is_slow = bool(rate) and connection.browser.is_following
        try:
            if connection.step is Step.OPENING and not connection.held:
                if made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise ConnectionError
                connection.held = b"\n"  # said: what comes now is the answer
                made.send(REQUEST)
                self._poll.modify(made, select.EPOLLIN)
                return
            size = made.recv_into(self._buffer, max(1, int(rate / 10)) if is_slow and rate else 0)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._lose(connection, 0)
            return
        connection.heard_s, connection.has_asked = time.monotonic(), False
        data = connection.held + self._buffer[:size]
        if connection.step is Step.OPENING:
            data = self._answered(connection, data)
        if connection.step is Step.OPEN:
            self._take(connection, data)
        if is_slow and rate and connection.socket is made:
            self._poll.modify(made, 0)
            self._later(connection, size / rate)

    def _answered(self, connection: Connection, data: bytes) -> bytes:
        """What comes after the answer to the upgrade."""
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            connection.held = data
            return b""
        if not head.startswith(b"\nHTTP/1.1 101 "):
            self._lose(connection, 0)
            return b""
        connection.step, connection.held = Step.OPEN, b""
        return rest

    def _take(self, connection: Connection, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        browser, said, taken = connection.browser, b"", 0
        before = len(browser.story.entries)
        for first, payload, end in frames(data):
            taken = end
            if first == TEXT:
                said += browser.receive(payload, now_ns)
            elif first == PING:
                said += masked(PONG, payload)
            elif first == CLOSE:
                self._lose(connection, int.from_bytes(payload[:2], "big"), payload[2:].decode())
                break
        if connection.socket is None:
            return
        connection.held = data[taken:]
        if browser.is_following:
            connection.attempt = 0
            if connection.follow.bytes_per_s == 0:
                self._watch(connection)
        if connection.is_watched and len(browser.story.entries) > before:
            browser.story.arrivals.append(Arrival(now_ns, connection.gateway, len(browser.story.entries)))
        if said:
            self._say(connection, said)

    def _say(self, connection: Connection, data: bytes) -> None:
        assert connection.socket is not None
        try:
            # A few hundred bytes a client and break: they fit into a socket's buffer.
            if connection.socket.send(data) < len(data):
                raise BlockingIOError
        except OSError:
            self._lose(connection, 0)

    def _lose(self, connection: Connection, code: int, reason: str = "", *, was_silent: bool = False) -> None:
        """Its connection is over: it comes back, to another gateway where there is one."""
        assert connection.socket is not None
        connection.browser.is_lost(time.monotonic_ns(), code, reason, was_silent=was_silent)
        self._by_fd.pop(connection.socket.fileno(), None)
        connection.socket.close()
        connection.socket, connection.step = None, Step.WAITING
        others = [each for each in range(len(connection.follow.urls)) if each != connection.gateway]
        if others:
            connection.gateway = connection.browser.story.gateway = self._random.choice(others)
        told = re.search(r"\d+(\.\d+)?", reason) if code == COME_BACK else None
        longest_s = min(LONGEST_S, FIRST_S * 2**connection.attempt)
        connection.attempt += 1
        self._later(connection, float(told[0]) if told else self._random.uniform(0, longest_s))


if __name__ == "__main__":
    Crowd(int(sys.argv[1])).run()
