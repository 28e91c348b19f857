"""From an accepted connection to a WebSocket or an event stream without a greenlet.

gevent-websocket 0.10.1 does the handshake and nothing else: what it gets wrong is refused before it
is asked, the 101 is written here in one piece, and then the descriptor leaves the handler for good.
Everything that served the request (greenlet, handler, environ, buffers) is freed. Event streams leave
the same way behind their 200; plain HTTP goes on to the WSGI application of the same server.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from gevent.pywsgi import WSGIHandler, WSGIServer
from geventwebsocket.handler import WebSocketHandler

from broker.errors import AddressInUse, BadSetting
from gateway import opening
from gateway.headers import Headers
from gateway.opening import Opening, Preflight
from gateway.upgrade import VERSION, Refusal, Upgrade, examine, is_upgrade

log = logging.getLogger(__name__)

BACKLOG = 1024

Adopt = Callable[[int, Upgrade, bytes], None]
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
    history_max: int
    subscriptions_max: int


def listen(host: str, port: int, *, reuse: bool, setting: str) -> socket.socket:
    """A listening socket; port 0 lets the kernel pick.

    Args:
        reuse: share the port with the other gateways of this host.
        setting: where the address came from, for the errors.
    Raises:
        AddressInUse: somebody else listens there.
        BadSetting: no such address, or not for us.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit it. pywsgi writes head and body apart: with Nagle's algorithm and
        # delayed acknowledgements each answer on a kept connection took 44 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{host}:{port}", setting) from error
        raise BadSetting(f"{setting}: cannot listen on {host}:{port}: {error.strerror}") from error
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class EdgeServer(WSGIServer):  # type: ignore[misc]
    """HTTP for `application`, and WebSockets for `adopt`."""

    def __init__(
        self,
        listener: socket.socket,
        application: Any,
        *,
        adopt: Adopt,
        admit: Admit,
        origins: Collection[str] = (),
        streams: Streams | None = None,
        deflates: bool = False,
    ) -> None:
        """
        Args:
            adopt: takes over a connection: its non-blocking descriptor, which it owns from then on,
                the request, and bytes that came right behind it. Must not block.
            admit: why a sound request is refused, None if it is not.
            origins: foreign origins that are let in besides the host's own.
            streams: None: `application` answers their path, too.
            deflates: permessage-deflate is used with those who offer it.
        """
        super().__init__(
            listener,
            application,
            handler_class=Handler,
            log=None,
            error_log=log,
            # Or pywsgi asks the resolver for its own name at the start.
            environ={"SERVER_NAME": listener.getsockname()[0]},
        )
        self.adopt, self.admit, self.streams, self.deflates = adopt, admit, streams, deflates
        self.origins = frozenset(origin.lower() for origin in origins)
        self.logger = log  # gevent-websocket would make one of its own, with handlers


class Handler(WebSocketHandler):  # type: ignore[misc]
    """One HTTP connection, until it ends or leaves as a WebSocket or an event stream."""

    SUPPORTED_VERSIONS = (VERSION,)
    MessageClass = Headers

    # Set by the libraries, which are untyped.
    headers: Headers
    socket: Any
    websocket: Any

    def run_application(self) -> None:
        get = self.headers.get
        if not is_upgrade(get):
            if self.server.streams and self.environ["PATH_INFO"] == opening.PATH:
                self._open_stream(self.server.streams)
            else:
                WSGIHandler.run_application(self)
            return
        address = self.client_address
        found = examine(
            method=self.command,
            version=self.request_version,
            path=self.environ["PATH_INFO"],
            query=self.environ["QUERY_STRING"],
            get=get,
            peer=f"{address[0]}:{address[1]}",
            origins=self.server.origins,
            deflates=self.server.deflates,
        )
        refusal = found if isinstance(found, Refusal) else self.server.admit(found)
        if refusal is not None:
            self._refuse(refusal)
        elif isinstance(found, Upgrade):
            self._leave(found)

    def _refuse(self, refusal: Refusal) -> None:
        log.info(
            "refused peer=%s code=%s path=%s", self.client_address, refusal.code, self.path.partition("?")[0]
        )
        body = msgspec.json.encode({"error": {"code": refusal.code, "message": refusal.message}})
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
        self._answer(refusal.status, headers, body)

    def _answer(self, status: HTTPStatus, headers: Mapping[str, str], body: bytes) -> None:
        """The last one on this connection."""
        status = HTTPStatus(status)
        self.start_response(f"{status.value} {status.phrase}", [*headers.items(), ("Connection", "close")])
        self.result = [body]
        self.process_result()

    def _open_stream(self, streams: Streams) -> None:
        found = opening.examine(
            method=self.command,
            version=self.request_version,
            query=self.environ["QUERY_STRING"],
            get=self.headers.get,
            origins=self.server.origins,
            history_max=streams.history_max,
            subscriptions_max=streams.subscriptions_max,
        )
        if isinstance(found, Refusal):
            self._refuse(found)
        elif isinstance(found, Preflight):
            self._answer(HTTPStatus.NO_CONTENT, found.headers, b"")
        else:
            head = "".join(f"{name}: {value}\r\n" for name, value in found.headers.items())
            streams.adopt(self._let_go(f"{STREAM_HEAD}{head}\r\n".encode()), found)

    def _leave(self, upgrade: Upgrade) -> None:
        """Answer 101 and let go of the connection."""
        self.upgrade_websocket()  # ends in start_response below
        # Its WebSocket would write a close frame of its own when it is collected; without a handler it
        # cannot, nor make the two classes that it makes at each close (5 KB until the next collection).
        self.websocket.handler = None
        self.websocket.closed = True
        self.websocket = None
        head = "".join(f"{name}: {value}\r\n" for name, value in self._accepting)
        if upgrade.protocol:
            head += f"Sec-WebSocket-Protocol: {upgrade.protocol}\r\n"
        if upgrade.extensions:
            head += f"Sec-WebSocket-Extensions: {upgrade.extensions}\r\n"
        fd = self._let_go(f"HTTP/1.1 101 Switching Protocols\r\n{head}\r\n".encode())
        try:
            # The descriptor is gone from under it: an empty buffer says so where it would have waited.
            early = self.rfile.peek()
        except OSError:
            early = b""
        self.server.adopt(fd, upgrade, early)

    def _let_go(self, head: bytes) -> int:
        """Send the head of the answer; the descriptor, which nobody here knows any more."""
        self.environ.clear()
        self.close_connection = True
        self.socket.sendall(head)
        sock, self.socket = self.socket, None  # or handle() would drain and close it in its `finally`
        fd: int = sock.detach()
        return fd

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if status.startswith("101"):
            # The library's way, through write and finalize_headers, takes 21 % of a connect.
            self._accepting = headers
            return None
        return super().start_response(status, headers, exc_info)

    def log_request(self) -> None:
        # Without the query: tokens may stand there.
        log.debug("%s %s %s", self.command, (self.path or "").partition("?")[0], self.code)
