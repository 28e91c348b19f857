"""The way to one other gateway of this host: a Unix socket that takes descriptors, and who waits for it.

Nothing here blocks. What the socket does not take waits for a moment; a gateway that takes nothing for
longer is stuck, and until it reads again nobody waits for it.
"""

from __future__ import annotations

import array
import ctypes
import logging
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from gevent.hub import get_hub

log = logging.getLogger(__name__)

# The kernel doubles it, and a message has 80 KiB at most: a whole head, and what was read with its end. No
# more, for what it holds of a gateway that is stopped waits until that one goes on.
SEND_BUFFER_BYTES = 64 << 10
WAITING_MAX = 1_000
WAIT_S = 2.0
TURN = 16  # in a row, before others have their turn
PASS, TELL = b"P", b"T"  # kinds of messages, told by their first byte

_WRITE = 2
_EPOLL_CTL_DEL = 2
_CREDENTIALS = struct.Struct("3i")  # of the peer: pid, uid, gid; unix(7)
_libc = ctypes.CDLL(None)


class Parcel(NamedTuple):
    """A connection that is passed on, and what has been read of it."""

    fd: int
    address: tuple[Any, ...]
    data: bytes

    def message(self) -> list[bytes]:
        return [PASS, msgspec.json.encode(self.address), b"\n", self.data]


class _Outcome(Enum):
    SENT, FULL, GONE = auto(), auto(), auto()


class Passage:
    """Connected when it is first used."""

    def __init__(self, path: Path, *, on_sent: Callable[[], None], on_lost: Callable[[Parcel], None]) -> None:
        """
        Args:
            on_sent: one has arrived there, and its descriptor is closed here.
            on_lost: one that waited, and whose descriptor is the callee's again.
        """
        self._path, self._on_sent, self._on_lost = path, on_sent, on_lost
        self._socket: socket.socket | None = None
        self._writable: Any = None  # a watcher, while somebody waits or it is stuck
        self._clock: Any = None  # a timer, while somebody waits
        self._waiting: deque[tuple[float, Parcel]] = deque()  # since when
        self._is_stuck = False

    def pass_on(self, parcel: Parcel) -> bool:
        """Whether it is sent, or waits to be; if not, the descriptor stays the caller's."""
        if self._is_stuck:
            return False
        outcome = _Outcome.FULL if self._waiting else self._send(parcel.message(), parcel.fd)
        if outcome is _Outcome.SENT:
            self._let_go(parcel)
        elif outcome is _Outcome.GONE or len(self._waiting) >= WAITING_MAX:
            return False
        else:
            self._wait(parcel)
        return True

    def tell(self, data: bytes) -> None:
        """Best effort: not heard by one that takes nothing just now."""
        if not (self._is_stuck or self._waiting):
            self._send([TELL, data])

    def close(self) -> None:
        """Who waits is lost. It may be used again."""
        self._lose()
        self._disconnect()

    # The socket

    def _send(self, message: Sequence[bytes], fd: int | None = None) -> _Outcome:
        rights = array.array("i", [] if fd is None else [fd])
        ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        for _ in range(2):  # one that was started anew is there at the second try
            if self._socket is None and not self._connect():
                return _Outcome.GONE
            assert self._socket is not None
            try:
                # One message or nothing. gevent's own would wait, and says 0 if that was in vain.
                self._socket.sendmsg(message, ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return _Outcome.FULL
            except ConnectionError:
                self._disconnect()
            except OSError:  # too many descriptors are on their way (ETOOMANYREFS), or no memory
                return _Outcome.GONE
            else:
                return _Outcome.SENT
        return _Outcome.GONE

    def _connect(self) -> bool:
        try:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:  # no descriptor is left
            return False
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            made.connect(str(self._path))
        except OSError:
            made.close()
            return False
        if not is_ours(made):
            made.close()
            return False
        self._socket = made
        return True

    def _disconnect(self) -> None:
        self._unwatch()
        self._is_stuck = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # Who waits

    def _wait(self, parcel: Parcel) -> None:
        self._waiting.append((time.monotonic(), parcel))
        self._watch()
        if self._clock is None:
            self._look_in(WAIT_S)

    def _watch(self) -> None:
        if self._writable is None:
            assert self._socket is not None
            self._writable = get_hub().loop.io(self._socket.fileno(), _WRITE)
            self._writable.start(self._go_on)

    def _unwatch(self) -> None:
        if self._writable is not None:
            self._writable.stop()
            self._writable.close()
            self._writable = None

    def _look_in(self, seconds: float) -> None:
        self._clock = get_hub().loop.timer(seconds)
        self._clock.start(self._look)

    def _look(self) -> None:
        """Whether the first has waited too long: then all have waited in vain, and it is stuck."""
        self._clock = None
        if not self._waiting:
            return
        left_s = self._waiting[0][0] + WAIT_S - time.monotonic()
        if left_s > 0:
            self._look_in(left_s)
            return
        log.warning("stuck gateway=%s waiting=%d", self._path.stem, len(self._waiting))
        self._is_stuck = True
        self._lose()

    def _go_on(self) -> None:
        """It takes something again, or has gone."""
        if self._is_stuck:
            log.info("no longer stuck gateway=%s", self._path.stem)
            self._is_stuck = False
        for _ in range(TURN):
            if not self._waiting:
                break
            parcel = self._waiting[0][1]
            outcome = self._send(parcel.message(), parcel.fd)
            if outcome is _Outcome.FULL:
                break
            if outcome is _Outcome.GONE:
                self.close()
                return
            self._waiting.popleft()
            self._let_go(parcel)
        if self._waiting:
            self._watch()  # the socket may be another by now
        else:
            self._unwatch()

    def _lose(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, parcel in waiting:
            try:
                self._on_lost(parcel)
            except Exception:
                # It must not leave a watcher's callback, and the others are to be told.
                log.exception("a connection that waited was not answered")

    def _let_go(self, parcel: Parcel) -> None:
        forget(parcel.fd)
        # Never a shutdown: the connection is the other's now.
        socket.close(parcel.fd)  # at once; gevent puts os.close off
        self._on_sent()


def forget(fd: int) -> None:
    """Have the loop's epoll forget a descriptor that another process goes on with, before it is closed here.

    Epoll knows open files, not descriptors: this one stays open after our close, and libev, which never
    tells epoll that it stopped to watch, would make its whole set anew at each later event on it: 4,000
    idle connections and 200 such cost a second of CPU time.
    """
    epoll = get_hub().loop.fileno()
    if epoll is not None:
        _libc.epoll_ctl(epoll, _EPOLL_CTL_DEL, fd, None)  # ENOENT: it was never waited for


def is_ours(peer: socket.socket) -> bool:
    """Whether the other end is of our user."""
    with suppress(OSError):
        data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return bool(_CREDENTIALS.unpack(data)[1] == os.geteuid())
    return False
