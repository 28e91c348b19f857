"""A GET that is answered when there is something to say: one descriptor and one watcher, no greenlet."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from gevent.hub import get_hub

log = logging.getLogger(__name__)

READ, WRITE = 1, 2
READ_BYTES = 8 << 10
BEHIND_MAX_BYTES = 64 << 10  # of what comes behind it, before it is answered
TAKEN_WITHIN_S = 30.0  # its answer

_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nCache-Control: no-store\r\n"

Done = Callable[[int, bytes], None]


class HttpPoll:
    """Owns the descriptor, which is non-blocking, until `done` has it."""

    __slots__ = ("_behind", "_deadline", "_done", "_fd", "_headers", "_lost", "_stays", "_unsent", "_watcher")

    def __init__(
        self,
        fd: int,
        behind: bytes,
        headers: Mapping[str, str],
        *,
        stays: bool,
        done: Done,
        lost: Callable[[], None],
    ) -> None:
        """
        Args:
            behind: what came behind the request.
            stays: the connection may bear another request.
            done: gets the descriptor after the answer, with what came behind it, if it stays.
            lost: called if the client goes before it is answered.
        """
        self._fd, self._behind, self._stays = fd, behind, stays
        self._headers, self._done, self._lost = headers, done, lost
        self._unsent: memoryview | None = None  # of the answer
        self._deadline: Any = None
        self._watcher: Any = get_hub().loop.io(fd, READ)
        self._watcher.start(self._on_ready, pass_events=True)

    @property
    def is_being_taken(self) -> bool:
        """Its answer is on its way."""
        return self._unsent is not None

    def answer(self, body: bytes) -> None:
        """Once."""
        if self._fd < 0:
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        ending = "" if self._stays else "Connection: close\r\n"
        head = f"{_HEAD}Content-Length: {len(body)}\r\n{lines}{ending}\r\n"
        # An origin is said back in the bytes that it came in.
        self._unsent = memoryview(head.encode("latin-1") + body)
        self._write()

    def look(self) -> None:
        """At once, rather than when the loop comes to it."""
        self._on_ready(READ)

    def _on_ready(self, events: int) -> None:
        try:
            if events & WRITE:
                self._write()
            if events & READ and self._fd >= 0:
                self._read()
        except Exception:
            log.exception("a poll failed")  # it must not leave the watcher's callback: gevent would stop it
            self._end()

    def _read(self) -> None:
        if len(self._behind) >= BEHIND_MAX_BYTES:
            return  # it was looked at
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._behind += data
        if len(self._behind) >= BEHIND_MAX_BYTES:
            self._watch(WRITE if self._unsent is not None else 0)

    def _write(self) -> None:
        assert self._unsent is not None
        try:
            sent = os.write(self._fd, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._watch(READ | WRITE)
            if self._deadline is None:
                self._deadline = get_hub().loop.timer(TAKEN_WITHIN_S)
                self._deadline.start(self._end)
            return
        fd, behind, stays = self._release(), self._behind, self._stays
        if stays:
            self._done(fd, behind)
        else:
            part(fd)

    def _watch(self, events: int) -> None:
        self._watcher.stop()
        if events:
            self._watcher.events = events
            self._watcher.start(self._on_ready, pass_events=True)

    def _end(self) -> None:
        """It cannot be answered, or not wholly."""
        if self._fd >= 0:
            socket.close(self._release())
            self._lost()

    def _release(self) -> int:
        for watcher in (self._watcher, self._deadline):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._unsent = None
        fd, self._fd = self._fd, -1
        return fd


def part(fd: int, last: bytes = b"") -> None:
    """Say that, which is the last on its connection: no more from us, and what comes is not read."""
    sock = socket.socket(fileno=fd)
    try:
        if last:
            sock.send(last)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has gone
    finally:
        sock.close()
