"""A connection with a socket: one descriptor, one watcher, no greenlet.

The descriptor is non-blocking and ours alone. Reading ends while more commands wait than should, so
that a client that only asks is slowed down by its own socket.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from abc import abstractmethod
from typing import Any

from gevent.hub import get_hub

from gateway.connection import Connection
from gateway.forms import Form
from gateway.hub import Hub

log = logging.getLogger(__name__)

READ_BYTES = 4 << 10  # at a time: others wait while what is in them is done
READ, WRITE = 1, 2
CLOSING_S = 5.0  # for the peer to take what we said last, and end


class Wired(Connection):
    """See `Connection`. Everything here runs in the event loop and never waits."""

    __slots__ = ("_deadline", "_fd", "_watcher")

    def __init__(self, hub: Hub, form: Form, fd: int) -> None:
        super().__init__(hub, form)
        self._fd = fd
        self._deadline: Any = None  # a timer, once we have ended and wait for the peer to
        self._watcher: Any = get_hub().loop.io(fd, READ)
        self._watcher.start(self._on_ready, pass_events=True)

    @abstractmethod
    def take(self, data: bytes) -> None:
        """What the peer sent."""

    @abstractmethod
    def send_away(self, wait_s: float) -> None:
        """Ask it to come back after that time, and end."""

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

    def end_with(self, last: bytes) -> None:
        """No more from us, after this. May be called twice."""
        if self.has_ended:
            return
        is_mid_frame = self._is_mid_frame
        self.hub.remove(self)
        if last and not is_mid_frame:  # nothing can follow a frame that was cut in half
            self.write(last)
        self._end()

    @property
    def has_ended(self) -> bool:
        return self._fd < 0 or self._deadline is not None

    def _end(self) -> None:
        """The peer's end is awaited for a while, or what we said last may be lost: a close with unread
        bytes resets the connection.
        """
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
        try:
            self._move(events)
        except Exception:
            # It must not leave the watcher's callback: gevent would stop the watcher, and this would be
            # a connection that hears nothing, not even its end.
            self.fail()

    def fail(self) -> None:
        """End it for the exception at hand, which is a fault of ours."""
        log.exception("a connection failed")
        self._gone()

    def _move(self, events: int) -> None:
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
            elif not self.has_ended:
                self.receive_bytes(data)

    def receive_bytes(self, data: bytes) -> None:
        self.take(data)
        if self.is_full:
            self._watch(self._watched & WRITE)

    def pump(self) -> None:
        super().pump()
        if not self.has_ended and not self._watched & READ and not self.is_full:
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
