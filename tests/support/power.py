"""A disk that loses power: what was written and not synced is there afterwards, or not, or in part.

    disk = Disk(folder, random)
    with disk.in_use():
        ...                 # SQLite and the lock write below the folder; `disk.cut_after(n)` sets the moment
    disk.come_back()        # the files are as the power cut may have left them

SQLite runs on a VFS of our own, which notes each write and each sync. The `sqlite3` of Python has its
own copy of the library, which takes no VFS from Python, so within the block its `connect` gives a
connection of apsw's copy; what comes back is read by the real one.

What a cut may leave: of each sector any content it had since the file was last synced, of each file any
size it had, of the folder any number of the first changes since it was synced. So a write may be torn
between sectors, and later ones may be there without earlier ones. A sector is whole, as SQLite expects
(its "powersafe overwrite").
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Literal
from unittest import mock

import apsw

SECTOR = 512
Left = Literal["nothing", "everything", "the first", "any"]
LEFT: tuple[Left, ...] = ("nothing", "everything", "the first", "any")
BUSY_MS = 5_000
_serial = count()


class File:
    """A file as programs see it, and all that a cut may leave of it."""

    def __init__(self) -> None:
        self.now = bytearray()
        self.synced = b""
        # Since the last sync: of each sector its contents, and the sizes; each with the number of its write.
        self.sectors: dict[int, list[tuple[int, bytes]]] = {}
        self.sizes: list[tuple[int, int]] = []

    def write(self, data: bytes, offset: int, number: int) -> None:
        self.now.extend(bytes(max(0, offset + len(data) - len(self.now))))
        self.now[offset : offset + len(data)] = data
        for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
            content = bytes(self.now[sector * SECTOR : (sector + 1) * SECTOR])
            self.sectors.setdefault(sector, []).append((number, content))
        self.sizes.append((number, len(self.now)))

    def truncate(self, size: int, number: int) -> None:
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self.sizes.append((number, size))

    def sync(self) -> None:
        self.synced = bytes(self.now)
        self.sectors, self.sizes = {}, []

    def left(self, choose: Callable[[Sequence[tuple[int, Any]]], int]) -> bytes:
        """`choose`: of what there was since the last sync, how many have reached the disk, which has the
        last of these."""
        size = len(self.synced)
        if reached := choose(self.sizes):
            size = self.sizes[reached - 1][1]
        found = bytearray(self.synced)
        for sector, contents in self.sectors.items():
            if reached := choose(contents):
                content = contents[reached - 1][1]
                found.extend(bytes(max(0, sector * SECTOR + len(content) - len(found))))
                found[sector * SECTOR : sector * SECTOR + len(content)] = content
        return bytes(found[:size]).ljust(size, b"\0")


class Disk:
    """The files of one folder. `is_off` once the power is cut: what happens afterwards never happened."""

    def __init__(self, folder: Path, random: Random, *, is_ever_synced: bool = True) -> None:
        """`is_ever_synced`: False has SQLite sync nothing, whatever it is told: to see what is lost then."""
        self.folder, self.random, self.is_ever_synced = folder, random, is_ever_synced
        self.is_off = False
        self.writes = 0  # writes and syncs until the cut
        self._cut_after: int | None = None
        self._files: dict[str, File] = {}
        self._kept: dict[str, File] = {}  # the folder as it was last synced
        self._changes: list[tuple[int, tuple[str, File | None]]] = []  # of the folder since then
        self._guard = threading.RLock()  # the log has a thread that checkpoints
        self._left: dict[str, bytes] = {}
        self._vfs = Vfs(self)

    def cut_after(self, writes: int) -> None:
        """So many writes and syncs from now: a write may be there in part, a sync has not come to its end."""
        self._cut_after = self.writes + writes

    def cut(self) -> None:
        self.is_off = True

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """In this block `sqlite3.connect`, `os.pwrite` and `os.fsync` of this process write to this disk."""
        with (
            mock.patch.object(sqlite3, "connect", self._connect),
            mock.patch.object(os, "pwrite", self._pwrite(os.pwrite)),
            mock.patch.object(os, "fsync", self._fsync(os.fsync)),
        ):
            yield

    def come_back(self, left: Left | None = None) -> Left:
        """After the cut, and when nothing has the files open: they are as they may be then. May be called
        again, for another of the ways that it may have ended; the newest one counts."""
        ending = left if left is not None else self.random.choice(LEFT)
        choose = self._choice(ending)
        names = dict(self._kept)
        for _, (name, file) in self._changes[: choose(self._changes)]:
            if file is None:
                names.pop(name, None)
            else:
                names[name] = file
        self._left = {name: file.left(choose) for name, file in names.items()}
        self.put_back()
        return ending

    def put_back(self) -> None:
        """What has come back, as it was before anybody opened it."""
        for path in self.folder.iterdir():
            if path.name not in self._left:
                path.unlink()
        for name, data in self._left.items():
            # In place: a file that was there before the cut is the same one after it.
            (self.folder / name).write_bytes(data)
            # Nobody syncs the index of the write-ahead log: anything may be in it.
            if name.endswith("-wal"):
                index = self.folder / f"{name.removesuffix('-wal')}-shm"
                index.write_bytes(self.random.randbytes(32_768))

    def go_on(self) -> None:
        """With what has come back on the disk, and power."""
        self._files = {}
        for name, data in self._left.items():
            file = self._files[name] = File()
            file.now[:] = data
            file.sync()
        self._kept, self._changes = dict(self._files), []
        self.is_off, self.writes, self._cut_after = False, 0, None

    def _choice(self, left: Left) -> Callable[[Sequence[tuple[int, Any]]], int]:
        random, until = self.random, self.random.randint(0, self.writes)
        share = random.choice([0.1, 0.5, 0.9])

        def choose(contents: Sequence[tuple[int, Any]]) -> int:
            match left:
                case "nothing":
                    return 0
                case "everything":
                    return len(contents)
                case "the first":
                    return sum(number <= until for number, _ in contents)
                case "any":
                    return random.randint(1, len(contents)) if contents and random.random() < share else 0

        return choose

    def _count(self) -> bool:
        """One more write or sync; False if there is no power for it any more."""
        if self.is_off:
            return False
        self.writes += 1
        return True

    def _maybe_cut(self) -> bool:
        if self._cut_after is not None and self.writes >= self._cut_after:
            self.is_off = True
        return self.is_off

    def _file(self, name: str) -> File:
        if name not in self._files:
            self._change(name, File())
        return self._files[name]

    def _change(self, name: str, file: File | None) -> None:
        self._changes.append((self.writes, (name, file)))
        if file is None:
            self._files.pop(name, None)
        else:
            self._files[name] = file

    # What the VFS and the patched calls tell.

    def opened(self, name: str) -> bool:
        """Whether it has just been made."""
        with self._guard:
            is_new = name not in self._files
            if not self.is_off:
                self._file(name)
            return is_new

    def wrote(self, name: str, data: bytes, offset: int) -> None:
        with self._guard:
            if self._count():
                self._file(name).write(data, offset, self.writes)
                self._maybe_cut()

    def truncated(self, name: str, size: int) -> None:
        with self._guard:
            if self._count():
                self._file(name).truncate(size, self.writes)
                self._maybe_cut()

    def synced(self, name: str) -> None:
        with self._guard:
            if self._count() and not self._maybe_cut():
                self._file(name).sync()

    def synced_folder(self) -> None:
        with self._guard:
            if self._count() and not self._maybe_cut():
                self._kept, self._changes = dict(self._files), []

    def deleted(self, name: str) -> None:
        with self._guard:
            if self._count():
                self._change(name, None)
                self._maybe_cut()

    def maybe_name(self, path: str | None) -> str | None:
        """Of a file of this disk that a power cut leaves something of."""
        if path and Path(path).parent == self.folder and not path.endswith("-shm"):
            return Path(path).name
        return None

    def _connect(self, path: str | Path, **_: object) -> Connection:
        return Connection(str(path), self._vfs.name, is_ever_synced=self.is_ever_synced)

    def _pwrite(self, real: Callable[[int, bytes, int], int]) -> Callable[[int, bytes, int], int]:
        def pwrite(descriptor: int, data: bytes, offset: int) -> int:
            if name := self.maybe_name(os.readlink(f"/proc/self/fd/{descriptor}")):
                self.wrote(name, bytes(data), offset)
            return real(descriptor, data, offset)

        return pwrite

    def _fsync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if path == str(self.folder):
                self.synced_folder()
            elif name := self.maybe_name(path):
                self.synced(name)
            else:
                real(descriptor)

        return fsync


class Vfs(apsw.VFS):
    """The usual one underneath; it tells the disk what happens."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.name = disk, f"power-{next(_serial)}"
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> VfsFile:
        return VfsFile(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        if name := self.disk.maybe_name(filename):
            self.disk.deleted(name)
            if syncdir:
                self.disk.synced_folder()


class VfsFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk, self._name = disk, disk.maybe_name(path)
        is_new = self._name is not None and disk.opened(self._name)
        # As SQLite's own VFS does: the first sync of a journal that it has made syncs its folder too.
        journals = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
        self._syncs_folder = is_new and bool(flags[0] & journals)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._name:
            self._disk.wrote(self._name, bytes(data), offset)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        if self._name:
            self._disk.truncated(self._name, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        if self._name:
            self._disk.synced(self._name)
            if self._syncs_folder:
                self._disk.synced_folder()
                self._syncs_folder = False


class Connection:
    """As much of `sqlite3.Connection` as the log's store uses, on apsw's copy of SQLite."""

    def __init__(self, path: str, vfs: str, *, is_ever_synced: bool) -> None:
        self._is_ever_synced = is_ever_synced
        with _as_sqlite3():
            self._db = apsw.Connection(path, vfs=vfs)
        self._db.set_busy_timeout(BUSY_MS)
        self.execute("PRAGMA synchronous = FULL")

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        if not self._is_ever_synced and statement.startswith("PRAGMA synchronous"):
            statement = "PRAGMA synchronous = OFF"
        with _as_sqlite3():
            return Cursor(self._db.execute(statement, values))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with _as_sqlite3():
            self._db.executemany(statement, rows)

    def executescript(self, script: str) -> None:
        with _as_sqlite3():
            self._db.execute(script).fetchall()

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def close(self) -> None:
        with _as_sqlite3():
            self._db.close()


class Cursor:
    def __init__(self, cursor: apsw.Cursor) -> None:
        self._cursor = cursor

    def __iter__(self) -> Iterator[Any]:
        with _as_sqlite3():
            yield from self._cursor

    def fetchone(self) -> Any:
        with _as_sqlite3():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with _as_sqlite3():
            return list(self._cursor.fetchall())


@contextmanager
def _as_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.NotADBError as error:
        raise sqlite3.DatabaseError(f"file is not a database: {error}") from error
    except apsw.Error as error:
        raise sqlite3.OperationalError(str(error)) from error
