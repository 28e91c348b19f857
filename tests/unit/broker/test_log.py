"""Stops and starts of a log on disk: what is kept, which numbers go on, when a new epoch begins."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.errors import ForeignLog, LogError, LogHeld
from broker.log import Durability, Log
from broker.retention import Keep
from broker.selector import Selector
from broker.verify import verify
from broker.wire import unpack_stamp
from tests.support.logs import ALL, Bench, bench, chunk_count, full_disk, put, read

BIG = b"x" * 5_000  # two of them are worth writing a chunk anew


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path / "deep" / "er") as made:
        yield made


def test_after_a_clean_stop_all_goes_on(on: Bench, caplog: pytest.LogCaptureFixture) -> None:
    put(on.log, "a", "b", "a", now_us=9)
    before = on.log.head()
    log = on.again()
    assert log.head() == before
    assert caplog.messages == []
    assert read(log) == [("a", 1), ("b", 2), ("a", 3)]
    assert [(tail.name, tail.nth, tail.time_us) for tail in log.topics(ALL)[0]] == [
        (b"a", 2, 9),
        (b"b", 1, 9),
    ]
    (stamp,) = put(log, "a")
    assert (stamp.seq, stamp.prev, stamp.nth) == (4, 3, 3)


def test_after_a_kill_the_log_goes_on_past_the_reserve(on: Bench, caplog: pytest.LogCaptureFixture) -> None:
    epoch = on.log.epoch
    put(on.log, "a", "a")
    log = on.killed()
    assert caplog.messages == ["unclean stop: goes on after seq 100"]
    head = log.head()
    assert (log.epoch, head.head, head.start) == (epoch, 100, 0)
    (stamp,) = put(log, "a")
    assert (stamp.seq, stamp.prev, stamp.nth) == (101, 2, 3)
    assert read(log) == [("a", 1), ("a", 2), ("a", 101)]


def test_a_kill_before_the_first_event_costs_no_seqs(on: Bench) -> None:
    for _ in range(3):
        assert on.killed().head().head == 0


def test_no_seq_is_given_twice_however_often_it_is_killed(on: Bench) -> None:
    given = [put(on.killed(), "a", "b")[-1].seq for _ in range(5)]
    assert given == sorted(set(given))


def test_power_failure_begins_an_epoch_and_keeps_the_events(
    on: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    put(on.log, "a", "a")
    log = on.after_power_failure()
    (said,) = caplog.messages
    assert said.startswith("new epoch=0000000000000002 after seq 100: the machine stopped")
    assert (log.epoch, log.head().head, log.head().start) == (2, 100, 100)
    events, _, _ = log.replay(ALL, 0)
    # They are the same events, told in the name of the log that now has them.
    assert [(unpack_stamp(stamp).epoch, unpack_stamp(stamp).seq) for _, stamp, _ in events] == [
        (2, 1),
        (2, 2),
    ]
    assert {unpack_stamp(stamp).epoch for _, stamp, _ in log.last(ALL)[0]} == {2}
    assert [unpack_stamp(stamp)[2:4] for _, stamp, _ in log.newest(ALL, 0)[0]] == [(2, 2)]
    assert put(log, "a")[0].prev == 2


@pytest.mark.parametrize(
    ("before", "after", "is_new"),
    [
        pytest.param("power", "power", False, id="each commit was synced"),
        pytest.param("power", "process", False, id="each commit was, and the next ones will not be"),
        pytest.param("process", "power", True, id="they were not"),
    ],
)
def test_power_failure_begins_an_epoch_where_commits_were_not_synced(
    on: Bench, before: Durability, after: Durability, is_new: bool, caplog: pytest.LogCaptureFixture
) -> None:
    on.durability = before
    put(on.again(), "a")
    epoch = on.log.epoch
    on.durability = after
    log = on.after_power_failure()
    assert (log.epoch != epoch) == is_new
    assert is_new or caplog.messages == ["unclean stop: goes on after seq 100"]
    # Who opened it last is who may have lost something.
    put(log, "a")
    assert (on.after_power_failure().epoch != log.epoch) == (after == "process")


def test_a_clean_stop_vouches_over_a_boot(on: Bench) -> None:
    put(on.log, "a")
    on.log.close()
    on.boot_id = "second boot"
    log = on.open()
    assert (log.epoch, log.head().head) == (1, 1)


def test_a_clean_stop_vouches_once(on: Bench) -> None:
    put(on.again(), "a")
    assert on.after_power_failure().epoch == 2


def test_a_backup_written_over_the_log_begins_an_epoch(on: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The same file by its number, so only the lock beside it knows that there was more."""
    put(on.log, "a", "a")
    before = on.log.epoch
    on.log.close()
    copy = on.path.with_name("copy.db")
    shutil.copy(on.path, copy)
    put(on.open(), "a")
    on.log.close()
    shutil.copyfile(copy, on.path)
    assert on.open().epoch != before
    assert "an older copy was written over the file" in caplog.text
    assert put(on.log, "a")[0].epoch == on.log.epoch


