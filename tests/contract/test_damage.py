"""A bit of the log flipped on disk, anywhere: told with its range, or refused; never a wrong event."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from random import Random

import pytest

from broker.control import Hello, Publish, Submit
from broker.errors import LogError
from broker.log import Log
from broker.publishing import Publishing
from broker.verify import verify
from broker.wire import Stamp, pack_event, unpack_stamp
from tests.support.logs import ALL, NOW_US, Bench, put

Events = dict[int, tuple[bytes, Stamp, bytes]]  # by seq
FLIPS = 40
KEYS = ["k1", "k2", "k3"]
NAMES = ["set:1", "set:2", "key:1"]


@dataclass
class Spoiled:
    """A log that can be put back as it was: what it had, and the bytes of its files."""

    bench: Bench
    events: Events
    epoch: int
    files: dict[str, bytes]

    @property
    def folder(self) -> Path:
        return self.bench.path.parent

    def put_back(self) -> None:
        self.bench.end()
        for path in self.folder.iterdir():
            if path.name not in self.files:
                path.unlink()
        for name, data in self.files.items():
            (self.folder / name).write_bytes(data)

    def flip(self, name: str, at: int, bit: int) -> None:
        data = bytearray(self.files[name])
        data[at] ^= 1 << bit
        (self.folder / name).write_bytes(data)

    def flip_column(self, table: str, column: str, where: str) -> None:
        with closing(sqlite3.connect(self.bench.path)) as db, db:
            (value,) = db.execute(f"SELECT CAST({column} AS BLOB) FROM {table} WHERE {where}").fetchone()
            changed = bytes([value[0] ^ 1, *value[1:]])
            as_text = changed if table == "topics" else changed.decode()
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (as_text,))


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Spoiled]:
    """Everything is in the log's file."""
    made = spoiled(tmp_path, is_killed=False)
    yield made
    made.bench.end()


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Spoiled]:
    """Half of it is in the write-ahead log."""
    made = spoiled(tmp_path, is_killed=True)
    yield made
    made.bench.end()


def spoiled(folder: Path, *, is_killed: bool) -> Spoiled:
    random = Random(7)
    bench = Bench(folder / "log.db", reserve=200)
    bench.open()
    for number in range(24):
        sizes = [random.choice([3, 50, 9_000]) for _ in range(random.randint(1, 5))]
        batch = [(b"topic/%d" % random.randint(0, 9), random.randbytes(size), 0) for size in sizes]
        bench.log.append(batch, NOW_US)
        if number == 9:
            bench.wait(20)
        if number == 12:
            bench.again()
    publishing = Publishing(bench.log, bench.log.head, 1 << 20, lambda: 0)
    for key in KEYS:
        publishing.take(b"", Submit(id=1, subject="s", key=key), pack_event(b"submitted", key.encode(), 0))
    publishing.take(b"", Hello(id=1, producer="p"), b"")
    publishing.take(
        b"", Publish(id=2, producer="p", incarnation=1, first=1), pack_event(b"confirmed", b"1", 0)
    )
    publishing.commit(NOW_US)
    for name in NAMES:
        bench.log.kept.keep(name, name.encode() * 9)
    events, _, _ = kept(bench.log)
    epoch = bench.log.epoch
    if not is_killed:
        bench.log.close()
    # As a kill leaves it: closing would move the write-ahead log into the file.
    files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
    made = Spoiled(bench, events, epoch, files)
    made.put_back()
    return made


def kept(log: Log) -> tuple[Events, list[tuple[int, int]], int]:
    """What there is, without the epoch in whose name it is told; damaged ranges."""
    events, through, damaged = log.replay(ALL, 0, None, 10**6, 1 << 40)
    stamps = [(topic, unpack_stamp(stamp)._replace(epoch=0), payload) for topic, stamp, payload in events]
    return {event[1].seq: event for event in stamps}, damaged, through


