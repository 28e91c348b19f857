"""The edge: from an accepted connection to a WebSocket, an event stream, or an answer.

What comes is read in the event loop until a request's head is whole (see `arrival`), and most of it
goes no further: an upgrade or an event stream is refused, or its descriptor is adopted, without a
greenlet. A request that ends soon is one for the WSGI application (see `plain`), and its connection
then arrives anew.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import gevent
import msgspec
from gevent.hub import get_hub
from gevent.pywsgi import WSGIServer
from gevent.socket import socket as gevent_socket

from gateway import head as heads
from gateway import opening
from gateway.arrival import Arrival
from gateway.handover import Handover
from gateway.handshake import Handshake
from gateway.head import Head
from gateway.listener import BACKLOG, turn_away
from gateway.lobby import Lobby, Waiting
from gateway.opening import Opening, Preflight
from gateway.plain import Handler
from gateway.socketio.elsewhere import Elsewhere, maybe_elsewhere, unknown_session
from gateway.socketio.requests import PATHS, Wanted
from gateway.tally import Tally
from gateway.upgrade import Refusal, Upgrade, examine, is_upgrade

log = logging.getLogger(__name__)

ACCEPTS = 16  # in a row, at 0.15 ms with their handshakes: others wait while they last
KEPT_S = 75.0
KEPT_MAX = 10_000
QUIET_S = 1.0  # of who has asked for nothing, when we leave
STILL_S = 30.0
TICK_S = 1.0
AWAY_S = 2 * TICK_S
DRAIN_BYTES = 16 << 10

_NO_DESCRIPTOR = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "no_descriptor",
    "this gateway has no descriptor left",
    {"Retry-After": "1"},
)
_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "bad_request",
    f"the head of a request has at most {heads.MAX_BYTES} bytes",
)
_TOO_LATE = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the head of the request took too long to come: `head_s`"
)

Adopt = Callable[[int, Upgrade, bytes, bytes], None]
Admit = Callable[[Upgrade], Refusal | None]

# Until its connection ends, which is why it has neither length nor chunks. The last line keeps nginx
# from holding events back.
STREAM_HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n"
    "X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\n"
)


class Streams(NamedTuple):
    """Who takes over event streams."""

    adopt: Callable[[int, Opening], None]  # owns the descriptor, which is non-blocking; must not block
    admit: Callable[[], Refusal | None]  # why a sound request is refused, None if it is not
    history_max: int
    subscriptions_max: int


class Polls(Protocol):
    """Who answers requests that may wait (see `SocketIO`)."""

    def examine(self, head: Head, address: str) -> Wanted | Refusal | None: ...
    def poll(
        self,
        fd: int,
        wanted: Wanted,
        behind: bytes,
        *,
        address: str,
        stays: bool,
        done: Callable[[int, bytes], None],
    ) -> None: ...


class EdgeServer(WSGIServer):  # type: ignore[misc]
    """HTTP for `application`, and WebSockets for `adopt`."""

    max_accept = ACCEPTS

    def __init__(
        self,
        listener: socket.socket,
        application: Any,
        *,
        adopt: Adopt,
        admit: Admit,
        origins: Collection[str] = (),
        streams: Streams | None = None,
        polls: Polls | None = None,
        handover: Handover | None = None,
        deflates: bool = False,
        lobby: Lobby | None = None,
        head_s: float = 10.0,
    ) -> None:
        """
        Args:
            adopt: takes over a connection: its non-blocking descriptor, which it owns from then on,
                the request, the head of the answer, which it must send, and bytes that came right
                behind the request. Must not block.
            admit: why a sound request is refused, None if it is not.
            origins: foreign origins that are let in besides the host's own.
            streams: None: `application` answers their path, too.
            polls: of Socket.IO clients; None: `application` answers them, too.
            handover: to the gateway that has a Socket.IO session; None: all are looked for here.
            deflates: permessage-deflate is used with those who offer it.
            lobby: shared with other servers whose connections count together.
            head_s: how long the head of a request may take.
        """
        self._fresh: Waiting[Arrival] = Waiting(head_s)  # in the middle of a head, or to begin the first
        self._kept: Waiting[Arrival] = Waiting(KEPT_S)  # between two requests
        tick_s = min(TICK_S, head_s / 4)
        self._ticking = get_hub().loop.timer(tick_s, tick_s)
        self._ticked_s = time.monotonic()
        self._spare = _spare()
        super().__init__(
            listener,
            application,
            log=None,
            error_log=log,
            # Or pywsgi asks the resolver for its own name at the start.
            environ={"SERVER_NAME": listener.getsockname()[0]},
        )
        self.adopt, self.admit, self.streams, self.deflates = adopt, admit, streams, deflates
        self.polls, self.handover = polls, handover
        self.origins = frozenset(origin.lower() for origin in origins)
        self.lobby = lobby or Lobby()
        self.tally = Tally()
        self.is_leaving = False  # answers are the last on their connections
        self._handshake = Handshake()

    def start(self) -> None:
        super().start()
        self._ticked_s = time.monotonic()
        self._ticking.start(self._tick)

    def close(self) -> None:
        super().close()
        self._ticking.stop()
        for arrival in self._fresh.all() + self._kept.all():
            arrival.close()
        if self._spare is not None:
            self._spare.close()

    # It leaves

    def turn_away(self) -> None:
        """See listener.turn_away."""
        turn_away(self.socket)

    def leave(self) -> None:
        """Take in those that wait to be accepted, then no more. Who is here is served and let go."""
        self.is_leaving = True
        self.stop_accepting()
        for _ in range(BACKLOG):
            if (found := self.do_read()) is None:
                break
            self.do_handle(*found)
        self.socket.close()

    def let_go(self) -> bool:
        """End connections that are in no request. True if there is none left."""
        then_s = time.monotonic() - QUIET_S
        silent = [arrival for arrival in self._fresh.since(then_s) if not arrival.has_begun]
        for arrival in silent + self._kept.since(then_s):
            arrival.close()
        return not (self.lobby.count or len(self._kept))

    def note(self, kind: str, case: str = "") -> None:
        """Count it; a line of the log comes with the next tick."""
        self.tally.note(kind, case)

    def _tick(self) -> None:
        now_s = time.monotonic()
        away_s, self._ticked_s = now_s - self._ticked_s, now_s
        if away_s > AWAY_S:
            return  # this process stood still: what came meanwhile, and was in time, has yet to be read
        for arrival in self._fresh.late(now_s):
            self._dismiss(arrival, _TOO_LATE)
        for arrival in self._kept.late(now_s):
            arrival.close()
        for kind, count, case in self.tally.take():
            log.info("refused code=%s count=%d %s", kind, count, case)

    # Connections come

    def do_read(self) -> tuple[int, Any] | None:
        try:
            fd, address = self.socket._accept()
        except BlockingIOError:
            return None
        except ConnectionError:
            return None  # it went before it was here
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._shed(error)
            return None
        os.set_blocking(fd, False)
        return fd, address

    def do_handle(self, fd: int, address: Any) -> None:
        if arrival := self._maybe_let_in(fd, address):
            arrival.read()

    def resume(self, fd: int, address: Any, data: bytes) -> None:
        """One of which another gateway has read that much, and whose session is here."""
        if arrival := self._maybe_let_in(fd, address):
            arrival.resume(data)

    def _maybe_let_in(self, fd: int, address: Any) -> Arrival | None:
        if refusal := self.lobby.enter(address[0]):
            self._refuse(fd, address, refusal)
            return None
        arrival = Arrival(self, fd, address)
        self._fresh.add(arrival, time.monotonic())
        return arrival

    def _shed(self, error: OSError) -> None:
        """No descriptor is left. With the spare one the next in the queue is told so, rather than to wait."""
        if len(self._kept):
            self._kept.oldest().close()  # who is idle goes first
            return
        if self._spare is not None:
            self._spare.close()
            with suppress(OSError):
                fd, address = self.socket._accept()
                os.set_blocking(fd, False)
                self._refuse(fd, address, _NO_DESCRIPTOR)
            self._spare = _spare()
        if self._spare is None:
            # Somebody else took that one: the queue waits for a while, or the loop would spin.
            self.note("no_descriptor", f"why={error.strerror}")
            self.stop_accepting()
            self._timer = self.loop.timer(TICK_S)
            self._timer.start(self._accept_again)

    def _accept_again(self) -> None:
        if self.is_leaving:
            return
        self._spare = _spare()
        self._start_accepting_if_started()

    # For Arrival

    def take(self, arrival: Arrival, head: bytes, rest: bytes) -> None:
        if not self._has_room(arrival):
            return
        found = self._examine(head, arrival.address)
        self._fresh.discard(arrival)
        fd, address = arrival.release(), arrival.address
        if isinstance(found, Head):
            gevent.spawn(self._serve, fd, address, found, rest)
            return
        self.lobby.leave(address[0])
        if isinstance(found, Refusal):
            self._refuse(fd, address, found)
        elif isinstance(found, Elsewhere):
            self._pass_on(fd, address, head + rest, found)
        elif isinstance(found, Wanted):
            self._poll(fd, address, found, rest)
        elif isinstance(found, Preflight):
            _part(fd, _answer(HTTPStatus.NO_CONTENT, found.headers, b""))
        elif isinstance(found, Upgrade):
            self.adopt(fd, found, self._handshake.answer(found), rest)
        elif self.streams:
            lines = "".join(f"{name}: {value}\r\n" for name, value in found.headers.items())
            _write(fd, f"{STREAM_HEAD}{lines}\r\n".encode("latin-1"))
            self.streams.adopt(fd, found)

    def hold(self, arrival: Arrival, size: int) -> None:
        if self._has_room(arrival) and size > heads.MAX_BYTES:
            self._dismiss(arrival, _TOO_LARGE)

    def lose(self, arrival: Arrival) -> None:
        self._kept.discard(arrival)
        if self._fresh.discard(arrival):
            self.lobby.leave(arrival.address[0])
            if arrival.has_begun:
                self.note("cut", f"peer={arrival.address}")

    def _has_room(self, arrival: Arrival) -> bool:
        """Whether it may say something: one that was kept is in the lobby anew, or it is refused."""
        if not self._kept.discard(arrival):
            return True
        if refusal := self.lobby.enter(arrival.address[0]):
            self._refuse(arrival.release(), arrival.address, refusal)
            return False
        self._fresh.add(arrival, time.monotonic())
        return True

    # What they want

    def _examine(
        self, data: bytes, address: Any
    ) -> Refusal | Elsewhere | Wanted | Upgrade | Opening | Preflight | Head:
        head = heads.parse(data)
        if isinstance(head, Refusal):
            return head
        if self.handover and (other := maybe_elsewhere(head, self.handover.gateway_id)):
            return other
        get, streams = head.headers.get, self.streams
        if self.polls and not is_upgrade(get) and (poll := self.polls.examine(head, address[0])):
            return poll
        if is_upgrade(get):
            found = examine(
                method=head.method,
                version=head.version,
                path=head.path,
                query=head.query,
                get=get,
                peer=f"{address[0]}:{address[1]}",
                origins=self.origins,
                deflates=self.deflates and head.path not in PATHS,
            )
            return found if isinstance(found, Refusal) else self.admit(found) or found
        if streams and head.path == opening.PATH:
            wanted = opening.examine(
                method=head.method,
                version=head.version,
                query=head.query,
                get=get,
                origins=self.origins,
                history_max=streams.history_max,
                subscriptions_max=streams.subscriptions_max,
            )
            return streams.admit() or wanted if isinstance(wanted, Opening) else wanted
        return head

    def _pass_on(self, fd: int, address: Any, data: bytes, found: Elsewhere) -> None:
        assert self.handover is not None
        if found.owner is None or not self.handover.pass_on(found.owner, fd, address, data):
            self._refuse(fd, address, unknown_session(found.head, self.origins))

    def lose_session(self, fd: int, address: Any, data: bytes) -> None:
        """A request that should have been passed on, and could not; `data` begins with its head."""
        head = heads.parse(data[: heads.end_of_head(data)])
        refusal = head if isinstance(head, Refusal) else unknown_session(head, self.origins)
        self._refuse(fd, address, refusal)

    def _poll(self, fd: int, address: Any, wanted: Wanted, behind: bytes) -> None:
        assert self.polls is not None

        def done(fd: int, behind: bytes) -> None:
            # Or a next request that is here already would be answered within this call, and so on.
            get_hub().loop.run_callback(self._go_on, fd, address, behind)

        stays = wanted.stays and not self.is_leaving
        self.polls.poll(fd, wanted, behind, address=address[0], stays=stays, done=done)

    def _go_on(self, fd: int, address: Any, behind: bytes) -> None:
        if self.started:
            self._keep(Arrival(self, fd, address), behind)
        else:
            _part(fd)

    def _serve(self, fd: int, address: Any, head: Head, rest: bytes) -> None:
        """One request for the application; the connection then arrives anew, or ends."""
        sock = gevent_socket(self.family, socket.SOCK_STREAM, 0, fileno=fd)
        sock.settimeout(STILL_S)
        behind = None
        try:
            behind = Handler(sock, address, self, head, rest).serve()
        except OSError:
            self.note("cut", f"peer={address}")
        finally:
            sock.detach()
            self.lobby.leave(address[0])
            stays = behind is not None and self.started
            if not stays:
                _part(fd)
        if stays:
            self._keep(Arrival(self, fd, address), behind or b"")

    def _keep(self, arrival: Arrival, behind: bytes) -> None:
        # Whoever is idle takes nobody's place: not counted, and the first to go.
        self._kept.add(arrival, time.monotonic())
        if len(self._kept) > KEPT_MAX:
            self._kept.oldest().close()
        arrival.resume(behind)

    def _dismiss(self, arrival: Arrival, refusal: Refusal) -> None:
        self._fresh.discard(arrival)
        self.lobby.leave(arrival.address[0])
        self._refuse(arrival.release(), arrival.address, refusal)

    def _refuse(self, fd: int, address: Any, refusal: Refusal) -> None:
        self.note(refusal.code, f"peer={address} why={refusal.message!r}")
        body = refusal.body
        if body is None:
            body = msgspec.json.encode({"error": {"code": refusal.code, "message": refusal.message}})
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
        _part(fd, _answer(refusal.status, headers, body))


def _spare() -> io.FileIO | None:
    """A descriptor that can be given back when there is no other, if there is one now."""
    with suppress(OSError):
        return io.FileIO(os.devnull)  # whose close is at once, which gevent's os.close is not
    return None


def _answer(status: HTTPStatus, headers: Mapping[str, str], body: bytes) -> bytes:
    """The last one on its connection."""
    status = HTTPStatus(status)
    first = f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {formatdate(usegmt=True)}\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    # As it was read: an origin is said back in the bytes that it came in.
    return f"{first}{lines}Connection: close\r\n\r\n".encode("latin-1") + body


def _write(fd: int, data: bytes) -> None:
    """What is new on a connection fits its buffer; whoever has gone, or takes nothing, is not waited for."""
    with suppress(OSError):
        os.write(fd, data)


def _part(fd: int, last: bytes = b"") -> None:
    """Say that, and end."""
    if last:
        _write(fd, last)
    with suppress(OSError):
        os.read(fd, DRAIN_BYTES)  # a close with unread bytes would reset what was said last
    socket.close(fd)