def test_a_copy_put_back_begins_an_epoch(on: Bench) -> None:
    put(on.log, "a")
    on.log.close()
    copy = on.path.with_name("copy.db")
    shutil.copy(on.path, copy)
    put(on.open(), "a", "b")
    on.log.abandon()
    on.path.unlink()
    shutil.move(copy, on.path)
    on.path.with_name(on.path.name + "-wal").unlink(missing_ok=True)
    assert on.open().epoch == 2


def test_memory_begins_anew(tmp_path: Path) -> None:
    with bench(tmp_path, durability="memory") as on:
        put(on.log, "a")
        log = on.again()
        assert (log.epoch, log.head().head, read(log)) == (2, 0, [])
        assert list(tmp_path.iterdir()) == []


def test_what_was_forgotten_stays_known(tmp_path: Path) -> None:
    with bench(tmp_path, keep=Keep(topics_max=1)) as on:
        put(on.log, "a", "b", "a")
        put(on.log, "a")
        assert on.log.head().forgotten == 2
        head = on.again().head()
        assert (head.forgotten, [tail.name for tail in on.log.topics(ALL)[0]]) == (2, [b"a"])
        assert put(on.log, "b")[0].prev == 2


def test_what_was_trimmed_stays_known(tmp_path: Path) -> None:
    with bench(tmp_path, keep=Keep(events=1)) as on:
        put(on.log, "a", "a", "a", "b", payload=BIG)
        on.wait(20)
        assert on.log.head().trimmed == 2
        again = on.again()
        assert again.head().trimmed == 2
        assert again.holes(ALL, 0) == [("a", 2, 2)]
        assert again.holes(ALL, 2) == []


def test_age_goes_on_over_a_restart_and_stands_still_while_nothing_runs(on: Bench) -> None:
    put(on.log, "a", "a", payload=BIG)
    on.wait(80_000)
    on.log.close()
    on.now_s = 5.0  # another boot's clock
    on.open()
    on.wait(1_000)
    assert len(read(on.log)) == 2
    on.wait(10_000)
    assert read(on.log) == [("a", 2)]


def test_a_topic_s_id_is_not_used_twice_while_its_events_are_there(tmp_path: Path) -> None:
    with bench(tmp_path, keep=Keep(topics_max=1)) as on:
        put(on.log, "a", "b", "a")
        put(on.log, "a")  # b, with the largest id, is forgotten; its event is still in the chunk
        put(on.again(), "c")
        assert read(on.log) == [("a", 1), ("a", 3), ("a", 4), ("c", 5)]


@pytest.mark.parametrize("version", [1, 2])
def test_a_log_of_an_older_version_is_brought_up_to_date(on: Bench, version: int) -> None:
    put(on.log, "a", "b")
    on.log.close()
    make_version_2(on.path)
    if version == 1:
        make_version_1(on.path)
    with pytest.raises(LogError, match="of an older version"):
        verify(on.path)
    log = on.open()
    assert (log.epoch, read(log)) == (1, [("a", 1), ("b", 2)])
    put(log, "c")
    log.kept.keep("set:1", b"a")
    assert read(on.again()) == [("a", 1), ("b", 2), ("c", 3)]
    assert on.log.kept.maybe("set:1") == b"a"
    on.log.close()
    assert verify(on.path).is_sound


