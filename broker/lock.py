"""One broker a log: a lock that the kernel lets go when its holder is gone, however it ended."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from broker.errors import LogError, LogHeld

_BYTES = 128


class Lock:
    """Held on `<log>.lock` from construction to `close`. The file stays: it names its holder, and what
    the log's own file could not tell of itself, whether events went out unlogged and how far seqs were
    reserved. A backup that is put back over the log says less than this does.
    """

    def __init__(self, log_path: Path) -> None:
        """Raises LogHeld, LogError."""
        path = log_path.with_name(log_path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogError(
                f"cannot open {path}: {error.strerror}: make the folder writable for this user, "
                "or set PENSTOCK_BROKER__LOG to another file"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = self._read().split(b"\n")[0].decode(errors="replace") or "another process"
            os.close(self._file)
            raise LogHeld(str(log_path), holder) from error
        _, *notes = self._read().decode(errors="replace").split("\n")
        self.was_unlogged = "unlogged" in notes
        reserved = [note.removeprefix("reserved ") for note in notes if note.startswith("reserved ")]
        self.was_reserved = reserved[0] if reserved else ""  # epoch and seq, as `note_reserved` wrote them
        self._notes = {"reserved": f"reserved {self.was_reserved}"}
        self._write()

    def _read(self) -> bytes:
        return os.pread(self._file, _BYTES, 0).rstrip()

    def _write(self) -> None:
        # Always the same bytes of the same block: this must work when the disk is full.
        text = "\n".join([f"process {os.getpid()}", *self._notes.values()])
        os.pwrite(self._file, text.ljust(_BYTES).encode(), 0)

    def note_reserved(self, epoch: int, seq: int) -> None:
        """Seqs up to here may have been given out in that epoch. To be called after the log's commit,
        so that this never says more than a log that is whole."""
        self._notes["reserved"] = f"reserved {epoch:016x}.{seq}"
        self._write()

    def is_ahead(self, epoch: str, seq: int) -> bool:
        """The log was further than its file says: that is an older one, put back."""
        then, _, reserved = self.was_reserved.partition(".")
        return then == epoch and int(reserved or 0) > seq

    def note_unlogged(self, is_unlogged: bool) -> None:
        """Leave word for the next broker that events went out which are in no log."""
        self.was_unlogged = is_unlogged
        self._notes.pop("unlogged", None)
        if is_unlogged:
            self._notes["unlogged"] = "unlogged"
        self._write()

    def close(self) -> None:
        os.close(self._file)
