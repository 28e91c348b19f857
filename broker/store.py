"""The log's file, written: commits, and moving the write-ahead log. What stands in it: `broker.tables`.

Not thread-safe; a thread of its own, with a connection of its own, moves the write-ahead log.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

from broker.chunk import Row
from broker.errors import CannotCommit, LogError
from broker.shelf import Item
from broker.tables import (
    APPLICATION_ID,
    STATE_CHECK,
    VERSION,
    Tables,
    check_ours,
    remedy,
    row_check,
    state_check,
)

# What each version has that the one before did not.
_SCHEMAS = (
    """
CREATE TABLE chunks (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, newest_s REAL NOT NULL,
    summary_check INTEGER NOT NULL, body_check INTEGER NOT NULL, summary BLOB, body BLOB
);
CREATE TABLE topics (id INTEGER PRIMARY KEY, name BLOB NOT NULL, row_check INTEGER NOT NULL);
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
""",
    """
CREATE TABLE producers (name TEXT PRIMARY KEY, kept BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (
    number INTEGER PRIMARY KEY, subject TEXT NOT NULL, key TEXT NOT NULL,
    hash BLOB NOT NULL, position TEXT NOT NULL, made_s REAL NOT NULL, row_check INTEGER NOT NULL
);
CREATE UNIQUE INDEX keys_of ON keys (subject, key);
""",
    """
CREATE TABLE kept (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, value BLOB NOT NULL, row_check INTEGER NOT NULL
);
""",
)
# The body stands last: reading a summary must not walk through the body's overflow pages.
_ADD = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)"
# One that has expired may be there still.
_ADD_KEY = "INSERT OR REPLACE INTO keys VALUES (NULL, ?, ?, ?, ?, ?, ?)"
_KEEP = "INSERT INTO kept VALUES (?, ?, ?, ?)"
# What is moved at once, and what the write-ahead log may hold; of a disk with little room a part of that, for
# what is moved needs as much again before it can be let go.
CHECKPOINT_BYTES = 8 << 20
CHECKPOINT_LEAST_BYTES = 64 << 10
CHECKPOINT_SHARE = 4
PAGE_BYTES = 4_096
WAL_PAGES_MAX = 16_384
RETRY_S = 1.0  # between two looks at a full disk


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
    keep: list[Item] = field(default_factory=list)
    drop: list[int] = field(default_factory=list)  # numbers of items

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
            or self.keep
            or self.drop
        )


class Store(Tables):
    """An open file; `path` None is a store in this process's memory.

    In memory it is SQLite's own, not a file in /dev/shm: nothing stays behind after a kill -9, and
    containers give /dev/shm 64 MB, less than a log may hold.
    """

    def __init__(self, path: Path | None, *, is_synced: bool = False) -> None:
        """`is_synced`: every commit waits for the disk. Raises ForeignLog, LogError."""
        self._synchronous = "OFF" if path is None else "FULL" if is_synced else "NORMAL"
        self._written = 0
        self._wal_pages = 0
        self._room = CHECKPOINT_BYTES * CHECKPOINT_SHARE  # free bytes of the disk, as of the last look
        self._full: str | None = None  # why nothing is committed: what there is to move finds no room
        self._wake = Event()
        self._checkpointing = Lock()
        self._closing = False
        self._checkpointer: Thread | None = None
        try:
            db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            super().__init__(db, path)
            with ExitStack() as on_failure:
                on_failure.callback(self._db.close)
                check_ours(self._db, path)
                if path:
                    self._db.execute("PRAGMA journal_mode = WAL")
                    self._db.execute("PRAGMA wal_autocheckpoint = 0")
                self._db.execute("PRAGMA synchronous = " + self._synchronous)
                self._db.execute("PRAGMA cache_size = -16384")
                self._make()
                self._state = self.read_state()
                on_failure.pop_all()
        except sqlite3.Error as error:
            raise LogError(f"cannot open the log {path}: {error}: {remedy(path, error)}") from error
        if path:
            self._checkpointer = Thread(target=self._checkpoint_often, name="checkpoint", daemon=True)
            self._checkpointer.start()

    def _make(self) -> None:
        """The tables, or those that an older version did not have; all of it or nothing."""
        db = self._db
        version = db.execute("PRAGMA user_version").fetchone()[0]  # 0 of an empty file
        if version == VERSION:
            return
        db.execute("BEGIN IMMEDIATE")
        for statement in "".join(_SCHEMAS[version:]).split(";")[:-1]:
            db.execute(statement)
        if not version:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif version == 1:
            db.execute("ALTER TABLE topics ADD COLUMN row_check INTEGER NOT NULL DEFAULT 0")
            topics = db.execute("SELECT id, name FROM topics").fetchall()
            checks = [(row_check(*topic), topic[0]) for topic in topics]
            db.executemany("UPDATE topics SET row_check = ? WHERE id = ?", checks)
            if state := dict(db.execute("SELECT key, value FROM state").fetchall()):
                db.execute("INSERT INTO state VALUES (?, ?)", (STATE_CHECK, state_check(state)))
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")

    def maybe_state(self) -> Mapping[str, str] | None:
        """As of the newest commit; None if it is damaged."""
        return self._state

    def maybe_key(self, subject: str, key: str) -> Key | None:
        columns = "subject, key, hash, position, made_s, row_check"
        wanted = f"SELECT {columns} FROM keys WHERE subject = ? AND key = ?"
        with self._reading():
            row = self._db.execute(wanted, (subject, key)).fetchone()
        if row and row[-1] != row_check(*row[:-1]):
            raise LogError(f"what the log {self.name} has of the key {key!r} is damaged: use another key")
        return Key(*row[:-1]) if row else None

    def oldest_keys(self, limit: int) -> list[tuple[int, float]]:
        """Number and made_s of the first so many."""
        wanted = "SELECT number, made_s FROM keys ORDER BY number LIMIT ?"
        with self._reading():
            rows = self._db.execute(wanted, (limit,)).fetchall()
        # A damaged one is as good as expired.
        return [(number, made_s if isinstance(made_s, float) else 0.0) for number, made_s in rows]

    def commit(self, change: Change, durable: bool = False) -> None:
        """All of it or nothing; `durable` waits for the disk. Raises CannotCommit."""
        db = self._db
        if self._full and not self._has_moved():
            # What room there is, is for moving: commits would take it, and nothing could be moved ever.
            raise CannotCommit(self.name, self._full)
        try:
            if len(change.add) == 1 and change.is_alone and not durable:
                db.execute(_ADD, change.add[0])  # the usual commit: one statement is a transaction itself
            else:
                if durable:
                    db.execute("PRAGMA synchronous = FULL")
                db.execute("BEGIN IMMEDIATE")
                db.executemany("DELETE FROM chunks WHERE first = ?", [(first,) for first in change.remove])
                db.executemany("DELETE FROM topics WHERE id = ?", [(topic_id,) for topic_id in change.forget])
                topics = [(*topic, row_check(*topic)) for topic in change.topics]
                db.executemany("INSERT INTO topics VALUES (?, ?, ?)", topics)
                db.executemany(_ADD, change.add)
                state = self._change_state(change.state) if change.state else self._state
                db.executemany("INSERT OR REPLACE INTO producers VALUES (?, ?)", change.producers)
                db.executemany(
                    "DELETE FROM producers WHERE name = ?", [(name,) for name in change.forget_producers]
                )
                db.executemany(_ADD_KEY, [(*key, row_check(*key)) for key in change.keys])
                if change.expire_keys:
                    db.execute("DELETE FROM keys WHERE number <= ?", (change.expire_keys,))
                db.executemany("DELETE FROM kept WHERE number = ?", [(number,) for number in change.drop])
                db.executemany(_KEEP, [(*item, row_check(*item)) for item in change.keep])
                db.execute("COMMIT")
                self._state = state
        except sqlite3.Error as error:
            if db.in_transaction:
                with suppress(sqlite3.Error):  # the next commit tries again
                    db.execute("ROLLBACK")
            if self._checkpointer and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
                self._full = str(error)
                self._wake.set()
            raise CannotCommit(self.name, str(error)) from error
        finally:
            if durable:
                db.execute("PRAGMA synchronous = " + self._synchronous)
        self._written += PAGE_BYTES + sum(len(row.body or b"") for row in change.add)
        self._written += sum(len(item.value) for item in change.keep)
        if self._written >= self._share(CHECKPOINT_BYTES):
            self._written = 0
            self._wake.set()

    def _change_state(self, change: dict[str, str]) -> dict[str, str]:
        if self._state is None:
            self._db.execute("DELETE FROM state")  # nobody knows which of its rows is the wrong one
        state = {**(self._state or {}), **change}
        rows = [*change.items(), (STATE_CHECK, state_check(state))]
        self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", rows)
        return state

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the file, so that the next commit starts it anew.

        Commits while a checkpoint runs keep the log from ever being empty, so under steady writing
        the thread alone would let it grow for ever; one on the committing thread, after the thread
        has moved nearly all, is short.
        """
        is_large = self._wal_pages * PAGE_BYTES > self._share(WAL_PAGES_MAX * PAGE_BYTES)
        if is_large and self._checkpointing.acquire(blocking=False):
            self._wal_pages = 0
            with suppress(sqlite3.OperationalError):  # a full disk: the next one does it
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._checkpointing.release()

    def _checkpoint_often(self) -> None:
        assert self.path
        db = sqlite3.connect(str(self.path), isolation_level=None)
        while True:
            self._look_at_room()
            self._wake.wait(RETRY_S if self._full else None)
            self._wake.clear()  # before looking at `_closing`: a wake that comes later is not lost
            if self._closing:
                break
            with self._checkpointing, suppress(sqlite3.Error):
                _, self._wal_pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._full = None
        db.close()

    def _has_moved(self) -> bool:
        """Whether there is room again: for all that there is to move, and then it is moved. The thread tries
        with less.
        """
        assert self.path
        with suppress(OSError, sqlite3.Error):
            self._look_at_room()
            if self._room > self.path.with_name(self.path.name + "-wal").stat().st_size:
                with self._checkpointing:
                    self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._full = None
        return self._full is None

    def _look_at_room(self) -> None:
        assert self.path
        with suppress(OSError):
            disk = os.statvfs(self.path.parent)
            self._room = disk.f_bavail * disk.f_frsize

    def _share(self, most: int) -> int:
        """Of so many bytes, those that the room on the disk allows."""
        return min(most, max(CHECKPOINT_LEAST_BYTES, self._room // CHECKPOINT_SHARE))

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        if self._checkpointer:
            self._checkpointer.join()
        self._db.close()
