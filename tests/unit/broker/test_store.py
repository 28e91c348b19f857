"""The store's own thread: it keeps the write-ahead log bounded, and ends whenever it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import store as stores
from broker.chunk import Row
from broker.store import Change, Store
from tests.support.waiting import wait_for


def fill(store: Store, first: int, rows: int, size: int) -> None:
    for number in range(first, first + rows):
        store.commit(Change(add=[Row.make(number, number, 0.0, b"", b"x" * size)], remove=[number - 1]))


@pytest.mark.parametrize("round_number", range(20))
def test_it_closes_while_a_checkpoint_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, round_number: int
) -> None:
    monkeypatch.setattr(stores, "CHECKPOINT_BYTES", 1)  # every commit wakes the thread
    store = Store(tmp_path / "log.db")
    fill(store, 1, 1 + round_number % 3, 100_000)
    store.close()


def test_the_write_ahead_log_stays_bounded_under_steady_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "CHECKPOINT_BYTES", 1 << 20)
    monkeypatch.setattr(stores, "WAL_PAGES_MAX", 1_024)
    store = Store(tmp_path / "log.db")
    try:
        for first in range(1, 2_000, 10):
            fill(store, first, 10, 50_000)
            store.checkpoint()
            if not first % 200 - 1:
                # Of a busy machine the thread may get nothing for long; that is not what is shown here.
                wait_for(lambda: not store._wake.is_set(), what="the thread has done what it was woken for")
        assert (tmp_path / "log.db-wal").stat().st_size < 50 << 20  # 100 MB were written
    finally:
        store.close()