def look(at: Spoiled) -> str:
    """What the flipped bit did. Raises AssertionError for what is wrong and nobody is told."""
    try:
        log = at.bench.open()
    except LogError as error:
        assert str(at.bench.path) in str(error)
        return "refused"
    found, damaged, _ = kept(log)
    assert {seq: event for seq, event in found.items() if at.events.get(seq) != event} == {}
    missing = at.events.keys() - found.keys()
    if log.epoch == at.epoch:
        forgotten = log.head().forgotten
        assert [
            seq for seq in missing if seq > forgotten and not any(a <= seq <= b for a, b in damaged)
        ] == []
    stamps = put(log, "topic/1", "new")
    assert not any(stamp.is_unlogged for stamp in stamps)
    assert log.epoch != at.epoch or min(stamp.seq for stamp in stamps) > max(at.events)
    # All that is asked of it gets an answer.
    log.last(ALL, 3), log.newest(ALL, 0), log.tails(ALL, 0), log.topics(ALL)
    producer = log.publishers.producers.get("p")
    assert producer is None or producer.last <= 1
    for key in KEYS:
        try:
            log.publishers.maybe_key("s", key)
        except LogError:
            continue
    assert all(log.kept.maybe(name) in (None, name.encode() * 9) for name in NAMES)
    assert log.kept.keep("set:new", b"1") == b"1"
    at.bench.wait(20)
    log.close()
    return "new epoch" if log.epoch != at.epoch else "told" if missing else "nothing lost"


@pytest.mark.parametrize("file", ["log.db", "log.db-wal"])
def test_a_bit_flipped_anywhere(killed: Spoiled, file: str) -> None:
    """One in three near the beginning of a page, where SQLite keeps what it finds the rest by."""
    random, found = Random(1), Counter[str]()
    size = len(killed.files[file])
    for number in range(FLIPS):
        at = random.randrange(size // 4096) * 4096 + random.randrange(200) if number % 3 == 0 else 0
        at = at or random.randrange(size)
        killed.put_back()
        killed.flip(file, at, random.randrange(8))
        found[look(killed)] += 1
    assert found["told"] > FLIPS // 4


def test_a_bit_flipped_anywhere_after_a_clean_stop(stopped: Spoiled) -> None:
    random, found = Random(2), Counter[str]()
    for _ in range(FLIPS):
        stopped.put_back()
        stopped.flip("log.db", random.randrange(len(stopped.files["log.db"])), random.randrange(8))
        was_sound = is_sound(stopped)
        what = look(stopped)
        found[what] += 1
        # What the broker notices `penstock log verify` does.
        assert not (was_sound and what in ("told", "refused")), what
    assert found["told"] > FLIPS // 4


def is_sound(spoiled: Spoiled) -> bool:
    try:
        return verify(spoiled.bench.path).is_sound
    except LogError:
        return False


def test_without_a_flipped_bit_nothing_is_wrong(stopped: Spoiled, killed: Spoiled) -> None:
    for each in (stopped, killed):
        each.put_back()
        assert is_sound(each)
        assert look(each) == "nothing lost"
        assert is_sound(each)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(3, id="the name of the format"),
        pytest.param(20, id="the header"),
        pytest.param(100, id="the root of the schema"),
    ],
)
def test_a_damaged_first_page_is_an_error_that_names_the_way_out(stopped: Spoiled, at: int) -> None:
    stopped.flip("log.db", at, 6)
    with pytest.raises(LogError, match=r"log\.db.*(backup|move it away)"):
        stopped.bench.open()


