"""The answer to a sound request for a WebSocket.

gevent-websocket 0.10.1 makes it and does nothing else: what it gets wrong was refused before (see
`upgrade`), and it never sees the connection.
"""

from __future__ import annotations

import logging
from typing import Any

from geventwebsocket.handler import WebSocketHandler

from gateway.upgrade import VERSION, Upgrade

log = logging.getLogger(__name__)


class _Nothing:
    """What its stream is told to read from and write to."""

    read = sendall = None


class Handshake(WebSocketHandler):  # type: ignore[misc]
    """One serves all requests."""

    SUPPORTED_VERSIONS = (VERSION,)
    logger = log  # it would make one of its own, with handlers
    rfile = socket = _Nothing
    websocket: Any  # set by the library

    def __init__(self) -> None:
        """Without a connection: it reads and writes nothing."""

    def answer(self, upgrade: Upgrade) -> bytes:
        """The head of the 101."""
        self.environ = {
            "HTTP_SEC_WEBSOCKET_VERSION": VERSION,
            "HTTP_SEC_WEBSOCKET_KEY": upgrade.key,
            "PATH_INFO": upgrade.path,
        }
        self.upgrade_connection()  # ends in start_response below
        # Its WebSocket would write a close frame of its own when it is collected; without a handler it
        # cannot, nor make the two classes that it makes at each close (5 KB until the next collection).
        self.websocket.handler = None
        self.websocket.closed = True
        self.websocket = None
        self.environ.clear()  # they hold each other
        if upgrade.protocol:
            self._headers.append(("Sec-WebSocket-Protocol", upgrade.protocol))
        if upgrade.extensions:
            self._headers.append(("Sec-WebSocket-Extensions", upgrade.extensions))
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers)
        return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode()

    def start_response(self, _status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
        self._headers = headers
