"""A network between two of our processes that can be slow, stop, break and heal: a TCP proxy in a thread.

    with proxied(running.address["feed"]) as way, gateway(tmp_path, running, feed=way.address):
        way.block(up=False)     # nothing comes down any more, and nobody is told
        way.heal()              # what waited goes on

Up is from who connects, down is to it. As on a real network what is sent into a block waits in the
kernel of the sender, and so does the news that it closed. All calls hold when they return.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread
from urllib.parse import urlsplit

# Of each socket here and each way: what has left a sender and is not there yet is not seen by its
# high-water marks, so it must be little. Less, and loopback waits for delayed acknowledgements.
BUFFER_BYTES = 64 << 10
PIECE_BYTES = 16 << 10
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of a socket that breaks off when it is closed
ANSWER_S = 10.0


class Rule:
    """What holds for one direction, for all links together."""

    def __init__(self) -> None:
        self.is_blocked = False
        self.bytes_per_s: float | None = None
        self.carried = 0  # bytes
        self._free_s = 0.0  # when what was let through before is over

    def room(self, now_s: float) -> int:
        """How many bytes may pass now."""
        if self.is_blocked:
            return 0
        if self.bytes_per_s is None:
            return PIECE_BYTES
        # A hundredth of a second at once at least: a limit that is met byte by byte costs a core.
        return min(PIECE_BYTES, max(1, int(self.bytes_per_s / 100))) if now_s >= self._free_s else 0

    def passed(self, count: int, now_s: float) -> None:
        self.carried += count
        if self.bytes_per_s is not None:
            self._free_s = max(now_s, self._free_s) + count / self.bytes_per_s

    def wait_s(self, now_s: float) -> float | None:
        """Until there is room again by itself; None if there is, or only a call makes some."""
        wait_s = self._free_s - now_s
        return wait_s if not self.is_blocked and self.bytes_per_s is not None and wait_s > 0 else None


class Way:
    """One direction of one link: bytes on their way from `source` to `target`."""

    def __init__(self, source: socket.socket, target: socket.socket, rule: Rule) -> None:
        self.source, self.target, self.rule = source, target, rule
        self.held = b""
        self.has_ended = False

    def wants_to_read(self) -> bool:
        # Not while blocked: then the sender's kernel holds what it sends, and that it closed.
        return not self.held and not self.has_ended and not self.rule.is_blocked

    def wants_to_write(self, now_s: float) -> bool:
        return bool(self.held) and self.rule.room(now_s) > 0

    def read(self) -> None:
        self.held = self.source.recv(PIECE_BYTES)
        if not self.held:
            self.has_ended = True
            with suppress(OSError):  # the other end is gone already
                self.target.shutdown(socket.SHUT_WR)

    def write(self, now_s: float) -> None:
        sent = self.target.send(self.held[: self.rule.room(now_s)])
        self.held = self.held[sent:]
        self.rule.passed(sent, now_s)


class Link:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket, up: Rule, down: Rule) -> None:
        self.ways = (Way(client, server, up), Way(server, client, down))
        self._news: Way | None = None  # that its source broke off goes this way

    @property
    def is_over(self) -> bool:
        return all(way.has_ended for way in self.ways)

    @property
    def is_broken(self) -> bool:
        """Whether one end broke off and the other may know."""
        return self._news is not None and not self._news.rule.is_blocked

    def carry(self, ready: Mapping[object, int], now_s: float) -> None:
        for way, back in (self.ways, self.ways[::-1]):
            try:
                if ready.get(way.source, 0) & selectors.EVENT_READ and way.wants_to_read():
                    way.read()
            except BlockingIOError:
                pass
            except OSError:
                self._news = way
            try:
                if ready.get(way.target, 0) & selectors.EVENT_WRITE and way.wants_to_write(now_s):
                    way.write(now_s)
            except BlockingIOError:
                pass
            except OSError:
                self._news = back

    def wanted(self, now_s: float) -> Iterator[tuple[socket.socket, int]]:
        """Each socket, and what to wait for there."""
        for way, back in (self.ways, self.ways[::-1]):
            reads = way.wants_to_read() * selectors.EVENT_READ
            writes = back.wants_to_write(now_s) * selectors.EVENT_WRITE
            yield way.source, 0 if self._news is not None else reads | writes


class Proxy:
    """`address` leads to `target`, a tcp:// or http:// address, as long as nothing else is said."""

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        assert place.hostname and place.port, target
        self._target = (place.hostname, place.port)
        self._up, self._down = Rule(), Rule()
        self._links: list[Link] = []
        self._selector = selectors.DefaultSelector()
        self._calls: deque[tuple[Callable[[], object], Event]] = deque()
        self._awake, self._wake = socket.socketpair()
        self._awake.setblocking(False)
        self._selector.register(self._awake, selectors.EVENT_READ)
        # Bound and never listening: the port stays ours while connections to it are refused.
        self._place = _bound(0)
        port = self._place.getsockname()[1]
        self.address = f"{place.scheme}://127.0.0.1:{port}"
        self._listener: socket.socket | None = None
        self._listen()
        self._has_ended = False
        self._thread = Thread(target=self._run, name=f"proxy-{port}", daemon=True)
        self._thread.start()

    @property
    def links(self) -> int:
        """How many connections it carries now."""
        return len(self._links)

    @property
    def carried(self) -> tuple[int, int]:
        """Bytes that went up, and down, since it began."""
        return self._up.carried, self._down.carried

    def block(self, *, up: bool = True, down: bool = True) -> None:
        """Nothing passes that way from now on, in old and new links; what was blocked before stays so."""

        def change() -> None:
            self._up.is_blocked |= up
            self._down.is_blocked |= down

        self._call(change)

    def limit(self, bytes_per_s: float | None, *, up: bool = False, down: bool = True) -> None:
        """So many bytes a second, of all links together, pass that way; None: any."""

        def change() -> None:
            for rule, is_meant in ((self._up, up), (self._down, down)):
                if is_meant:
                    rule.bytes_per_s = bytes_per_s

        self._call(change)

    def refuse(self, is_refusing: bool = True) -> None:
        """Whether new connections are refused; those that stand go on."""
        self._call(self._unlisten if is_refusing else self._listen)

    def cut(self) -> None:
        """Breaks off all connections: both ends get a reset, and what was on its way is lost."""

        def end_all() -> None:
            for link in list(self._links):
                self._end(link, _reset)

        self._call(end_all)

    def heal(self) -> None:
        """No block, no limit, nothing refused."""

        def change() -> None:
            for rule in (self._up, self._down):
                rule.is_blocked, rule.bytes_per_s = False, None
            self._listen()

        self._call(change)

    def close(self) -> None:
        """All of it, with a reset. May be called twice."""
        if not self._has_ended:
            self.cut()
            self._call(self._finish)
            self._thread.join(ANSWER_S)
            for each in (self._place, self._awake, self._wake):
                each.close()
            self._selector.close()

    # In the thread

    def _run(self) -> None:
        while not self._has_ended:
            now_s = time.monotonic()
            for link in list(self._links):
                self._watch(link, now_s)
            waits = [wait_s for rule in (self._up, self._down) if (wait_s := rule.wait_s(now_s)) is not None]
            ready: dict[object, int] = {
                each.fileobj: mask for each, mask in self._selector.select(min(waits, default=None))
            }
            now_s = time.monotonic()
            for link in self._links:
                link.carry(ready, now_s)
            if self._listener in ready:
                self._accept()
            if self._awake in ready:  # last: so a call finds what had come before it carried
                self._answer()

    def _answer(self) -> None:
        self._awake.recv(4096)
        while self._calls:
            call, done = self._calls.popleft()
            call()
            done.set()

    def _watch(self, link: Link, now_s: float) -> None:
        if link.is_broken:
            self._end(link, _reset)
        elif link.is_over:
            self._end(link, socket.socket.close)
        else:
            for which, wanted in link.wanted(now_s):
                self._want(which, wanted)

    def _want(self, which: socket.socket, wanted: int) -> None:
        known = self._selector.get_map().get(which)
        if known is None and wanted:
            self._selector.register(which, wanted)
        elif known is not None and not wanted:
            self._selector.unregister(which)
        elif known is not None and known.events != wanted:
            self._selector.modify(which, wanted)

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        try:
            server.connect(self._target)
        except OSError:
            _reset(client)
            _reset(server)
            return
        for each in (client, server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.append(Link(client, server, self._up, self._down))

    def _end(self, link: Link, end: Callable[[socket.socket], None]) -> None:
        self._links.remove(link)
        for way in link.ways:
            self._want(way.source, 0)
            end(way.source)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self._place.getsockname()[1])
            self._listener.listen()
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _finish(self) -> None:
        self._unlisten()
        self._has_ended = True

    def _call(self, call: Callable[[], object]) -> None:
        done = Event()
        self._calls.append((call, done))
        self._wake.send(b".")
        assert done.wait(ANSWER_S), "the proxy's thread does not answer"


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """A way to `target`, closed after the block."""
    way = Proxy(target)
    try:
        yield way
    finally:
        way.close()


def _bound(port: int) -> socket.socket:
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Inherited by what is accepted there; set later they come too late.
    place.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    place.bind(("127.0.0.1", port))
    return place


def _reset(which: socket.socket) -> None:
    with suppress(OSError):
        which.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    which.close()
