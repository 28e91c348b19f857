"""A connection with a socket: one descriptor, one watcher, no greenlet.

The descriptor is non-blocking and ours alone. Reading ends while more commands wait than should, so
that a client that only asks is slowed down by its own socket.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from typing import Any

from gevent.hub import get_hub

from gateway import frames
from gateway.connection import Connection
from gateway.forms import NATIVE, Form
from gateway.frames import Binary, Closing, Fault, Inbound, Ping, Text
from gateway.hub import Hub
from gateway.protocol import Refusal

log = logging.getLogger(__name__)

READ_BYTES = 64 << 10
READ, WRITE = 1, 2
CLOSING_S = 5.0  # for the peer to take a close frame and end


class Peer(Connection):
    """See `Connection`. Everything here runs in the event loop and never waits."""

    __slots__ = ("_deadline", "_fd", "_inbound", "_max_bytes", "_watcher")

    def __init__(self, hub: Hub, form: Form, fd: int, max_bytes: int) -> None:
        super().__init__(hub, form)
        self._fd = fd
        self._inbound: Inbound | None = None
        self._max_bytes = max_bytes
        self._deadline: Any = None  # a timer, once we have ended and wait for the peer to
        self._watcher: Any = get_hub().loop.io(fd, READ)
        self._watcher.start(self._on_ready, pass_events=True)

    # For Connection

    def write(self, data: bytes | memoryview) -> int:
        # Nothing but the write itself: this is called once a connection and flush.
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if self._fd >= 0:
                self.hub.later(self._gone)
                if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT):
                    log.info("write failed why=%s", error.strerror)
            return len(data)

    def await_room(self) -> None:
        self._watch(self._watched | WRITE)

    # The socket

    def start_with(self, early: bytes) -> None:
        """Join the hub; `early` is what the client sent right behind its request."""
        self.hub.add(self)
        if early:
            self._take(early)

    def close(self, code: int, reason: str = "") -> None:
        """Say why, and end. May be called twice."""
        if self._fd < 0 or self._deadline:
            return
        is_mid_frame = self._is_mid_frame
        self.hub.remove(self)
        if not is_mid_frame:  # nothing can follow a frame that was cut in half
            self.write(frames.close_frame(code, reason))
        self._end()

    def _end(self) -> None:
        """No more from us. The peer's end is awaited for a while, or what we said last may be lost: a
        close with unread bytes resets the connection.
        """
        if self._fd < 0:
            return
        sock = socket.socket(fileno=self._fd)
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.detach()
            self._gone()
            return
        sock.detach()
        self._watch(READ)
        self._deadline = get_hub().loop.timer(CLOSING_S)
        self._deadline.start(self._gone)

    def _on_ready(self, events: int) -> None:
        if events & WRITE:
            self._watch(self._watched & READ)
            self.pump()
        if events & READ and self._fd >= 0:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._gone()
            elif not self._deadline:
                self._take(data)

    def _take(self, data: bytes) -> None:
        messages, self._inbound = frames.receive(data, self._inbound, self._max_bytes)
        for message in messages:
            if self._fd < 0 or self._deadline:
                return
            if isinstance(message, Text):
                if self.form is NATIVE:
                    self.receive(message.text)
            elif isinstance(message, Binary):
                if self.form is NATIVE:
                    self.command(Refusal(None, "bad_request", "want text, not binary"))
            elif isinstance(message, Ping):
                self.answer_ping(frames.pong_frame(message.data))
            elif isinstance(message, Closing | Fault):
                self.close(message.code, message.reason if isinstance(message, Fault) else "")
        if self.is_full:
            self._watch(self._watched & WRITE)

    def pump(self) -> None:
        super().pump()
        if self._fd >= 0 and not self._deadline and not self._watched & READ and not self.is_full:
            self._watch(self._watched | READ)

    @property
    def _is_mid_frame(self) -> bool:
        """Whether the socket has taken a part of what it was offered last."""
        unsent = self.behind.unsent if self.behind else None
        return unsent is not None and unsent.nbytes < memoryview(unsent.obj).nbytes

    @property
    def _watched(self) -> int:
        return int(self._watcher.events) if self._watcher.active else 0

    def _watch(self, events: int) -> None:
        if self._fd < 0 or self._watched == events:
            return
        self._watcher.stop()
        if events:
            self._watcher.events = events
            self._watcher.start(self._on_ready, pass_events=True)

    def _gone(self) -> None:
        if self._fd < 0:
            return
        self.hub.remove(self)
        for watcher in (self._watcher, self._deadline):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        os.close(self._fd)
        self._fd = -1
