"""Connections passed between the gateways of this host: each goes to the one that has its session.

Every gateway listens on a Unix socket in one folder that is theirs alone. A connection is passed on as a
message: its descriptor, its address, and the bytes that have been read of it. The owner goes on with it as
if it had come there.
"""

from __future__ import annotations

import array
import logging
import os
import socket
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from gevent.hub import get_hub

from broker.errors import PenstockError
from gateway.passage import PASS, TELL, TURN, Parcel, Passage, is_ours
from gateway.private import NotPrivate, make_private
from gateway.socketio.sids import is_gateway_id

log = logging.getLogger(__name__)

READ_BYTES = 128 << 10  # more than any message has
BACKLOG = 128
PATH_MAX_BYTES = 107  # of a Unix socket; unix(7)
RETRY_S = 1.0  # after which a socket is accepted for which there was no descriptor

_READ = 1
_SUFFIX = ".sock"
_ANCILLARY_BYTES = socket.CMSG_SPACE(array.array("i").itemsize)
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC

Take = Callable[[int, tuple[Any, ...], bytes], None]  # a descriptor, which the callee owns; address; data


def folders(setting: str, port: int, env: Mapping[str, str]) -> list[Path]:
    """Where the sockets are, last; before it what of the way there must be ours alone, too."""
    if setting:
        return [Path(setting)]
    base = Path(env.get("XDG_RUNTIME_DIR", ""))
    if not base.is_absolute() or not base.is_dir():
        base = Path(tempfile.gettempdir())
    # Sets on different ports do not mix, nor do those of different users.
    ours = base / f"penstock-{os.geteuid()}"
    return [ours, ours / str(port)]


