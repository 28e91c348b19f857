"""One broker a log: a lock that the kernel lets go when its holder is gone, however it ended."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from broker.errors import LogError, LogHeld

log = logging.getLogger(__name__)

_BYTES = 128


class Notes:
    """What a broker left in its lock."""

    def __init__(self, data: bytes) -> None:
        self.holder, *notes = data.decode(errors="replace").rstrip().split("\n")
        pairs = (note.partition(" ") for note in notes)
        self.values = {name: value for name, _, value in pairs if name in ("reserved", "given", "unlogged")}

    @property
    def is_unlogged(self) -> bool:
        """Events went out that are in no log."""
        return "unlogged" in self.values

    def reserved(self, epoch: str) -> int:
        """How far seqs were reserved in that epoch, as far as is known; 0 if nothing is."""
        return self._seq("reserved", epoch)

    def given(self, epoch: str) -> int:
        """How far seqs were given out in that epoch, as far as is known; 0 if nothing is."""
        return self._seq("given", epoch)

    def _seq(self, name: str, epoch: str) -> int:
        then, _, seq = self.values.get(name, "").partition(".")
        return int(seq) if then == epoch and seq.isdecimal() else 0


class Lock:
    """Held on `<log>.lock` from construction to `close`. The file stays: it names its holder, and what
    the log's own file could not tell of itself, whether events went out unlogged, how far seqs were
    reserved and how far they were given. A backup that is put back over the log says less than this
    does, and so does a log whose newest commits cannot be read any more.
    """

    def __init__(self, log_path: Path) -> None:
        """Raises LogHeld, LogError."""
        self._path = _place(log_path)
        try:
            _make_folder(log_path.parent)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogError(
                f"cannot open {self._path}: {error.strerror}: make the folder writable for this user, "
                "or set PENSTOCK_BROKER__LOG to another file"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = Notes(self._read()).holder or "another process"
            os.close(self._file)
            raise LogHeld(str(log_path), holder) from error
        self.before = Notes(self._read())
        self._notes = dict(self.before.values)
        self._fails = False
        self._write()

    def _read(self) -> bytes:
        return os.pread(self._file, _BYTES, 0)

    def _write(self, *, is_synced: bool = False) -> None:
        # Always the same bytes of the same block: this must work when the disk is full.
        notes = (f"{name} {value}".rstrip() for name, value in self._notes.items())
        text = "\n".join([f"process {os.getpid()}", *notes])
        try:
            os.pwrite(self._file, text.ljust(_BYTES).encode(), 0)
            if is_synced:
                os.fsync(self._file)
            self._fails = False
        except OSError as error:
            if not self._fails:  # once, and not at each commit
                log.error("cannot note in %s: %s", self._path, error.strerror)
            self._fails = True

    def note_reserved(self, epoch: int, seq: int, *, is_synced: bool = False) -> None:
        """Seqs up to here may have been given out in that epoch. To be called after the log's commit,
        so that this never says more than a log that is whole."""
        self._notes["reserved"] = f"{epoch:016x}.{seq}"
        self._write(is_synced=is_synced)

    def note_given(self, epoch: int, seq: int) -> None:
        """Seqs up to here were given out: after the commit that has them, before anybody sees them.

        Of a broker that is killed this is exact, for what was written stays written. After a power cut
        it may tell less, and never more than a log that is synced at each commit.
        """
        self._notes["given"] = f"{epoch:016x}.{seq}"
        self._write()

    def note_unlogged(self, is_unlogged: bool) -> None:
        """Leave word for the next broker that events went out which are in no log. On the disk, for a
        power cut would take this word alone: the events before them are there."""
        self._notes.pop("unlogged", None)
        if is_unlogged:
            self._notes["unlogged"] = ""
        self._write(is_synced=True)

    def sync_folder(self) -> None:
        """Of what is synced, the names are on the disk as well. Raises LogError."""
        try:
            sync_folder(self._path.parent)
        except OSError as error:
            raise LogError(f"cannot sync {self._path.parent}: {error.strerror}: see to the disk") from error

    def close(self) -> None:
        """May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_notes(log_path: Path) -> Notes:
    """Of a log that anybody may hold."""
    try:
        return Notes(_place(log_path).read_bytes()[:_BYTES])
    except OSError:
        return Notes(b"")


def _place(log_path: Path) -> Path:
    return log_path.with_name(log_path.name + ".lock")


def _make_folder(folder: Path) -> None:
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(made):
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """The names in it are on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
