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
# What is moved at once, and what the write-ahead log may hold; of a disk with little room a part of it.
CHECKPOINT_BYTES = 8 << 20
PAGE_BYTES = 4_096
WAL_PAGES_MAX = 16_384
ROOM_SHARE = 4
# Free bytes of the disk: with less, each commit sees to it that all can be moved afterwards.
SCARCE_BYTES = 256 << 20
SLACK_BYTES = 64 << 10  # what a commit writes beside what it is told to
RETRY_S = 1.0  # between two tries of moving what cannot be moved


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
    def size(self) -> int:
        """Bytes that it writes, at most and about: a row may be the only one of its page that changes."""
        rows = sum(len(row.summary or b"") + len(row.body or b"") for row in self.add)
        others = sum(len(item.value) for item in self.keep) + sum(len(name) for _, name in self.topics)
        pages = len(self.add) + len(self.keep) + len(self.producers) + 2 * len(self.keys)
        return rows + others + PAGE_BYTES * pages

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
        self._room = SCARCE_BYTES  # free bytes of the disk, as of the last look
        self._stuck: str | None = None  # why nothing can be moved just now
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
            self._look_at_room()
            # Readers that keep some of it from being moved are not waited for.
            self._mover = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
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
        is_scarce = self._room < SCARCE_BYTES
        if is_scarce:
            self._let_go()
        elif self._stuck:
            # A quota, or a disk that fails: it does not say how much more there could be.
            raise CannotCommit(self.name, self._stuck)
        try:
            if len(change.add) == 1 and change.is_alone and not durable and not is_scarce:
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
                if is_scarce and not self._has_room(change.size + SLACK_BYTES):
                    raise CannotCommit(self.name, "the disk is full")
                db.execute("COMMIT")
                self._state = state
        except sqlite3.Error as error:
            self._look_at_room()
            raise CannotCommit(self.name, str(error)) from error
        finally:
            if db.in_transaction:
                with suppress(sqlite3.Error):  # the next commit tries again
                    db.execute("ROLLBACK")
            if durable:
                db.execute("PRAGMA synchronous = " + self._synchronous)
        self._written += PAGE_BYTES + sum(len(row.body or b"") for row in change.add)
        self._written += sum(len(item.value) for item in change.keep)
        if self._written >= CHECKPOINT_BYTES:
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
        self._look_at_room()
        if self._wal_pages > WAL_PAGES_MAX and self._checkpointing.acquire(blocking=False):
            self._wal_pages = 0
            with suppress(sqlite3.OperationalError):  # a full disk: commits see to it
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._checkpointing.release()

    def _checkpoint_often(self) -> None:
        while True:
            self._wake.wait(RETRY_S if self._stuck else None)
            self._wake.clear()  # before looking at `_closing`: a wake that comes later is not lost
            if self._closing:
                break
            with self._checkpointing:
                try:
                    _, self._wal_pages, _ = self._mover.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.Error as error:
                    self._stuck = str(error)
                else:
                    self._stuck = None

    def _look_at_room(self) -> None:
        if self.path:
            with suppress(OSError):
                disk = os.statvfs(self.path.parent)
                self._room = disk.f_bavail * disk.f_frsize

    # The write-ahead log keeps the room it once took, and takes commits long after the file has found none to
    # grow: in the end more than can be moved with all the room there will be, and then nothing goes on. So,
    # where room is scarce, a commit may leave no more to grow by than is free: whatever fills the disk then,
    # when it goes all can be moved. What lets the file not grow is committed as long as SQLite finds room.

    def _let_go(self) -> None:
        """Move all that is written ahead, and cut it, if it has taken its share."""
        assert self.path
        self._look_at_room()
        with suppress(OSError, sqlite3.Error):
            ahead = self.path.with_name(self.path.name + "-wal").stat().st_size
            if ahead > max(SLACK_BYTES, self._room // ROOM_SHARE) and self._lacks() <= self._room:
                with self._checkpointing:
                    self._mover.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _has_room(self, size: int) -> bool:
        """Whether what is about to be committed, so many bytes, can be moved afterwards."""
        lacks = self._lacks()
        self._look_at_room()  # after that: moving goes on meanwhile, and takes as much as it gives
        return not lacks or self._room >= lacks + size

    def _lacks(self) -> int:
        """Bytes by which the file has to grow for all that is written ahead, also in this transaction."""
        assert self.path
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        with suppress(OSError):
            return max(0, int(pages) * PAGE_BYTES - self.path.stat().st_size)
        return 0

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        if self._checkpointer:
            self._checkpointer.join()
            self._mover.close()
        self._db.close()