class Handover:
    """`start`, then pass on and take over until `close`. Nothing blocks."""

    def __init__(
        self,
        gateway_id: str,
        folders: Sequence[Path],
        *,
        resume: Take,
        on_lost: Take,
        note: Callable[[str, str], None],
        on_told: Callable[[bytes], None] = lambda data: None,
    ) -> None:
        """
        Args:
            folders: made if they are missing; in the last one the gateways' sockets are.
            resume: goes on with a connection that was passed to us.
            on_lost: answers one that was to be passed on, or over, and could not.
            note: counts what can happen very often, by its kind, with a case for the log.
            on_told: hears what other gateways tell all.
        """
        self.gateway_id = gateway_id
        self.counts = Counter[str](handed_over=0, taken_over=0, handover_failed=0)
        self._folders, self._folder = folders, folders[-1]
        self._resume, self._on_lost, self._on_told = resume, on_lost, on_told
        self._note = note
        self._passages: dict[str, Passage] = {}
        self._listener: socket.socket | None = None
        self._inode = 0
        self._accepting: Any = None
        self._retrying: Any = None
        self._peers: dict[socket.socket, Any] = {}  # who passes connections to us, and its watcher
        self._buffer = memoryview(bytearray(READ_BYTES))

    def start(self) -> None:
        """Where that folder cannot be trusted nothing is passed on, and a line of the log says why."""
        try:
            self._listen()
        except (PenstockError, OSError) as error:
            log.error("no hand-over between gateways why=%s", error)

    def close(self) -> None:
        """No connection more. What is on its way here, or from here, is lost."""
        if self._listener is None:
            return
        with suppress(OSError):
            if self._path.lstat().st_ino == self._inode:  # and not of one that was started anew
                self._path.unlink()
        self._accept()
        self._unwatch()
        self._listener.close()
        self._listener = None
        self._resume = self._take_too_late
        for peer in list(self._peers):
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RD)  # who sends now is told so; what was sent can still be read
            while peer in self._peers:
                self._read(peer)
        for passage in self._passages.values():
            passage.close()
        with suppress(OSError):
            self._folder.rmdir()  # the last one puts the light out

    def pass_on(self, owner: str, fd: int, address: tuple[Any, ...], data: bytes) -> bool:
        """Whether that gateway gets the connection, whose descriptor is then ours; if not, the caller's.

        Args:
            owner: the gateway's id; anybody may have made it up.
            data: what has been read of the connection.
        """
        passage = self._maybe_passage(owner)
        if passage is not None and passage.pass_on(Parcel(fd, address, data)):
            return True
        self.counts["handover_failed"] += 1
        return False

    def tell_all(self, data: bytes) -> None:
        """Every other gateway of the folder hears it, as a rule; nobody is waited for."""
        if self._listener is None:
            return
        with suppress(OSError):
            for name in os.listdir(self._folder):
                other, suffix = os.path.splitext(name)
                passage = self._maybe_passage(other) if suffix == _SUFFIX else None
                if passage is not None:
                    passage.tell(data)

    # To others

    def _maybe_passage(self, other: str) -> Passage | None:
        if self._listener is None or other == self.gateway_id or not is_gateway_id(other):
            return None
        if (passage := self._passages.get(other)) is None:
            path = self._folder / f"{other}{_SUFFIX}"
            if not path.exists():
                return None  # of whoever is made up nothing is kept
            passage = Passage(path, on_sent=self._count_sent, on_lost=self._lose)
            self._passages[other] = passage
        return passage

    def _count_sent(self) -> None:
        self.counts["handed_over"] += 1

    def _lose(self, parcel: Parcel) -> None:
        self.counts["handover_failed"] += 1
        self._on_lost(*parcel)

    # From others

    @property
    def _path(self) -> Path:
        return self._folder / f"{self.gateway_id}{_SUFFIX}"

    def _listen(self) -> None:
        size = len(os.fsencode(self._path))
        if size > PATH_MAX_BYTES:
            why = f"its path has {size} bytes, a socket's at most {PATH_MAX_BYTES}: see `handover_dir`"
            raise NotPrivate(self._path, why)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._bind(listener)
        except (PenstockError, OSError):
            listener.close()
            raise
        listener.setblocking(False)
        self._inode = self._path.lstat().st_ino
        self._listener = listener
        self._watch()

    def _bind(self, listener: socket.socket) -> None:
        for is_last in (False, True):
            for folder in self._folders:
                make_private(folder)
            self._clear_away()
            try:
                listener.bind(str(self._path))
            except FileNotFoundError:
                if is_last:
                    raise
                continue  # the last of those before us has just removed the folder
            break
        listener.listen(BACKLOG)

    def _clear_away(self) -> None:
        """The socket of a gateway of this id that was killed."""
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise NotPrivate(self._path, "is no socket")
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
                probe.setblocking(False)
                if probe.connect_ex(str(self._path)) == 0:
                    log.error("two gateways with the id %s share a port: see `number`", self.gateway_id)
            self._path.unlink()

    def _watch(self) -> None:
        assert self._listener is not None
        self._retrying = None
        self._accepting = get_hub().loop.io(self._listener.fileno(), _READ)
        self._accepting.start(self._accept)

    def _unwatch(self) -> None:
        for watcher in (self._accepting, self._retrying):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._accepting = self._retrying = None

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(BACKLOG):
            try:
                peer, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # No descriptor is left: it waits for a while, or the loop would spin.
                log.warning("cannot take over why=%s", error.strerror)
                self._unwatch()
                self._retrying = get_hub().loop.timer(RETRY_S)
                self._retrying.start(self._watch)
                return
            peer.setblocking(False)
            if not is_ours(peer):
                peer.close()
                continue
            watcher = self._peers[peer] = get_hub().loop.io(peer.fileno(), _READ)
            watcher.start(self._read, peer)

    def _read(self, peer: socket.socket) -> None:
        for _ in range(TURN):
            try:
                size, ancillary, flags, _ = peer.recvmsg_into([self._buffer], _ANCILLARY_BYTES, _FLAGS)
            except BlockingIOError:
                return
            except OSError:
                size = 0
            if not size:
                watcher = self._peers.pop(peer)
                watcher.stop()
                watcher.close()
                peer.close()
                return
            descriptors = array.array("i")
            for _, _, data in ancillary:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
            try:
                self._hear(bytes(self._buffer[:size]), list(descriptors), flags)
            except Exception:
                # It must not leave the watcher's callback: gevent would stop the watcher.
                log.exception("a message of a gateway failed")

    def _hear(self, message: bytes, descriptors: list[int], flags: int) -> None:
        kind, rest = message[:1], message[1:]
        if kind == TELL and not descriptors:
            self._on_told(rest)
            return
        if kind == PASS and len(descriptors) == 1 and not flags & socket.MSG_TRUNC:
            head, _, data = rest.partition(b"\n")
            with suppress(msgspec.DecodeError):
                address = msgspec.json.decode(head, type=tuple[Any, ...])
                os.set_blocking(descriptors[0], False)
                self.counts["taken_over"] += 1
                self._resume(descriptors[0], address, data)
                return
        self.counts["handover_failed"] += 1
        if flags & socket.MSG_CTRUNC:
            # Its descriptor found no place here, and the kernel has closed it: nothing to answer on.
            self._note("no_descriptor", "of a connection that was handed over")
            return
        log.warning("a message of another gateway is not understood kind=%r", kind)
        for fd in descriptors:
            socket.close(fd)

    def _take_too_late(self, fd: int, address: tuple[Any, ...], data: bytes) -> None:
        self.counts["taken_over"] -= 1
        self._lose(Parcel(fd, address, data))
