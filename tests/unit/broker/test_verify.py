"""What `penstock log verify` finds: each kind of damage, and nothing where there is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker import chunk as chunks
from broker.chunk import ENTRY, Row
from broker.control import Hello, Submit
from broker.errors import ForeignLog, LogError
from broker.publishing import Publishing
from broker.retention import Keep
from broker.store import Change, Store
from broker.verify import Damaged, Report, verify
from broker.wire import VERSION, pack_event
from tests.support.logs import NOW_US, Bench, bench, full_disk, put

Entry = tuple[int, int, int, int]  # topic id, seq, prev, nth


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


def found(on: Bench) -> tuple[list[Damaged], list[str]]:
    report = verify(on.path)
    assert report.is_sound == (not report.damaged and not report.faults)
    return report.damaged, report.faults


def change(on: Bench, statement: str, *values: object) -> None:
    """In the file, with no broker on it."""
    on.log.close()
    with closing(sqlite3.connect(on.path)) as db, db:
        assert db.execute(statement, values).rowcount


def row(*entries: Entry, first: int | None = None, last: int | None = None) -> Row:
    """A chunk whose checksums are right, whatever it says."""
    stamps = [
        ENTRY.pack(VERSION << 56 | nth, 1, seq, prev, NOW_US, topic_id, place)
        for place, (topic_id, seq, prev, nth) in enumerate(entries, 1)
    ]
    body = chunks.pack(stamps, [b"x"] * len(entries))
    begin, end = first or entries[0][1], last or entries[-1][1]
    return Row.make(begin, end, 0.0, chunks.summarize(body), body)


def stored(on: Bench, *rows: Row) -> None:
    on.log.close()
    store = Store(on.path)
    store.commit(Change(add=list(rows), topics=[(1, b"a"), (2, b"b")], state={"reserved": "100"}))
    store.close()


def test_a_sound_log_and_what_it_has(on: Bench) -> None:
    put(on.log, "a", "b", "a")
    put(on.log, "c", payload=b"x" * 100)
    publishing = Publishing(on.log, on.log.head, 1_000, lambda: 0)
    publishing.take(b"", Hello(id=1, producer="p"), b"")
    publishing.take(b"", Submit(id=2, subject="s", key="k"), pack_event(b"a", b"1", 0))
    publishing.commit(NOW_US)
    on.log.kept.keep("set:1", b"a b")
    asked: list[tuple[int, int]] = []
    report = verify(on.path, lambda done, of: asked.append((done, of)))
    assert report == Report(
        path=str(on.path),
        epoch=f"{1:016x}",
        start=0,
        head=5,
        oldest=1,
        events=5,
        topics=3,
        log_bytes=on.log.size,
        producers=1,
        keys=1,
        kept=1,
        damaged=[],
        faults=[],
        unlogged=[],
    )
    assert asked == [(1, 3), (2, 3), (3, 3)]
    on.log.close()
    assert verify(on.path) == report


def test_an_empty_log_is_sound(on: Bench) -> None:
    report = verify(on.path)
    assert (report.is_sound, report.events, report.head, report.oldest) == (True, 0, 0, 1)


def test_what_retention_and_forgetting_leave_is_sound(tmp_path: Path) -> None:
    with bench(tmp_path, keep=Keep(events=2, topics_max=3)) as on:
        for number in range(60):
            put(on.log, f"t/{number % 7}", "steady", payload=b"x" * 3_000)
        assert found(on) == ([], [])
        on.wait(20)
        assert found(on) == ([], [])


def test_what_went_out_unlogged_is_no_damage(on: Bench) -> None:
    put(on.log, "a")
    with full_disk(on.log):
        put(on.log, "a", "b", payload=b"x" * 100_000)
    put(on.log, "a")
    report = verify(on.path)
    assert (report.is_sound, report.unlogged, report.events) == (True, [(2, 3)], 2)


@pytest.mark.parametrize(
    ("column", "damaged", "faults"),
    [
        pytest.param("body", [Damaged(3, 4, "body")], 0, id="a body"),
        pytest.param("summary", [], 1, id="a summary, which the body has too"),
        pytest.param("last", [Damaged(3, 4, "summary and body")], 0, id="its range"),
    ],
)
def test_damage_of_a_chunk(on: Bench, column: str, damaged: list[Damaged], faults: int) -> None:
    for _ in range(3):
        put(on.log, "a", "b")
    value: object = 40 if column == "last" else b"\0" * 64
    change(on, f"UPDATE chunks SET {column} = ? WHERE first = 3", value)
    assert (found(on)[0], len(found(on)[1])) == (damaged, faults)


def test_commits_that_the_file_lacks(on: Bench) -> None:
    put(on.log, "a")
    on.again()
    put(on.log, "a", "a")
    on.log.abandon()
    on.path.with_name("log.db-wal").write_bytes(b"")
    assert found(on) == ([], [])  # SQLite has moved it into the file, as the last who had it open
    with closing(sqlite3.connect(on.path)) as db, db:
        db.execute("DELETE FROM chunks WHERE first = 2")
    assert found(on) == ([Damaged(2, 3, "commits that the file lacks")], [])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(
            [row((1, 5, 0, 1), (1, 4, 5, 2), last=5)], "order: seq 4 after 5", id="order in a chunk"
        ),
        pytest.param([row((1, 5, 0, 1), last=4)], "order: seq 5 after 0", id="beyond its chunk"),
        pytest.param(
            [row((1, 1, 0, 1), (1, 2, 0, 2))], "chain: seq 2 with prev=0 nth=2", id="prev too early"
        ),
        pytest.param(
            [row((1, 1, 0, 1)), row((1, 2, 1, 3))], "chain: seq 2 with prev=1 nth=3", id="nth jumps"
        ),
        pytest.param(
            [row((1, 1, 0, 4)), row((1, 2, 1, 4))], "chain: seq 2 with prev=1 nth=4", id="nth stays"
        ),
        pytest.param([row((3, 1, 0, 1))], "topic id=3: has no name, and events up to seq 1", id="no name"),
        pytest.param([row((1, 101, 0, 1))], "state: reserved=100, but there is seq 101", id="not reserved"),
    ],
)
def test_what_was_wrong_when_it_was_written(on: Bench, rows: list[Row], says: str) -> None:
    stored(on, *rows)
    damaged, faults = found(on)
    assert damaged == []
    assert len(faults) == 1 and says in faults[0], faults


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        pytest.param("UPDATE topics SET name = CAST('z' AS BLOB) WHERE id = 1", "topic id=1", id="a topic"),
        pytest.param("UPDATE state SET value = '7' WHERE key = 'start'", "state: does not match", id="state"),
        pytest.param("UPDATE producers SET kept = zeroblob(40)", "producer 'p'", id="a producer"),
        pytest.param("UPDATE keys SET position = 'x'", "key number=1", id="a key"),
    ],
)
def test_damage_of_a_row(on: Bench, statement: str, says: str) -> None:
    publishing = Publishing(on.log, on.log.head, 1_000, lambda: 0)
    publishing.take(b"", Hello(id=1, producer="p"), b"")
    publishing.take(b"", Submit(id=2, subject="s", key="k"), pack_event(b"a", b"1", 0))
    publishing.commit(NOW_US)
    change(on, statement)
    damaged, faults = found(on)
    assert damaged == []
    assert says in faults[0], faults


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="there is no log at"):
        verify(tmp_path / "log.db")
    (tmp_path / "log.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ForeignLog):
        verify(tmp_path / "log.db")
    assert [path.name for path in tmp_path.iterdir()] == ["log.db"]


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"\0\0\0\x01short"], ids=["empty", "a byte", "an entry cut off"]
)
def test_a_body_of_no_form_is_damage(on: Bench, body: bytes) -> None:
    """Though its checksum is right."""
    stored(on, Row.make(1, 1, 0.0, b"", body))
    damaged, _ = found(on)
    assert damaged == [Damaged(1, 1, "form of the body")]
