"""The lock beside a log: who holds it, and what it keeps for the next one."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from broker.errors import LogError, LogHeld
from broker.lock import Lock, Notes, read_notes

EPOCH, OTHER = "00000000000000aa", "00000000000000bb"


def test_a_fresh_one_knows_nothing(tmp_path: Path) -> None:
    with closing(Lock(tmp_path / "log.db")) as lock:
        assert (lock.before.reserved(EPOCH), lock.before.given(EPOCH), lock.before.is_unlogged) == (
            0,
            0,
            False,
        )
        assert read_notes(tmp_path / "log.db").holder == f"process {os.getpid()}"


def test_notes_are_for_the_next_one(tmp_path: Path) -> None:
    with closing(Lock(tmp_path / "log.db")) as lock:
        lock.note_reserved(0xAA, 100)
        lock.note_given(0xAA, 2**53)
        lock.note_unlogged(True)
    # Who only opens it and does nothing changes nothing.
    for _ in range(2):
        with closing(Lock(tmp_path / "log.db")) as lock:
            before = lock.before
            assert (before.reserved(EPOCH), before.given(EPOCH), before.is_unlogged) == (100, 2**53, True)
            assert (before.reserved(OTHER), before.given(OTHER)) == (0, 0)
    with closing(Lock(tmp_path / "log.db")) as lock:
        lock.note_unlogged(False)
        assert lock.before.is_unlogged
    assert not read_notes(tmp_path / "log.db").is_unlogged


def test_the_longest_notes_fit(tmp_path: Path) -> None:
    with closing(Lock(tmp_path / "log.db")) as lock:
        lock.note_reserved(2**64 - 1, 2**63 - 1)
        lock.note_given(2**64 - 1, 2**63 - 1)
        lock.note_unlogged(True)
    notes = read_notes(tmp_path / "log.db")
    assert (notes.given("f" * 16), notes.reserved("f" * 16), notes.is_unlogged) == (
        2**63 - 1,
        2**63 - 1,
        True,
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 128, id="no text"),
        pytest.param(b"process 1\nreserved \ngiven 00000000000000aa\n", id="without their values"),
        pytest.param(b"process 1\nreserved 00000000000000aa.-5\ngiven 00000000000000aa.x", id="no numbers"),
    ],
)
def test_notes_that_are_none_say_nothing(data: bytes) -> None:
    notes = Notes(data)
    assert (notes.reserved(EPOCH), notes.given(EPOCH), notes.is_unlogged) == (0, 0, False)


def test_held_by_one(tmp_path: Path) -> None:
    with closing(Lock(tmp_path / "log.db")), pytest.raises(LogHeld, match=f"held by process {os.getpid()}:"):
        Lock(tmp_path / "log.db")
    Lock(tmp_path / "log.db").close()


def test_the_words_that_a_power_cut_may_not_take_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    lock_file = str(tmp_path / "a" / "b" / "log.db.lock")
    with closing(Lock(tmp_path / "a" / "b" / "log.db")) as lock:
        assert synced == [str(tmp_path), str(tmp_path / "a")]  # the names of the folders that it has made
        synced.clear()
        lock.note_given(1, 1)
        lock.note_reserved(1, 1)
        assert synced == []
        lock.note_unlogged(True)
        lock.note_reserved(1, 1, is_synced=True)
        assert synced == [lock_file, lock_file]
        lock.sync_folder()
        assert synced[2:] == [str(tmp_path / "a" / "b")]


def test_a_disk_that_takes_no_note_does_not_end_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with closing(Lock(tmp_path / "log.db")) as lock:
        monkeypatch.setattr(os, "pwrite", fail)
        lock.note_given(1, 1)
        lock.note_given(1, 2)
        assert caplog.text.count("cannot note") == 1
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(LogError, match="cannot sync"):
            lock.sync_folder()
