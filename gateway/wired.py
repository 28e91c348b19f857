"""A connection with a socket: one descriptor, one watcher, no greenlet.

The descriptor is non-blocking and ours alone. Reading ends while more commands wait than should, so
that a client that only asks is slowed down by its own socket.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import struct
import sys
import termios
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gevent.hub import get_hub

from broker.wire import Position
from gateway.behind import Behind
from gateway.connection import Connection
from gateway.forms import Form
from gateway.gauge import PAUSE_S, Gauge
from gateway.hub import Hub
from gateway.wheel import Wheel

log = logging.getLogger(__name__)

READ_BYTES = 4 << 10  # at a time: others wait while what is in them is done
READ, WRITE = 1, 2
ROOM_BYTES = 64 << 10  # beyond what is to be sent: the kernel counts its own bookkeeping, too
TCP_NOTSENT_LOWAT = 25  # socket.TCP_NOTSENT_LOWAT is there from Python 3.12 on
CLOSING_S = 5.0  # for the peer to take what we said last, and end


class Wired(Connection):
    """See `Connection`. Everything here runs in the event loop and never waits."""

    __slots__ = ("_deadline", "_fd", "_gauge", "_pause", "_quiet", "_watcher", "_wheel")

    def __init__(self, hub: Hub, form: Form, fd: int | None, wheel: Wheel) -> None:
        """`fd`: None for one that gets its socket later, by `attach`."""
        super().__init__(hub, form)
        self._fd = -1
        self._wheel = wheel
        self._gauge: Gauge | None = None  # once it gets newest values
        self._pause: Any = None  # a timer, while it gets none
        self._quiet = 0  # looks in a row that found nothing come
        self._deadline: Any = None  # a timer, once we have ended and wait for the peer to
        self._watcher: Any = None
        if fd is not None:
            self.attach(fd)

    def attach(self, fd: int) -> None:
        self._fd = fd
        self._wheel.add(fd, self)
        self._watcher = get_hub().loop.io(fd, READ)
        self._watcher.start(self._on_ready, pass_events=True)

    @abstractmethod
    def take(self, data: bytes) -> None:
        """What the peer sent."""

    @abstractmethod
    def give_up(self, position: Position | None) -> None:
        """It takes nothing: say up to where it has everything, and end."""

    @abstractmethod
    def look_at_quiet(self) -> None:
        """A look at it while its socket takes what there is; `_quiet` has been counted on."""

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

    def takes_more(self) -> bool:
        gauge = self._gauge
        if gauge is None:
            return True
        if gauge.is_held:
            return False
        if not gauge.needs_look or gauge.look(_room(self._fd), time.monotonic()):
            return True
        if self._pause is None:
            self._pause = get_hub().loop.timer(PAUSE_S)
            self._pause.start(self._try_again)
        return False

    def note_sent(self, size: int) -> None:
        if self._gauge is None:
            self._gauge = Gauge()
        self._gauge.note(size)

    def _try_again(self) -> None:
        self._end_pause()
        if not self.has_ended:
            self._on_ready(WRITE)

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.stop()
            self._pause.close()
            self._pause = None

    # The socket

    def look(self) -> None:
        """Once a turn of the wheel."""
        if self.has_ended:
            return
        try:
            if self.behind is not None and self._watched & WRITE:
                self._look_at_slow(self.behind)
            else:
                self._quiet += 1
                self.look_at_quiet()
        except Exception:
            self.fail()  # the others of this tick are to be looked at

    def _look_at_slow(self, behind: Behind) -> None:
        queued = _queued(self._fd)
        if behind.queued is None:
            behind.looks = 0  # it is seen like this for the first time
        elif queued < behind.queued:
            behind.looks = 0  # slowly, but it reads
            self.call_slow()
        else:
            behind.looks += 1
            self.call_slow()
        behind.queued = queued
        if behind.looks >= self._wheel.deadlines.stall:
            self.hub.counts["stalled"] += 1
            self.give_up(behind.past.position if behind.past else None)

    @property
    def has_unread(self) -> bool:
        """The peer's kernel has not taken all that ours was given."""
        return _queued(self._fd) > 0

    @property
    def is_unheard(self) -> bool:
        """Not even the peer's kernel has said anything for the time that it has for a pong."""
        return _unheard_s(self._fd) > self._wheel.deadlines.pong * self._wheel.turn_s

    def end_with(self, last: bytes) -> None:
        """No more from us, after this. May be called twice."""
        if self.has_ended:
            return
        rest = self._rest_of_frame()
        self.hub.remove(self)
        # Who awaits room may have come to the end of a frame: no room for the last word all the same.
        if rest or self._watched & WRITE:
            _make_room(self._fd, len(rest) + len(last))
        if last:
            self.write(rest + last)
        self._end()

    @property
    def has_ended(self) -> bool:
        return self._fd < 0 or self._deadline is not None

    @property
    def is_over(self) -> bool:
        return self.has_ended and not self.has_unread

    def _end(self) -> None:
        """The peer's end is awaited for a while, or what we said last may be lost: a close with unread
        bytes resets the connection.
        """
        try:
            with _borrowed(self._fd) as sock:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._gone()
            return
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
                self._quiet = 0
                self.receive_bytes(data)

    def receive_bytes(self, data: bytes) -> None:
        self.take(data)
        if self.is_full:
            self._watch(self._watched & WRITE)

    def pump(self) -> None:
        try:
            super().pump()
        except Exception:
            # It is called by flushes, answers and what is done later, too: they are others' as well, and
            # would leave this one open, with nobody to send it what it is due.
            self.fail()
        if not self.has_ended and not self._watched & READ and not self.is_full:
            self._watch(self._watched | READ)

    def _rest_of_frame(self) -> bytes:
        """What the socket has not taken of a frame that it has taken a part of: nothing else may follow."""
        unsent = self.behind.unsent if self.behind else None
        if unsent is None or unsent.nbytes == memoryview(unsent.obj).nbytes:
            return b""
        return bytes(unsent)

    @property
    def _watched(self) -> int:
        watcher = self._watcher
        return int(watcher.events) if watcher is not None and watcher.active else 0

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
        self._detach()

    def _detach(self) -> None:
        """Give up the socket."""
        self._wheel.discard(self._fd)
        self._end_pause()
        for watcher in (self._watcher, self._deadline):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        os.close(self._fd)
        self._fd = -1


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()


def _queued(fd: int) -> int:
    """Bytes that the kernel holds and the peer's has not taken. Source: tcp(7), SIOCOUTQ."""
    return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0" * 4), sys.byteorder)


def _unheard_s(fd: int) -> float:
    """Since the peer's kernel last said anything. Source: linux/tcp.h, tcpi_last_ack_recv, in ms."""
    with _borrowed(fd) as sock:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    return float(struct.unpack_from("=I", info, 56)[0]) / 1000


def _room(fd: int) -> int:
    """Bytes that the peer's kernel said it has room for. Source: linux/tcp.h, tcpi_snd_wnd (Linux 5.4)."""
    with _borrowed(fd) as sock:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    return int(struct.unpack_from("=I", info, 228)[0]) if len(info) >= 232 else 0


def _make_room(fd: int, size: int) -> None:
    """So that the kernel takes so much more, and has it when the peer reads on, as long as it waits."""
    with _borrowed(fd) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, (1 << 31) - 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _queued(fd) + size + ROOM_BYTES)
