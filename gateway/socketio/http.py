"""What Engine.IO clients ask over HTTP: polls, which wait without a greenlet, and posts, which do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

import gevent
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wrappers import Request, Response

from gateway.frames import POLICY, close_frame
from gateway.head import Head
from gateway.lobby import Lobby
from gateway.socketio.clients import Clients
from gateway.socketio.engine import Over
from gateway.socketio.engine_client import EngineClient
from gateway.socketio.errors import BadPacket
from gateway.socketio.poll import HttpPoll, part
from gateway.socketio.requests import PATHS, PREFLIGHT, Fault, Wanted, examine, refusal, shared
from gateway.upgrade import Refusal, Upgrade, is_welcome

ROOM_WITHIN_S = 10.0  # of what waits, before more of it is heard
ROOM_LOOK_S = 0.02
GIVEN_WAY_S = 0.0001  # after a sleep of 0 this greenlet would go on before sockets are looked at

Done = Callable[[int, bytes], None]


class SocketIO:
    """The requests of one gateway's clients."""

    def __init__(
        self,
        clients: Clients,
        *,
        admit: Callable[[], Refusal | None],
        greet: Callable[[EngineClient], None],
        origins: Collection[str],
        lobby: Lobby | None = None,
        paths: Collection[str] = PATHS,
    ) -> None:
        """
        Args:
            admit: why there may be no client more, None if there may.
            greet: called with each that has just come.
            origins: foreign origins that are let in.
            lobby: counts sessions that were opened by a GET and have asked for no namespace: they cost no
                connection, so whoever opens many of them is refused some.
        """
        self.clients, self.paths = clients, paths
        self._lobby = lobby or Lobby()
        self._admit, self._greet = admit, greet
        self._origins = frozenset(origin.lower() for origin in origins)

    def _maybe_client(self, sid: str) -> EngineClient | None:
        """Whose session it is, as of all that has come by now."""
        return _as_of_now(self.clients.maybe_client(sid))

    # Polls; see EdgeServer

    def examine(self, head: Head, address: str) -> Wanted | Refusal | None:
        """A GET that polls, which is to be answered by `poll` then, or why it may not; None for what is no
        such request.
        """
        if head.path not in self.paths or head.method != "GET":
            return None
        wanted = examine(head.method, head.query, head.headers.get, self._origins, Over.POLLING)
        if isinstance(wanted, Refusal):
            return wanted
        if (head.headers.get("content-length") or "0").strip("0") or head.headers.get("transfer-encoding"):
            # Nobody would read a body: it would be taken for a next request.
            return refusal(Fault.REQUEST, wanted.headers, "a poll has no body")
        wanted = wanted._replace(stays=head.stays)
        if wanted.sid is None:
            pollers = self.clients.pollers
            refused = self._admit() or pollers.maybe_refusal(address) or self._lobby.enter(address)
            return refused._replace(headers={**refused.headers, **wanted.headers}) if refused else wanted
        client = self._maybe_client(wanted.sid)
        if client is None or not client.engine.is_polling:
            return refusal(Fault.SESSION, wanted.headers)
        if client.is_polled:
            if self.clients.limits.ends_on_two_polls:
                client.end()
            return refusal(Fault.REQUEST, wanted.headers, "another poll of this session waits")
        return wanted

    def poll(
        self, fd: int, wanted: Wanted, behind: bytes, *, address: str, stays: bool, done: Done
    ) -> None:
        """Answer one that was examined just now, when there is something to say; see HttpPoll."""
        sid = wanted.sid
        if sid is None:
            settled = partial(self._lobby.leave, address)
            client = self.clients.open(None, wanted.query, settled=settled, address=address)
        else:
            client = self.clients.client(sid)
        client.poll(HttpPoll(fd, behind, wanted.headers, stays=stays, done=done, lost=client.lose_poll))
        if sid is None:
            client.open()
            self._greet(client)

    # WebSockets

    def admit(self, upgrade: Upgrade) -> Refusal | None:
        """Why this may not become a WebSocket, None if it may."""
        get = {"origin": upgrade.origin, "host": upgrade.host}.get
        wanted = examine("GET", upgrade.query, get, self._origins, Over.WEBSOCKET)
        if isinstance(wanted, Refusal):
            return wanted
        if wanted.sid is None:
            return self._admit()
        # One that comes too late is let in only to be closed: clients need not await a refusal there.
        return None if self._maybe_client(wanted.sid) else refusal(Fault.SESSION, wanted.headers)

    def adopt(self, fd: int, upgrade: Upgrade, head: bytes, early: bytes) -> None:
        """Of a request that was admitted just now; the descriptor is its client's from now on."""
        get = {"origin": upgrade.origin, "host": upgrade.host}.get
        wanted = examine("GET", upgrade.query, get, self._origins, Over.WEBSOCKET)
        assert isinstance(wanted, Wanted)
        if wanted.sid is None:
            client = self.clients.open(fd, wanted.query)
            client.open(head, early)
            self._greet(client)
            return
        client = self.clients.client(wanted.sid)
        if client.engine.may_be_probed:
            client.probe(fd, head, early)
        else:
            part(fd, head + close_frame(POLICY, "this session has a WebSocket"))

    # Posts, and what is wrong

    def over(self, application: Any) -> Any:
        """A WSGI application that has the requests of clients, and leaves the others to `application`."""

        def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            found: Iterable[bytes]
            if environ.get("PATH_INFO") in self.paths:
                found = self._answer(Request(environ))(environ, start_response)
            else:
                found = application(environ, start_response)
            return found

        return answer

    def _answer(self, request: Request) -> Response:
        get = request.headers.get
        origin, host = get("Origin"), get("Host") or ""
        is_let_in = origin is None or (bool(host) and is_welcome(origin, host, self._origins))
        if request.method == "OPTIONS" and is_let_in:
            asked = get("Access-Control-Request-Headers")
            allowed = {"Access-Control-Allow-Headers": asked} if asked else {}
            return Response(status=HTTPStatus.NO_CONTENT, headers={**shared(origin), **PREFLIGHT, **allowed})
        query = request.query_string.decode("latin-1")
        wanted = examine(request.method, query, get, self._origins, Over.POLLING)
        if isinstance(wanted, Refusal):
            return _refused(wanted)
        client = _as_of_now(self.clients.maybe_late_client(wanted.sid or ""))
        if client is None or not client.engine.is_polling:
            return _refused(refusal(Fault.SESSION, wanted.headers))
        max_bytes = self.clients.limits.message_max_bytes
        # At its limit werkzeug ends a body in chunks without a word, as if that were all.
        request.max_content_length = max_bytes + 1
        try:
            data = request.get_data(cache=False)
            if len(data) > max_bytes:
                raise RequestEntityTooLarge
            body = data.decode()
            _await_room(client)
            client.take_payload(body, _give_way)
        except (BadPacket, UnicodeDecodeError, RequestEntityTooLarge, ClientDisconnected) as error:
            why = error.reason if isinstance(error, BadPacket) else _reason(error)
            if client.engine.is_polling:
                client.refuse(why)
            return _refused(refusal(Fault.REQUEST, wanted.headers, why))
        return Response("ok", headers=wanted.headers, content_type="text/plain; charset=UTF-8")


def _as_of_now(client: EngineClient | None) -> EngineClient | None:
    if client is None:
        return None
    client.hear_all()
    return None if client.engine.is_closed else client


def _await_room(client: EngineClient) -> None:
    """Who only asks and never polls is slowed down, as it would be by the socket of a WebSocket. Others are
    not kept: clients send a next post when this one is answered.
    """
    until_s = time.monotonic() + ROOM_WITHIN_S
    while client.is_full and not client.engine.is_closed:
        if time.monotonic() > until_s:
            raise BadPacket("too much waits to be polled")
        gevent.sleep(ROOM_LOOK_S)


def _give_way() -> None:
    gevent.sleep(GIVEN_WAY_S)


def _reason(error: Exception) -> str:
    if isinstance(error, RequestEntityTooLarge):
        return "the payload is larger than `maxPayload`"
    return "the payload is not UTF-8" if isinstance(error, UnicodeDecodeError) else "the payload was cut off"


def _refused(found: Refusal) -> Response:
    return Response(found.body, found.status, found.headers, content_type="application/json")