def test_a_table_that_cannot_be_walked_through_is_such_an_error_too(stopped: Spoiled) -> None:
    with closing(sqlite3.connect(stopped.bench.path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'chunks'").fetchone()
        (page,) = db.execute("PRAGMA page_size").fetchone()
    data = bytearray((stopped.folder / "log.db").read_bytes())
    data[(root - 1) * page] = 0xFF
    (stopped.folder / "log.db").write_bytes(data)
    with pytest.raises(LogError, match=r"cannot read the log .*log\.db.*penstock log restore"):
        stopped.bench.open()


def test_a_topic_whose_name_is_damaged_is_told_as_forgotten(
    stopped: Spoiled, caplog: pytest.LogCaptureFixture
) -> None:
    (seq,) = (seq for seq, event in stopped.events.items() if event[0] == b"confirmed")
    stopped.flip_column("topics", "name", "name = CAST('confirmed' AS BLOB)")
    log = stopped.bench.open()
    assert "damaged topic" in caplog.text
    assert {topic for topic, _, _ in kept(log)[0].values()} == {
        event[0] for event in stopped.events.values() if event[0] != b"confirmed"
    }
    assert log.head().forgotten == seq
    (stamp,) = put(log, "confirmed")
    assert (stamp.prev, stamp.nth) == (seq, 1)
    assert stopped.bench.again().head().forgotten == seq


def test_a_damaged_state_begins_a_new_epoch(stopped: Spoiled, caplog: pytest.LogCaptureFixture) -> None:
    stopped.flip_column("state", "value", "key = 'reserved'")
    log = stopped.bench.open()
    assert log.epoch != stopped.epoch
    assert "its state is damaged" in caplog.text
    assert kept(log)[0] == stopped.events
    assert stopped.bench.again().epoch == log.epoch


def test_a_damaged_key_is_not_answered_with(stopped: Spoiled) -> None:
    stopped.flip_column("keys", "position", "key = 'k2'")
    log = stopped.bench.open()
    with pytest.raises(LogError, match="'k2' is damaged"):
        log.publishers.maybe_key("s", "k2")
    assert log.publishers.maybe_key("s", "k1") is not None


@pytest.mark.parametrize("column", ["name", "value"])
def test_a_damaged_value_of_the_gateways_is_dropped(
    stopped: Spoiled, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    stopped.flip_column("kept", column, "name = 'set:2'")
    (fault,) = verify(stopped.bench.path).faults
    assert fault.startswith("kept number=2:")
    log = stopped.bench.open()
    assert "damaged kept number=2: dropped" in caplog.text
    assert [log.kept.maybe(name) for name in NAMES] == [b"set:1" * 9, None, b"key:1" * 9]
    assert verify(stopped.bench.path).is_sound
    # It can be kept anew.
    assert log.kept.keep("set:2", b"again") == b"again"
    assert stopped.bench.again().kept.maybe("set:2") == b"again"


def test_a_commit_that_a_kill_broke_off(killed: Spoiled) -> None:
    """Anywhere in what it writes: what was before is there, and nothing is said to be missing."""
    wal = "log.db-wal"
    log = killed.bench.open()
    # Past the checkpoint of the opening: only this commit comes between.
    before = (killed.folder / wal).read_bytes(), (killed.folder / "log.db.lock").read_bytes()
    file = (killed.folder / "log.db").read_bytes()
    events = kept(log)[0]
    put(log, "a", "b", payload=b"x" * 9_000)
    after = (killed.folder / wal).read_bytes()
    start = next(at for at, (old, new) in enumerate(zip_longest(before[0], after)) if old != new)
    for end in [*range(start, len(after), 997), len(after)]:
        killed.files = {"log.db": file, "log.db.lock": before[1], wal: after[:end]}
        killed.put_back()
        log = killed.bench.open()
        found, damaged, _ = kept(log)
        assert (damaged, log.epoch) == ([], killed.epoch)
        assert {seq: event for seq, event in found.items() if seq in events} == events
        assert len(found) in (len(events), len(events) + 2)
    assert len(found) == len(events) + 2


def test_what_a_damaged_write_ahead_log_had_is_told_with_its_range(
    killed: Spoiled, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite leaves out silently what follows the first frame that is damaged."""
    killed.flip("log.db-wal", len(killed.files["log.db-wal"]) // 2, 0)
    log = killed.bench.open()
    found, damaged, _ = kept(log)
    last = max(killed.events)
    assert 0 < len(found) < len(killed.events)
    assert damaged == [(max(found) + 1, last)]
    assert f"damaged first={max(found) + 1} last={last}" in caplog.text
    assert kept(killed.bench.again())[1] == damaged


def test_a_write_ahead_log_that_is_gone_is_told(killed: Spoiled) -> None:
    (killed.folder / "log.db-wal").unlink()
    log = killed.bench.open()
    assert log.epoch != killed.epoch or kept(log)[1]
