"""The log's file: an SQLite database with one row a chunk. Knows SQL and nothing of events.

Tables: `chunks` (see `broker.chunk`), `topics` (id, name), `state` (key, value as text), `producers` (see
`broker.producers`), `keys` (what clients published under a key of their own, in order).
Not thread-safe; a thread of its own, with a connection of its own, moves the write-ahead log.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

from broker.chunk import Row
from broker.errors import CannotCommit, ForeignLog, LogError

# Another number on machines of the other byte order: summaries are in the machine's own.
APPLICATION_ID = 0x50535431 if sys.byteorder == "little" else 0x50535432
VERSION = 2
# What version 1 did not have.
_PUBLISHING = """
CREATE TABLE producers (name TEXT PRIMARY KEY, kept BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (
    number INTEGER PRIMARY KEY, subject TEXT NOT NULL, key TEXT NOT NULL,
    hash BLOB NOT NULL, position TEXT NOT NULL, made_s REAL NOT NULL
);
CREATE UNIQUE INDEX keys_of ON keys (subject, key);
"""
_SCHEMA = """
CREATE TABLE chunks (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, newest_s REAL NOT NULL,
    summary_check INTEGER NOT NULL, body_check INTEGER NOT NULL, summary BLOB, body BLOB
);
CREATE TABLE topics (id INTEGER PRIMARY KEY, name BLOB NOT NULL);
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
# The body stands last: reading a summary must not walk through the body's overflow pages.
_ADD = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)"
# One that has expired may be there still.
_ADD_KEY = "INSERT OR REPLACE INTO keys (subject, key, hash, position, made_s) VALUES (?, ?, ?, ?, ?)"
CHECKPOINT_BYTES = 8 << 20
WAL_PAGES_MAX = 16_384


class Key(NamedTuple):
    """What was published under a key."""

    subject: str
    key: str
    hash: bytes  # of the events
    position: str  # of the last of them
    made_s: float  # age clock of the log


@dataclass(slots=True)
class Change:
    """What one transaction does."""

    add: list[Row] = field(default_factory=list)
    remove: list[int] = field(default_factory=list)  # firsts of chunks
    topics: list[tuple[int, bytes]] = field(default_factory=list)
    forget: list[int] = field(default_factory=list)  # ids of topics
    state: dict[str, str] = field(default_factory=dict)
    producers: list[tuple[str, bytes]] = field(default_factory=list)  # name, and what is kept of it
    forget_producers: list[str] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    expire_keys: int = 0  # up to this number

    @property
    def is_alone(self) -> bool:
        """Nothing but chunks to add."""
        return not (
            self.remove
            or self.topics
            or self.forget
            or self.state
            or self.producers
            or self.forget_producers
            or self.keys
            or self.expire_keys
        )


