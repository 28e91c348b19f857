"""A connection that has yet to say what it wants: one descriptor, and what has come of a request's head.

No greenlet waits for it, so many that say nothing cost little.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from gevent.hub import get_hub

from gateway.head import end_of_head

log = logging.getLogger(__name__)

READ_BYTES = 8 << 10
READ = 1


class Door(Protocol):
    """Who let it in."""

    def take(self, arrival: Arrival, head: bytes, rest: bytes) -> None:
        """A whole head has come, and perhaps more: `release` it, or `close`."""

    def hold(self, arrival: Arrival, size: int) -> None:
        """So many bytes of a head have come."""

    def lose(self, arrival: Arrival) -> None:
        """It is gone, and so is its descriptor."""


class Arrival:
    """Its descriptor is non-blocking and its own until a head is whole."""

    __slots__ = ("_data", "_door", "_watcher", "address", "fd")

    def __init__(self, door: Door, fd: int, address: tuple[Any, ...]) -> None:
        self._door = door
        self.fd = fd
        self.address = address
        self._data = b""
        self._watcher: Any = None  # once it had to be waited for

    @property
    def has_begun(self) -> bool:
        """To say something."""
        return bool(self._data)

    def read(self) -> None:
        """Take what is there; called again whenever there is more."""
        with self._guard():
            try:
                data = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                self._wait()
                return
            except OSError:
                data = b""
            if data:
                self._hear(data)
            else:
                self.close()

    def resume(self, data: bytes) -> None:
        """After another request; `data` came behind that."""
        with self._guard():
            self._hear(data)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            # It must not leave the watcher's callback: gevent would stop the watcher.
            log.exception("an arrival failed")
            self.close()

    def _hear(self, data: bytes) -> None:
        seen = len(self._data)
        # Empty lines before a request are nothing: RFC 9112, 2.2.
        data = self._data + data if seen else data.lstrip(b"\r\n")
        if end := end_of_head(data, seen):
            self._door.take(self, data[:end], data[end:])
            return
        self._data = data
        self._wait()
        if data:
            self._door.hold(self, len(data))

    def _wait(self) -> None:
        if self._watcher is None:
            self._watcher = get_hub().loop.io(self.fd, READ)
            self._watcher.start(self.read)

    def release(self) -> int:
        """The descriptor, which nobody watches any more."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        fd, self.fd = self.fd, -1
        return fd

    def close(self) -> None:
        """May be called twice."""
        if self.fd >= 0:
            socket.close(self.release())  # at once; gevent puts os.close off
            self._door.lose(self)