class TestTrouble:
    def test_one_broker_a_log(self, on: Bench) -> None:
        with pytest.raises(LogHeld, match=r"held by process \d+"):
            Log.open(on.path, boot_id="x", now_s=0)

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda path: path.write_bytes(b"no database at all" * 100), id="no database"),
            pytest.param(
                lambda path: sqlite3.connect(path).executescript("CREATE TABLE t (x)").close(),
                id="another program's",
            ),
            pytest.param(lambda path: make_newer(path), id="of a newer version"),
        ],
    )
    def test_a_file_that_is_not_ours_is_left_alone(self, tmp_path: Path, spoil: object) -> None:
        path = tmp_path / "log.db"
        spoil(path)  # type: ignore[operator]
        before = path.read_bytes()
        with pytest.raises(ForeignLog, match="move it away"):
            Log.open(path, boot_id="x", now_s=0)
        assert path.read_bytes() == before

    def test_a_place_where_no_file_can_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LogError, match="PENSTOCK_BROKER__LOG"):
            Log.open(tmp_path / "file" / "log.db", boot_id="x", now_s=0)

    def test_after_an_error_the_lock_is_free(self, tmp_path: Path) -> None:
        path = tmp_path / "log.db"
        path.write_bytes(b"no database at all" * 100)
        with pytest.raises(ForeignLog):
            Log.open(path, boot_id="x", now_s=0)
        path.unlink()
        Log.open(path, boot_id="x", now_s=0).close()

    def test_killed_while_the_disk_was_full(self, on: Bench) -> None:
        put(on.log, "a")
        with full_disk(on.log):
            put(on.log, "a", payload=b"x" * 100_000)
            log = on.killed()
        # Nobody knows how many went out: all that the reserve allowed is told as a hole.
        assert log.replay(ALL, 0)[1:] == (100, [(2, 100)])
        assert on.again().replay(ALL, 0)[2] == [(2, 100)]


class TestDamage:
    @pytest.fixture
    def damaged(self, on: Bench) -> Iterator[Bench]:
        """Three chunks; a bit of the second one's body is flipped on disk."""
        for topics in (("a", "b"), ("a", "c"), ("b", "b")):
            put(on.log, *topics, payload=b"payload")
        yield on

    def flip(self, on: Bench, column: str) -> Log:
        on.log.close()
        with sqlite3.connect(on.path) as db:
            (blob,) = db.execute(f"SELECT {column} FROM chunks WHERE first = 3").fetchone()
            spoiled = bytes([blob[0] ^ 4, *blob[1:]])
            db.execute(f"UPDATE chunks SET {column} = ? WHERE first = 3", (spoiled,))
        db.close()
        return on.open()

    def test_a_flipped_bit_of_a_body_is_told(self, damaged: Bench) -> None:
        log = self.flip(damaged, "body")
        for _ in range(2):
            events, through, ranges = log.replay(ALL, 0)
            assert [unpack_stamp(stamp).seq for _, stamp, _ in events] == [1, 2, 5, 6]
            assert (through, ranges) == (6, [(3, 4)])
        assert log.replay(ALL, 3, 3)[2] == []
        assert log.replay(ALL, 3, 4)[2] == [(4, 4)]
        # The summary is sound: which topics are concerned, and where they stand, is known.
        assert log.replay(Selector(["b"]), 0)[2] == []
        assert log.last(Selector(["c"]))[2] == [(3, 4)]
        assert log.newest(ALL, 0)[1:] == (6, [(3, 4)])
        assert log.newest(Selector(["b"]), 0)[2] == []
        assert put(log, "c")[0].prev == 4

    def test_a_flipped_bit_of_a_summary_costs_nothing(self, damaged: Bench) -> None:
        log = self.flip(damaged, "summary")
        assert [seq for _, seq in read(log)] == [1, 2, 3, 4, 5, 6]
        assert put(log, "c")[0].prev == 4

    def test_both_flipped_is_a_hole_over_restarts(self, damaged: Bench) -> None:
        self.flip(damaged, "body")
        log = self.flip(damaged, "summary")
        assert log.replay(ALL, 0)[1:] == log.newest(ALL, 0)[1:] == (6, [(3, 4)])
        assert damaged.again().replay(ALL, 0)[2] == [(3, 4)]

    def test_a_hole_that_ages_away_is_told_by_forgotten(self, damaged: Bench) -> None:
        self.flip(damaged, "body")
        log = self.flip(damaged, "summary")
        damaged.wait(200_000)
        damaged.wait(20)
        assert log.replay(ALL, 0)[2] == []
        assert log.head().forgotten == 4

    def test_merging_goes_around_a_damaged_chunk(self, damaged: Bench) -> None:
        for _ in range(40):
            put(damaged.log, "d")
        log = self.flip(damaged, "body")
        damaged.wait(20)
        damaged.wait(20)
        assert chunk_count(log) < 8
        assert log.replay(ALL, 0)[1:] == (46, [(3, 4)])


def make_version_2(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE kept; PRAGMA user_version = 2;")


def make_version_1(path: Path) -> None:
    """Of one of version 2."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP TABLE producers; DROP TABLE keys; ALTER TABLE topics DROP COLUMN row_check;"
            "DELETE FROM state WHERE key IN ('check', 'durability'); PRAGMA user_version = 1;"
        )


def make_newer(path: Path) -> None:
    Log.open(path, boot_id="x", now_s=0).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA user_version = 99")
    db.close()
