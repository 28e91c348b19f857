"""What every store of the log keeps, and what it lets go: by count, by age, by bytes, by topic."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import retention
from broker.log import Durability
from broker.retention import Keep, Rule
from broker.selector import Selector
from broker.wire import unpack_stamp
from tests.support.logs import ALL, bench, chunk_count, pages, put, read

BIG = b"x" * 5_000  # two of them are worth writing a chunk anew


def test_keeps_the_newest_of_each_topic(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(events=2)) as on:
        put(on.log, "quiet")
        for _ in range(5):
            put(on.log, "busy", "busy")
        on.wait(20)
        assert read(on.log) == [("quiet", 1), ("busy", 10), ("busy", 11)]


def test_prev_betrays_what_retention_took(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(events=1)) as on:
        stamps = put(on.log, "a", "a", "a", payload=BIG)
        on.wait(20)
        (event,), _, _ = on.log.replay(ALL, 0)
        assert unpack_stamp(event[1])._replace(time_us=0) == stamps[2]._replace(time_us=0)
        assert unpack_stamp(event[1]).prev == 2
        assert on.log.head().trimmed == 2
        assert on.log.holes(ALL, 0) == [("a", 2, 2)]
        assert on.log.holes(ALL, 0, upto=1) == [("a", 1, 0)]
        assert on.log.holes(ALL, 2) == []
        assert on.log.holes(Selector(["b"]), 0) == []


def test_a_hole_between_what_is_kept_is_told(tmp_path: Path, durability: Durability) -> None:
    """The sweep takes chunks as they are worth it, so it may leave older events than it removes."""
    with bench(tmp_path, durability=durability, keep=Keep(events=2)) as on:
        put(on.log, "quiet", "a")
        for _ in range(2):
            put(on.log, "a", payload=BIG)
        put(on.log, "a", "a")
        on.wait(20)
        kept = {seq for topic, seq in read(on.log) if topic == "a"}
        removed = {2, 3, 4, 5, 6} - kept
        assert on.log.holes(ALL, 0) == [("a", max(removed), max(removed) - 1)]


def test_ages_by_its_own_clock_and_keeps_the_last(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(age_s=100)) as on:
        put(on.log, "a", "a", "b", payload=BIG, now_us=1)
        on.wait(60)
        put(on.log, "b", now_us=10**18)  # the wall clock jumps by decades
        on.wait(60)
        assert read(on.log) == [("a", 2), ("b", 4)]


def test_the_oldest_bytes_go_first(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(size=1 << 20)) as on:
        for _ in range(30):
            put(on.log, "a", "b", payload=b"x" * 50_000)
        put(on.log, "small")
        on.wait(20)
        assert on.log.size <= 1 << 20
        kept = [seq for _, seq in read(on.log)]
        assert kept == list(range(kept[0], 62)) and len(kept) > 10


def test_rules_by_pattern(tmp_path: Path, durability: Durability) -> None:
    keep = Keep(events=1, age_s=1000, rules=(Rule("long/**", 3, 10.0), Rule("long/er", 9, 9.0)))
    with bench(tmp_path, durability=durability, keep=keep) as on:
        put(on.log, *["long/er"] * 5, *["short"] * 5, payload=BIG)
        on.wait(5)
        on.wait(15)
        assert read(on.log) == [("long/er", 5), ("short", 10)]
        put(on.log, *["long/er"] * 9, payload=BIG)
        on.wait(5)
        on.wait(5)
        assert [seq for topic, seq in read(on.log) if topic == "long/er"] == [17, 18, 19]


def test_a_silent_topic_is_forgotten_whole(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(forget_s=100)) as on:
        put(on.log, "silent", "silent", "alive")
        on.wait(90)
        put(on.log, "alive")
        on.wait(90)
        assert read(on.log) == [("alive", 3), ("alive", 4)]
        assert on.log.head().forgotten == 2
        assert on.log.tails(ALL, 0)[0] == [("alive", 4, 2)]
        # It is a new topic, whose first event tells that something may have been before it.
        (stamp,) = put(on.log, "silent")
        assert (stamp.seq, stamp.prev, stamp.nth) == (5, 2, 1)


def test_too_many_topics_forget_the_longest_silent(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(topics_max=2)) as on:
        for topic in ("a", "b", "a", "c", "d"):
            put(on.log, topic)
        put(on.log, "d")
        assert [tail.name for tail in on.log.topics(ALL)[0]] == [b"c", b"d"]
        assert on.log.head().forgotten == 3
        on.wait(20)
        assert read(on.log) == [("c", 4), ("d", 5), ("d", 6)]


def test_too_many_bytes_of_last_events_forget_topics(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(size=1 << 20)) as on:
        for number in range(30):
            put(on.log, f"t/{number}", payload=b"x" * 100_000)
        on.wait(20)
        assert on.log.size <= 1 << 20
        assert 0 < on.log.head().forgotten < 30
        kept = [seq for _, seq in read(on.log)]
        assert kept == list(range(on.log.head().forgotten + 1, 31))


def test_chunks_whose_topics_are_forgotten_while_they_are_merged(
    tmp_path: Path, durability: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MERGE_EVENTS", 1)
    with bench(tmp_path, durability=durability, keep=Keep(topics_max=10)) as on:
        for number in range(10):
            put(on.log, f"old/{number}")
        on.now_s += 20
        assert on.log.maintain(on.now_s), "a merge has begun"
        for number in range(10):
            put(on.log, f"new/{number}")
        put(on.log, "new/9")
        on.wait(20)
        assert read(on.log) == [*((f"new/{n}", 11 + n) for n in range(10)), ("new/9", 21)]
        assert on.log.head().forgotten == 10


def test_small_commits_become_few_chunks(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability) as on:
        for number in range(300):
            put(on.log, f"t/{number % 7}", payload=b"%d" % number)
        before = list(pages(lambda at: on.log.replay(ALL, at), on.log))
        assert chunk_count(on.log) == 300
        on.wait(20)
        assert chunk_count(on.log) < 5
        assert list(pages(lambda at: on.log.replay(ALL, at), on.log)) == before
        assert len(on.log.last(ALL, 300)[0]) == 300
