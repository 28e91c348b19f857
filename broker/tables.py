"""What stands in the log's file: an SQLite database. Reads it; knows SQL and nothing of events.

Tables: `chunks` (see `broker.chunk`), `topics` (id, name), `state` (key, value as text), `producers` (see
`broker.producers`), `keys` (what clients published under a key of their own, in order), `kept` (see
`broker.shelf`). Every row has a checksum, and `state` has one of all its rows: SQLite has none, and would
serve a flipped bit.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

from broker.errors import ForeignLog, LogError
from broker.shelf import Item

# Another number on machines of the other byte order: summaries are in the machine's own.
APPLICATION_ID = 0x50535431 if sys.byteorder == "little" else 0x50535432
VERSION = 3
STATE_CHECK = "check"  # the key of its checksum

Connection = sqlite3.Connection


class Tables:
    """A connection that has them. What it reads raises LogError where SQLite finds it damaged."""

    def __init__(self, db: Connection, path: Path | None) -> None:
        self._db, self.path = db, path

    @property
    def name(self) -> str:
        return str(self.path or "memory")

    def read_state(self) -> dict[str, str] | None:
        """None if it is damaged."""
        with self._reading():
            # As bytes: text with a flipped bit is perhaps none, and an error of the whole query.
            rows = self._db.execute("SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM state").fetchall()
        state = {_text(key): _text(value) for key, value in rows}
        found = state.pop(STATE_CHECK, None)
        return state if found == (state_check(state) if state else None) else None

    def topics(self) -> list[tuple[int, bytes | None]]:
        """No name where it is damaged."""
        with self._reading():
            rows = self._db.execute("SELECT id, name, row_check FROM topics ORDER BY id").fetchall()
        return [(id, name if found == row_check(id, name) else None) for id, name, found in rows]

    def producers(self) -> list[tuple[str, bytes]]:
        with self._reading():
            rows = self._db.execute("SELECT CAST(name AS BLOB), CAST(kept AS BLOB) FROM producers").fetchall()
        return [(_text(name), kept or b"") for name, kept in rows]

    def kept(self) -> list[tuple[int, Item | None]]:
        """By number, as they were last used; None for a row that is damaged."""
        columns = "number, CAST(name AS BLOB), CAST(value AS BLOB), row_check"
        with self._reading():
            rows = self._db.execute(f"SELECT {columns} FROM kept ORDER BY number").fetchall()
        items = [(Item(number, _text(name), value or b""), found) for number, name, value, found in rows]
        return [(item.number, item if found == row_check(*item) else None) for item, found in items]

    def summaries(self) -> Iterator[tuple[int, int, float, int, bytes | None, int]]:
        """first, last, newest_s, summary_check, summary, bytes of the body; by first."""
        columns = "first, last, newest_s, summary_check, summary, length(body)"
        with self._reading():
            yield from self._db.execute(f"SELECT {columns} FROM chunks ORDER BY first")

    def body(self, first: int) -> tuple[int, bytes | None]:
        """The checksum and the body of a chunk; no body if there is none, or SQLite finds it damaged."""
        with suppress(sqlite3.DatabaseError):
            for check, body in self._db.execute(
                "SELECT body_check, body FROM chunks WHERE first = ?", (first,)
            ).fetchall():
                return check, body if isinstance(body, bytes) else None
        return 0, None

    def key_count(self) -> int:
        with self._reading():
            return int(self._db.execute("SELECT count(*) FROM keys").fetchone()[0])

    def damaged_keys(self) -> list[int]:
        """Their numbers."""
        columns = "number, CAST(subject AS BLOB), CAST(key AS BLOB), hash, CAST(position AS BLOB), made_s"
        with self._reading():
            rows = self._db.execute(f"SELECT row_check, {columns} FROM keys").fetchall()
        return [
            number
            for found, number, subject, key, hash, position, made_s in rows
            if found != row_check(_text(subject), _text(key), hash, _text(position), made_s)
        ]

    def faults(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        with self._reading():
            return [row[0] for row in self._db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LogError(f"cannot read the log {self.name}: {error}: {remedy(self.path, error)}") from error


@contextmanager
def reading(path: Path) -> Iterator[Tables]:
    """The file as it is now, for as long as the block lasts, also beside a broker that writes.

    Raises:
        ForeignLog, LogError.
    """
    try:
        with closing(open_for_reading(path)) as db:
            check_ours(db, path)
            if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
                raise LogError(f"{path} is of an older version: a broker that opens it brings it up to date")
            yield Tables(db, path)
    except sqlite3.Error as error:
        raise LogError(f"cannot read the log {path}: {error}: {remedy(path, error)}") from error


def open_for_reading(path: Path) -> Connection:
    """In a transaction that has begun.

    Raises:
        LogError: there is no file. ForeignLog: it is no database. sqlite3.Error.
    """
    if not path.is_file():
        raise LogError(f"there is no log at {path}: name another one, or set PENSTOCK_BROKER__LOG")
    place = f"file:{quote(str(path.resolve()))}?mode=ro"
    db = sqlite3.connect(place, uri=True, isolation_level=None)
    try:
        # The whole block is one transaction, and so one moment of the log.
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        db.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        # A folder that cannot be written, so SQLite can make no index there; and nobody writes to it.
        db = sqlite3.connect(f"{place}&immutable=1", uri=True, isolation_level=None)
    except sqlite3.DatabaseError as error:
        db.close()
        raise _no_database(path, error) from error
    return db


def check_ours(db: Connection, path: Path | None) -> None:
    """Raises ForeignLog, sqlite3.Error."""
    try:
        ours = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise _no_database(path, error) from error
    if tables and ours != APPLICATION_ID:
        raise ForeignLog(str(path), "another program's database")
    if version > VERSION:
        raise ForeignLog(str(path), f"of version {version}, this program knows {VERSION}")


def _no_database(path: Path | None, error: sqlite3.Error) -> Exception:
    return ForeignLog(str(path), "not an SQLite file") if "not a database" in str(error) else error


def row_check(*values: object) -> int:
    """The checksum of a row."""
    return crc32(repr(values).encode(errors="surrogatepass"))


def state_check(state: Mapping[str, str]) -> str:
    return str(row_check(*sorted(state.items())))


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")


def remedy(path: Path | None, error: sqlite3.Error) -> str:
    folder = path.parent if path else Path()
    if path and not os.access(path if path.exists() else folder, os.W_OK):
        return "make the folder and the file writable for this user, or set PENSTOCK_BROKER__LOG"
    if "malformed" in str(error):
        return (
            "`penstock log verify` shows what can still be read; put a backup in its place with "
            "`penstock log restore`, or move the file away to start an empty log"
        )
    return "see that the disk has room and the folder is writable, or set PENSTOCK_BROKER__LOG"
