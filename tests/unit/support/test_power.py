"""The disk that loses power: what was synced is always there, and of the rest anything that can be."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from random import Random

import pytest

from tests.support.power import SECTOR, Disk, File

OLD, NEW = b"o" * SECTOR, b"n" * SECTOR


def written(*writes: tuple[int, bytes]) -> File:
    file = File()
    file.write(OLD * 3, 0, 0)
    file.sync()
    for number, (offset, data) in enumerate(writes, 1):
        file.write(data, offset, number)
    return file


def test_without_its_sync_a_write_is_there_or_not_or_in_part() -> None:
    file = written((SECTOR, NEW * 2))
    random = Random(1)
    endings = {file.left(lambda contents: random.randint(0, len(contents))) for _ in range(50)}
    assert endings == {OLD * 3, OLD + NEW + OLD, OLD * 2 + NEW, OLD + NEW * 2}


def test_a_sector_has_one_of_the_contents_that_it_had() -> None:
    file = written((0, b"1"), (1, b"2"))
    assert file.left(lambda contents: 0)[:3] == b"ooo"
    assert file.left(lambda contents: min(1, len(contents)))[:3] == b"1oo"
    assert file.left(lambda contents: len(contents))[:3] == b"12o"


def test_a_file_has_one_of_the_sizes_that_it_had() -> None:
    file = written((4 * SECTOR, NEW))
    file.truncate(SECTOR, 2)
    assert len(file.left(lambda contents: 0)) == 3 * SECTOR
    # It had grown, and nothing had reached the new part yet.
    assert file.left(lambda contents: 1 if len(contents) == 2 else 0) == OLD * 3 + bytes(2 * SECTOR)
    assert file.left(lambda contents: len(contents)) == OLD


def test_what_was_synced_is_always_there() -> None:
    file = written((0, NEW))
    file.sync()
    assert file.left(lambda contents: 0) == NEW + OLD * 2


@pytest.mark.parametrize("seed", range(8))
def test_a_commit_that_was_synced_outlives_the_cut(tmp_path: Path, seed: int) -> None:
    disk = Disk(tmp_path, Random(seed))
    with disk.in_use():
        db = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE t (x)")
        for x in range(5):
            db.execute("INSERT INTO t VALUES (?)", (x,))
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("INSERT INTO t VALUES (5)")
        disk.cut()
        db.execute("INSERT INTO t VALUES (6)")
        db.close()
    disk.come_back()
    real = sqlite3.connect(tmp_path / "a.db")
    found = [x for (x,) in real.execute("SELECT x FROM t ORDER BY x")]
    real.close()
    assert found in ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("is_synced", [True, False])
def test_a_name_is_certain_once_its_folder_is_synced(tmp_path: Path, is_synced: bool) -> None:
    disk = Disk(tmp_path, Random(1))
    with disk.in_use():
        file, folder = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT), os.open(tmp_path, os.O_RDONLY)
        os.pwrite(file, b"text", 0)
        os.fsync(file)
        if is_synced:
            os.fsync(folder)
        os.pwrite(file, b"more", 0)
        disk.cut()
        os.fsync(folder)
    for each in (file, folder):
        os.close(each)
    disk.come_back("nothing")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"text"] if is_synced else [])