class Store:
    """An open file; `path` None is a store in this process's memory.

    In memory it is SQLite's own, not a file in /dev/shm: nothing stays behind after a kill -9, and
    containers give /dev/shm 64 MB, less than a log may hold.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises ForeignLog, LogError."""
        self.path = path
        self._written = 0
        self._wal_pages = 0
        self._wake = Event()
        self._checkpointing = Lock()
        self._closing = False
        self._checkpointer: Thread | None = None
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            self._check_ours()
            if path:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA wal_autocheckpoint = 0")
            self._db.execute("PRAGMA synchronous = " + ("NORMAL" if path else "OFF"))
            self._db.execute("PRAGMA cache_size = -16384")
            if not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                self._db.executescript(_SCHEMA + _PUBLISHING)
                self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            elif self._db.execute("PRAGMA user_version").fetchone()[0] == 1:
                self._db.executescript(f"BEGIN; {_PUBLISHING} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.Error as error:
            raise LogError(f"cannot open the log {path}: {error}: {_remedy(path, error)}") from error
        if path:
            self._checkpointer = Thread(target=self._checkpoint_often, name="checkpoint", daemon=True)
            self._checkpointer.start()

    def _check_ours(self) -> None:
        try:
            ours = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise ForeignLog(str(self.path), "not an SQLite file") from error
            raise
        if tables and ours != APPLICATION_ID:
            raise ForeignLog(str(self.path), "another program's database")
        if version > VERSION:
            raise ForeignLog(str(self.path), f"of version {version}, this program knows {VERSION}")

    @property
    def name(self) -> str:
        return str(self.path or "memory")

    def state(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT key, value FROM state"))

    def topics(self) -> list[tuple[int, bytes]]:
        return self._db.execute("SELECT id, name FROM topics ORDER BY id").fetchall()

    def producers(self) -> list[tuple[str, bytes]]:
        return self._db.execute("SELECT name, kept FROM producers").fetchall()

    def maybe_key(self, subject: str, key: str) -> Key | None:
        """Raises LogError: the file cannot be read."""
        wanted = "SELECT subject, key, hash, position, made_s FROM keys WHERE subject = ? AND key = ?"
        try:
            found = self._db.execute(wanted, (subject, key)).fetchone()
        except sqlite3.Error as error:
            raise LogError(f"cannot read the log {self.path}: {error}") from error
        return Key(*found) if found else None

    def key_count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM keys").fetchone()[0])

    def oldest_keys(self, limit: int) -> list[tuple[int, float]]:
        """Number and made_s of the first so many."""
        wanted = "SELECT number, made_s FROM keys ORDER BY number LIMIT ?"
        return self._db.execute(wanted, (limit,)).fetchall()

    def summaries(self) -> Iterator[tuple[int, int, float, int, bytes | None, int]]:
        """first, last, newest_s, summary_check, summary, bytes of the body; by first."""
        yield from self._db.execute(
            "SELECT first, last, newest_s, summary_check, summary, length(body) FROM chunks ORDER BY first"
        )

    def body(self, first: int) -> tuple[int, bytes | None]:
        """The checksum and the body of a chunk; no body if there is none, or SQLite finds it damaged."""
        with suppress(sqlite3.DatabaseError):
            for check, body in self._db.execute(
                "SELECT body_check, body FROM chunks WHERE first = ?", (first,)
            ).fetchall():
                return check, body
        return 0, None

    def commit(self, change: Change, durable: bool = False) -> None:
        """All of it or nothing; `durable` waits for the disk. Raises CannotCommit."""
        db = self._db
        try:
            if len(change.add) == 1 and change.is_alone:
                db.execute(_ADD, change.add[0])  # the usual commit: one statement is a transaction itself
            else:
                if durable:
                    db.execute("PRAGMA synchronous = FULL")
                db.execute("BEGIN IMMEDIATE")
                db.executemany("DELETE FROM chunks WHERE first = ?", [(first,) for first in change.remove])
                db.executemany("DELETE FROM topics WHERE id = ?", [(topic_id,) for topic_id in change.forget])
                db.executemany("INSERT INTO topics VALUES (?, ?)", change.topics)
                db.executemany(_ADD, change.add)
                db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", change.state.items())
                db.executemany("INSERT OR REPLACE INTO producers VALUES (?, ?)", change.producers)
                db.executemany(
                    "DELETE FROM producers WHERE name = ?", [(name,) for name in change.forget_producers]
                )
                db.executemany(_ADD_KEY, change.keys)
                if change.expire_keys:
                    db.execute("DELETE FROM keys WHERE number <= ?", (change.expire_keys,))
                db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise CannotCommit(self.name, str(error)) from error
        finally:
            if durable:
                db.execute("PRAGMA synchronous = " + ("NORMAL" if self.path else "OFF"))
        self._written += 4096 + sum(len(row.body or b"") for row in change.add)
        if self._written >= CHECKPOINT_BYTES:
            self._written = 0
            self._wake.set()

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the file, so that the next commit starts it anew.

        Commits while a checkpoint runs keep the log from ever being empty, so under steady writing
        the thread alone would let it grow for ever; one on the committing thread, after the thread
        has moved nearly all, is short.
        """
        if self._wal_pages > WAL_PAGES_MAX and self._checkpointing.acquire(blocking=False):
            self._wal_pages = 0
            with suppress(sqlite3.OperationalError):  # a full disk: the next one does it
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._checkpointing.release()

    def _checkpoint_often(self) -> None:
        db = sqlite3.connect(str(self.path), isolation_level=None)
        while self._wake.wait():
            self._wake.clear()  # before looking at `_closing`: a wake that comes later is not lost
            if self._closing:
                break
            with self._checkpointing, suppress(sqlite3.Error):
                _, self._wal_pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        db.close()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        if self._checkpointer:
            self._checkpointer.join()
        self._db.close()


def _remedy(path: Path | None, error: sqlite3.Error) -> str:
    folder = path.parent if path else Path()
    if path and not os.access(path if path.exists() else folder, os.W_OK):
        return "make the folder and the file writable for this user, or set PENSTOCK_BROKER__LOG"
    if "malformed" in str(error):
        return "move the file away to start an empty log, or put a backup in its place"
    return "see that the disk has room and the folder is writable, or set PENSTOCK_BROKER__LOG"
