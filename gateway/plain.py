"""A request that ends soon, answered by a WSGI application through pywsgi, in a greenlet.

One request at a time: its head was read before (see `arrival`), and what follows it is handed back.
"""

from __future__ import annotations

import io
import logging
import time
from typing import Any

from gevent.pywsgi import Input, WSGIHandler

from gateway.head import Head

log = logging.getLogger(__name__)

HELD_BYTES = 64 << 10  # of an answer, before some of it is sent
BODY_S = 60.0
DISCARDED_MAX_BYTES = 16 << 20  # of a body that nobody wants: who is still sending it hears why at its end
DISCARDED_AT_ONCE = 16 << 10


class Replay(io.RawIOBase):
    """Reads what came behind a head, and then on from the socket."""

    def __init__(self, sock: Any, data: bytes) -> None:
        self._sock, self._data = sock, data
        self._deadline_s = time.monotonic() + BODY_S  # byte by byte, no one of them would be late
        self._is_over = False
        self.is_sound = True  # nobody has read to the end of the connection, or waited in vain

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._data:
            size = min(len(buffer), len(self._data))
            buffer[:size], self._data = self._data[:size], self._data[size:]
            return size
        if self._is_over:
            return None
        self.is_sound = False
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:  # a byte that is there already would be taken before any time-out
            raise TimeoutError("timed out")  # as the socket would say it
        still_s = self._sock.gettimeout()
        self._sock.settimeout(min(still_s, left_s))
        size = int(self._sock.recv_into(buffer))
        self._sock.settimeout(still_s)
        self.is_sound = size > 0
        return size

    def end(self, reader: io.BufferedReader) -> bytes:
        """Nothing more is read. What was read and not used."""
        self._is_over = True
        return reader.peek() + self._data


class Body(Input):  # type: ignore[misc]
    """See pywsgi's Input, which passes over what nobody has read, however much it is."""

    __slots__ = ("is_over",)

    # Set by pywsgi, which is untyped.
    socket: Any

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.is_over = True  # what comes next is another request

    def _discard(self) -> None:
        is_unread = self.chunked_input or self.position < (self.content_length or 0)
        if self._chunked_input_error or not is_unread:
            return
        # Who waits for a 100 has heard something else, and will not send it.
        self.is_over = self.socket is None and self._read_away()

    def _read_away(self) -> bool:
        """Whether it has come to its end."""
        pieces = range(DISCARDED_MAX_BYTES // DISCARDED_AT_ONCE)
        return any(not self.read(DISCARDED_AT_ONCE) for _ in pieces)


class Handler(WSGIHandler):  # type: ignore[misc]
    """One request."""

    _has_sent = False

    # Set by pywsgi, which is untyped.
    socket: Any
    path: str
    wsgi_input: Body

    def __init__(self, sock: Any, address: Any, server: Any, head: Head, rest: bytes) -> None:
        self._head = head
        self._held = bytearray()
        self._replay = Replay(sock, rest)
        super().__init__(sock, address, server, rfile=io.BufferedReader(self._replay))

    def serve(self) -> bytes | None:
        """Answer. What came behind the request, None if the connection must end."""
        self.time_start = time.time()
        stays = self.handle_one_request()
        # pywsgi passes over a body that does not come to its end; what came later would be taken for a
        # request.
        stays = stays and self._replay.is_sound and self.wsgi_input.is_over
        return self._replay.end(self.rfile) if stays else None

    # What pywsgi asks of itself

    def read_requestline(self) -> str:
        return self._head.line

    def read_request(self, _line: str) -> bool:
        head = self._head
        self.command, self.path, self.request_version = head.method, head.target, head.version
        self.headers = head.headers
        length = self.headers.get("content-length")
        self.content_length = None if length is None else int(length)
        self.close_connection = not head.stays
        return True

    def finalize_headers(self) -> None:
        super().finalize_headers()
        if self.server.is_leaving and not self.close_connection:
            self.close_connection = True
            self.response_headers.append((b"Connection", b"close"))

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        made = self.wsgi_input
        self.wsgi_input = environ["wsgi.input"] = Body(
            made.rfile, made.content_length, socket=made.socket, chunked_input=made.chunked_input
        )
        return environ

    def process_result(self) -> None:
        super().process_result()
        self._send_held()

    def _sendall(self, data: bytes) -> None:
        # pywsgi would send head, chunks and end one by one, at 50 µs each.
        self._held += data
        self.response_length += len(data)
        if len(self._held) >= HELD_BYTES:
            self._send_held()

    def _send_held(self) -> None:
        held, self._held = self._held, bytearray()
        self._has_sent = True
        self.socket.sendall(held)

    def _connection_upgrade_requested(self) -> bool:
        return False  # such a request is not answered here, and pywsgi would hand out an endless body

    def handle_error(self, kind: Any, error: Any, trace: Any) -> None:
        is_cut = issubclass(kind, OSError) and not self._replay.is_sound  # in the middle of a body
        if is_cut or issubclass(kind, ConnectionError | TimeoutError):  # the peer went, or does not go on
            self.close_connection = True
            self.server.note("cut", self._case)
            return
        log.error("a request failed %s", self._case, exc_info=(kind, error, trace))
        self._send_error_response_if_possible(500)

    def _handle_client_error(self, error: Exception) -> None:
        self.server.note("bad_body", self._case)

    def _send_error_response_if_possible(self, code: int) -> None:
        if not self._has_sent:
            # What was held of another answer is forgotten.
            self._held.clear()
            self.headers_sent, self.response_use_chunked, self.response_length = False, False, 0
        super()._send_error_response_if_possible(code)
        self._send_held()

    def log_request(self) -> None:
        log.debug("%s %s", self._case, self.code)

    @property
    def _case(self) -> str:
        # Without the query: tokens may stand there.
        return f"peer={self.client_address} method={self.command} path={self.path.partition('?')[0]}"
