"""What every store of the log must hold; one suite, run on each durability."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.log import Durability
from broker.reader import READ_MAX
from broker.retention import Keep
from broker.selector import Selector
from broker.wire import unpack_stamp
from tests.support.logs import (
    ALL,
    Bench,
    bench,
    bodies_read,
    full_disk,
    pages,
    put,
    read,
    read_only,
    seqs,
)

BIG = b"x" * 5_000  # two of them are worth writing a chunk anew


def test_an_empty_log_has_nothing_and_says_so(on: Bench) -> None:
    head = on.log.head()
    assert (head.head, head.oldest, head.forgotten, head.start) == (0, 1, 0, 0)
    assert on.log.replay(ALL, 0) == ([], 0, [])
    assert on.log.newest(ALL, 0) == ([], 0, [])
    assert on.log.last(ALL) == ([], False, [])
    assert on.log.tails(ALL, 0) == ([], 0)
    assert on.log.append([], 1) == []


def test_seq_is_one_order_and_prev_and_nth_are_the_topic_s_own(on: Bench) -> None:
    stamps = put(on.log, "a", "b", "a") + put(on.log, "a", "b")
    assert [(s.seq, s.prev, s.nth) for s in stamps] == [(1, 0, 1), (2, 0, 1), (3, 1, 2), (4, 3, 3), (5, 2, 2)]
    assert {s.epoch for s in stamps} == {on.log.epoch}


def test_what_append_returns_is_what_replay_gives(on: Bench) -> None:
    batch = [(b"a", b"1", 1), (b"b", b"", 2), (b"a", b"\x00" * 300_000, 3), (b"c", b"4", 0)]
    appended = on.log.append(batch, 7)
    assert [unpack_stamp(stamp).content for _, stamp, _ in appended] == [1, 2, 3, 0]
    assert on.log.replay(ALL, 0, max_bytes=1 << 20) == (appended, 4, [])


@pytest.mark.parametrize(
    ("select", "after", "upto", "expected"),
    [
        pytest.param(ALL, 0, None, [1, 2, 3, 4, 5, 6], id="all"),
        pytest.param(ALL, 2, 4, [3, 4], id="a stretch"),
        pytest.param(ALL, 6, None, [], id="up to date"),
        pytest.param(ALL, 9, None, [], id="beyond the head"),
        pytest.param(ALL, 4, 2, [], id="backwards"),
        pytest.param(Selector(["price/1"]), 0, None, [1], id="a literal is whole"),
        pytest.param(Selector(["price/*"]), 0, None, [1, 3, 5], id="one segment"),
        pytest.param(Selector(prefixes=["price/1"]), 0, None, [1, 3], id="a prefix is of bytes"),
        pytest.param(Selector(prefixes=[""]), 0, None, [1, 2, 3, 4, 5, 6], id="the empty prefix"),
        pytest.param(Selector(["load"], ["x"]), 0, None, [2, 6], id="patterns and prefixes"),
        pytest.param(Selector(["none"]), 0, None, [], id="an unknown topic"),
        pytest.param(Selector(), 0, None, [], id="nothing asked"),
    ],
)
def test_replay_chooses(
    on: Bench, select: Selector, after: int, upto: int | None, expected: list[int]
) -> None:
    put(on.log, "price/1", "load", "price/10")
    put(on.log, "y", "price/2", "x/y/z")
    assert [seq for _, seq in read(on.log, select, after, upto)] == expected


@pytest.mark.parametrize(
    ("limit", "max_bytes", "expected"),
    [
        pytest.param(2, 1 << 20, [[1, 2], [3, 4], [5]], id="events"),
        pytest.param(100, 350, [[1, 2], [3, 4], [5]], id="bytes"),
        pytest.param(100, 10, [[1], [2], [3], [4], [5]], id="an event larger than a page comes alone"),
    ],
)
def test_pages_are_bounded(on: Bench, limit: int, max_bytes: int, expected: list[list[int]]) -> None:
    put(on.log, "a", "b", "c", payload=b"x" * 100)
    put(on.log, "a", "b", payload=b"x" * 100)
    found: list[list[int]] = []
    after = 0
    while after < 5:
        events, after, _ = on.log.replay(ALL, after, None, limit, max_bytes)
        found.append([unpack_stamp(stamp).seq for _, stamp, _ in events])
    assert found == expected


def test_a_page_over_stretches_without_a_match_goes_on(on: Bench) -> None:
    put(on.log, "wanted")
    for _ in range(50):
        put(on.log, "other")
    assert on.log.replay(Selector(["wanted"]), 1) == ([], 51, [])


@pytest.mark.parametrize(
    ("patterns", "count", "upto", "limit", "expected", "truncated"),
    [
        pytest.param(["**"], 1, None, 9, [4, 5, 6], False, id="the newest of each"),
        pytest.param(["**"], 2, None, 9, [2, 3, 4, 5, 6], False, id="two of each, merged"),
        pytest.param(["**"], 9, None, 4, [3, 4, 5, 6], True, id="the newest of them when there are too many"),
        pytest.param(["**"], 1, 4, 9, [2, 3, 4], False, id="as of a seq"),
        pytest.param(["a", "gone"], 2, None, 9, [3, 5], False, id="topics by name"),
        pytest.param(["**"], 1, 0, 9, [], False, id="as of the beginning"),
        pytest.param(["**"], 9, None, 6, [1, 2, 3, 4, 5, 6], False, id="just as many as the limit"),
    ],
)
def test_last(
    on: Bench,
    patterns: list[str],
    count: int,
    upto: int | None,
    limit: int,
    expected: list[int],
    truncated: bool,
) -> None:
    put(on.log, "a", "b")
    put(on.log, "a")
    put(on.log, "c", "a")
    put(on.log, "b")
    events, was_truncated, damaged = on.log.last(Selector(patterns), count, upto, limit)
    assert ([unpack_stamp(stamp).seq for _, stamp, _ in events], was_truncated, damaged) == (
        expected,
        truncated,
        [],
    )


@pytest.mark.parametrize(
    ("select", "after", "upto", "expected"),
    [
        pytest.param(ALL, 0, None, [3, 5, 6, 7], id="all that there are"),
        pytest.param(ALL, 3, None, [5, 6, 7], id="changed since"),
        pytest.param(ALL, 7, None, [], id="up to date"),
        pytest.param(ALL, 9, None, [], id="beyond the head"),
        pytest.param(ALL, 0, 5, [3, 5], id="what is newer than that comes live"),
        pytest.param(ALL, 5, 2, [], id="backwards"),
        pytest.param(Selector(["b", "gone"]), 0, None, [6], id="topics by name"),
        pytest.param(Selector(["x/*"]), 0, None, [7], id="a pattern"),
        pytest.param(Selector(["a"], ["x/"]), 0, None, [5, 7], id="patterns and prefixes"),
        pytest.param(Selector(), 0, None, [], id="nothing asked"),
    ],
)
def test_newest_is_what_changed(
    on: Bench, select: Selector, after: int, upto: int | None, expected: list[int]
) -> None:
    put(on.log, "a", "b", "c")
    put(on.log, "b", "a", "b", "x/1")
    events, through, damaged = on.log.newest(select, after, upto)
    assert [unpack_stamp(stamp).seq for _, stamp, _ in events] == expected
    assert (through, damaged) == (7 if upto is None else upto, [])


@pytest.mark.parametrize(
    ("limit", "max_bytes", "expected"),
    [
        pytest.param(2, 1 << 20, [[3, 5], [6]], id="events"),
        pytest.param(100, 350, [[3, 5], [6]], id="bytes"),
        pytest.param(100, 10, [[3], [5], [6]], id="an event larger than a page comes alone"),
    ],
)
def test_pages_of_newest_are_bounded(
    on: Bench, limit: int, max_bytes: int, expected: list[list[int]]
) -> None:
    put(on.log, "a", "b", "c", payload=b"x" * 100)
    put(on.log, "b", "a", "b", payload=b"x" * 100)
    found: list[list[int]] = []
    after = 0
    while after < 6:
        events, after, _ = on.log.newest(ALL, after, None, limit, max_bytes)
        found.append([unpack_stamp(stamp).seq for _, stamp, _ in events])
    assert found == expected


def test_newest_reads_a_chunk_once_and_none_without_a_newest(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = [f"t/{number}" for number in range(50)]
    for _ in range(5):
        put(on.log, *topics)
    put(on.log, *topics[:10])
    put(on.log, "other")
    read = bodies_read(on.log, monkeypatch)
    events, through, _ = on.log.newest(Selector(["t/*"]), 0)
    assert len(events) == 50
    assert (through, read) == (261, [201, 251])


def test_a_page_of_newest_over_many_chunks_ends_before_it_has_taken_long(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(READ_MAX + 10):
        put(on.log, f"t/{number}")
    read = bodies_read(on.log, monkeypatch)
    events, through, _ = on.log.newest(ALL, 0)
    assert (len(events), through, len(read)) == (READ_MAX, READ_MAX, READ_MAX)
    assert [topic for topic, _, _ in pages(lambda at: on.log.newest(ALL, at), on.log, through)] == [
        f"t/{READ_MAX + number}" for number in range(10)
    ]


def test_newest_outlives_retention_and_merging(tmp_path: Path, durability: Durability) -> None:
    with bench(tmp_path, durability=durability, keep=Keep(events=1)) as on:
        for number in range(200):
            put(on.log, f"t/{number % 7}", payload=b"%d" % number)
        on.wait(20)
        events, through, damaged = on.log.newest(ALL, 195)
        assert [payload for _, _, payload in events] == [b"195", b"196", b"197", b"198", b"199"]
        events, through, damaged = on.log.newest(ALL, 0)
        assert [payload for _, _, payload in events] == [b"%d" % number for number in range(193, 200)]
        assert (through, damaged) == (200, [])


def test_tails_are_what_changed_oldest_first_in_pages(on: Bench) -> None:
    put(on.log, "a", "b", "a", "c")
    put(on.log, "b")
    assert on.log.tails(ALL, 0) == ([("a", 3, 2), ("c", 4, 1), ("b", 5, 2)], 5)
    assert on.log.tails(ALL, 4) == ([("b", 5, 2)], 5)
    assert on.log.tails(ALL, 5) == ([], 5)
    assert on.log.tails(ALL, 0, limit=2) == ([("a", 3, 2), ("c", 4, 1)], 4)
    assert on.log.tails(Selector(prefixes=["c"]), 0) == ([("c", 4, 1)], 5)


def test_topics_by_name_in_pages(on: Bench) -> None:
    put(on.log, "b", "a/1", "c", "a/2", now_us=5)
    found, more = on.log.topics(ALL, limit=2)
    assert ([(tail.name, tail.seq, tail.time_us) for tail in found], more) == (
        [(b"a/1", 2, 5), (b"a/2", 4, 5)],
        True,
    )
    found, more = on.log.topics(ALL, after=b"a/2", limit=2)
    assert ([tail.name for tail in found], more) == ([b"b", b"c"], False)


class TestTrouble:
    """SQLite's own errors, from the real store."""

    def test_events_go_out_unlogged_and_the_hole_is_told(self, on: Bench) -> None:
        assert not any(stamp.is_unlogged for stamp in put(on.log, "a", "a"))
        with full_disk(on.log):
            lost = put(on.log, "a", "b", payload=b"x" * 100_000)
            assert seqs(lost) == [3, 4] and all(stamp.is_unlogged for stamp in lost)
            assert lost[0].prev == 2
            assert on.log.trouble
            assert on.log.replay(ALL, 0)[1:] == (4, [(3, 4)])
            assert on.log.newest(ALL, 3) == ([], 4, [(4, 4)])
        (stamp,) = put(on.log, "a")
        assert (stamp.seq, stamp.prev, stamp.is_unlogged) == (5, 3, False)
        assert on.log.trouble is None
        events, through, damaged = on.log.replay(ALL, 1)
        assert ([unpack_stamp(s).seq for _, s, _ in events], through, damaged) == ([2, 5], 5, [(3, 4)])

    def test_no_seq_beyond_the_reserve(self, tmp_path: Path, durability: Durability) -> None:
        with bench(tmp_path, durability=durability, reserve=5) as on:
            put(on.log, "a")
            with read_only(on.log):
                out = [put(on.log, "a", "a") for _ in range(5)]
            assert [seqs(stamps) for stamps in out] == [[2, 3], [4, 5], [], [], []]
            assert seqs(put(on.log, "a")) == [6]
