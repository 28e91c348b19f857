"""Copies of a log: taken while a broker writes, and put back while none does."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec.structs import replace

from broker.errors import LogError
from broker.lock import Lock, sync_folder
from broker.store import Change, Store
from broker.tables import open_for_reading
from broker.verify import Report, verify

Progress = Callable[[int, int], None]  # pages copied, of so many
# The broker is held by no step: readers and writers of a write-ahead log do not wait for each other. So
# many at once, and then the progress.
STEP_PAGES = 1_024
BEFORE = ".before-restore"


def backup(log: Path, to: Path, progress: Progress = lambda done, of: None) -> Report:
    """The log as it is now, in one file of its own that may be put anywhere; what it has.

    Raises:
        LogError: there is a file at `to`; the log cannot be read, or `to` not written.
        ForeignLog: it is no log.
    """
    _check_free(to)
    with _made(to) as made:
        _copy(log, made, progress)
        report = verify(made)
    return _named(report, to)


def restore(log: Path, source: Path, *, is_forced: bool = False) -> Report:
    """Put a backup where a broker opens its log; what it has. The broker begins a new epoch with it.

    Args:
        is_forced: put it over a log that is there, which is kept as `<log>.before-restore`, and take a
            backup that is damaged in part.
    Raises:
        LogHeld: a broker runs on it.
        LogError: there is a log and it is not forced; the backup is damaged, or cannot be read.
        ForeignLog: the backup is none.
    """
    found = verify(source)
    if not (found.is_sound or is_forced):
        raise LogError(f"{source} is damaged: {next(found.lines())}: use another one, or --force to take it")
    with closing(Lock(log)):
        if log.exists():
            if log.samefile(source):
                raise LogError(f"{source} is the log itself: name a backup of it")
            if not is_forced:
                raise LogError(f"there is a log at {log}: --force puts it aside, as {log.name}{BEFORE}")
            _check_free(log.with_name(log.name + BEFORE))
        with _made(log) as made:
            _copy(source, made, lambda done, of: None)
            _put_aside(log)
    return _named(found, log)


def _check_free(path: Path) -> None:
    if path.exists():
        raise LogError(f"there is a file at {path}: move it away, or name another one")


@contextmanager
def _made(path: Path) -> Iterator[Path]:
    """A file to be written in the block: it has its name only when it is whole, and on the disk."""
    made = path.with_name(path.name + ".part")
    try:
        _remove(made)
        yield made
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        why = f"{error.strerror}: see that the folder may be written and the disk has room"
        raise LogError(f"cannot write {path}: {why}") from error
    finally:
        _remove(made)


def _remove(path: Path) -> None:
    for each in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + each).unlink(missing_ok=True)


def _copy(source: Path, to: Path, progress: Progress) -> None:
    try:
        with closing(open_for_reading(source)) as before, closing(sqlite3.connect(to)) as after:
            before.backup(
                after, pages=STEP_PAGES, progress=lambda _, left, total: progress(total - left, total)
            )
    except sqlite3.Error as error:
        why = f"{error}: see that the folder is there and may be written, and the disk has room"
        raise LogError(f"cannot copy {source} to {to}: {why}") from error
    # Whatever file it becomes: the broker that opens it sees that it is a copy, and begins a new epoch.
    store = Store(to)
    try:
        store.commit(Change(state={"file": ""}), durable=True)
    finally:
        store.close()
    # One file, also for who opens it in a place that cannot be written.
    with closing(sqlite3.connect(to)) as after:
        after.execute("PRAGMA journal_mode = DELETE")


def _put_aside(log: Path) -> None:
    """The file first: without it nobody takes what is left beside it for a log."""
    for each in ("", "-wal"):
        path = log.with_name(log.name + each)
        if path.exists():
            path.rename(log.with_name(log.name + BEFORE + each))
    log.with_name(log.name + "-shm").unlink(missing_ok=True)
    sync_folder(log.parent)


def _named(report: Report, path: Path) -> Report:
    return replace(report, path=str(path))
