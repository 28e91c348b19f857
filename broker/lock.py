"""One broker a log: a lock that the kernel lets go when its holder is gone, however it ended."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from broker.errors import LogError, LogHeld


class Lock:
    """Held on `<log>.lock` from construction to `close`. The file stays; it names its holder."""

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
        self.was_unlogged = b"unlogged" in self._read()
        self._write()

    def _read(self) -> bytes:
        return os.pread(self._file, 256, 0)

    def _write(self, note: str = "") -> None:
        # Always the same bytes of the same block: this must work when the disk is full.
        os.pwrite(self._file, f"process {os.getpid()}\n{note}".ljust(64).encode(), 0)

    def note_unlogged(self, is_unlogged: bool) -> None:
        """Leave word for the next broker that events went out which are in no log."""
        self.was_unlogged = is_unlogged
        self._write("unlogged" if is_unlogged else "")

    def close(self) -> None:
        os.close(self._file)
