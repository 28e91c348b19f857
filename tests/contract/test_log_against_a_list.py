"""The log against the plainest one there is: a list of all events ever, and what may be missing of it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker import retention
from broker.log import Durability, Log
from broker.retention import Keep
from broker.selector import Selector
from broker.verify import verify
from broker.wire import Stamp, unpack_stamp
from tests.support.logs import NOW_US, Bench

TOPICS = ["a", "a/1", "a/2", "b", "price/1", "price/10"]
SELECTORS = [
    Selector(["**"]),
    Selector(["a", "a/1"]),
    Selector(["a/*"]),
    Selector(prefixes=["price/1"]),
    Selector(["b"], ["a/"]),
]
KEEP = Keep(events=5, age_s=500.0, forget_s=3_000.0, topics_max=5)
SIZES = [0, 1, 100, 5_000, 150_000]


class Event(NamedTuple):
    topic: str
    stamp: Stamp
    payload: bytes
    clock_s: float


class LogAgainstAList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._patch = pytest.MonkeyPatch()
        self.events: list[Event] = []
        self.fills = 0

    @initialize(durability=st.sampled_from(["process", "power", "memory"]), piece=st.sampled_from([1, 300]))
    def begin(self, durability: Durability, piece: int) -> None:
        # In small pieces merging is under way for long, and all else comes in between.
        self._patch.setattr(retention, "MERGE_EVENTS", piece)
        self.bench = Bench(Path(self._folder.name) / "log.db", durability, KEEP, reserve=20)
        self.bench.open()

    @property
    def log(self) -> Log:
        return self.bench.log

    @rule(batch=st.lists(st.tuples(st.sampled_from(TOPICS), st.sampled_from(SIZES)), max_size=12))
    def append(self, batch: list[tuple[str, int]]) -> None:
        # Some maintenance, as the loop does between commits: the clock of ages comes from there.
        self.log.maintain(self.bench.now_s)
        self.fills += 1
        asked = [(topic.encode(), bytes([self.fills % 256]) * size, size % 4) for topic, size in batch]
        before = {event.topic: event.stamp for event in self.events}
        head, forgotten = self.log.head().head, self.log.head().forgotten
        appended = self.log.append(asked, NOW_US + self.fills)
        forgotten = max(forgotten, self.log.head().forgotten)
        assert [(topic, payload) for topic, _, payload in appended] == [item[:2] for item in asked]
        for place, (topic, stamp, payload) in enumerate(appended):
            event = Event(topic.decode(), unpack_stamp(stamp), payload, self.bench.now_s)
            assert event.stamp.seq == head + 1 + place
            assert event.stamp.epoch == self.log.epoch
            assert event.stamp.content == asked[place][2]
            last = before.get(event.topic)
            if last is not None and event.stamp.nth > 1:
                assert (event.stamp.prev, event.stamp.nth) == (last.seq, last.nth + 1)
            else:
                # Its first, or its first since it was forgotten: what came before is told.
                assert event.stamp.nth == 1
                assert (last.seq if last else 0) <= event.stamp.prev <= forgotten
            before[event.topic] = event.stamp
            self.events.append(event)
        assert self.log.head().head == head + len(batch)

    @rule(seconds=st.sampled_from([0.5, 11.0, 400.0, 1_500.0]))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    @precondition(lambda self: self.bench.durability != "memory")
    @rule()
    def verify(self) -> None:
        """Beside the log that is open."""
        report = verify(self.bench.path)
        assert report.is_sound, list(report.lines())
        # Events of a topic that was forgotten stay until their chunk goes.
        assert report.events >= len(self.all_of(SELECTORS[0]))
        assert report.topics == self.log.topic_count

    @rule()
    def stop_and_start(self) -> None:
        head = self.log.head()
        after = self.bench.again().head()
        if self.bench.durability == "memory":
            self.events.clear()
            assert (after.head, after.epoch != head.epoch) == (0, True)
        else:
            assert after == head

    @precondition(lambda self: self.bench.durability != "memory")
    @rule(power_failed=st.booleans())
    def kill_and_start(self, power_failed: bool) -> None:
        before = self.log.head()
        after = (self.bench.after_power_failure() if power_failed else self.bench.killed()).head()
        is_new = power_failed and self.bench.durability == "process"
        assert (after.epoch != before.epoch) == is_new
        assert after.head >= before.head
        assert after.start == (after.head if is_new else before.start)
        assert (after.forgotten, after.trimmed) == (before.forgotten, before.trimmed)

    @rule(
        select=st.sampled_from(SELECTORS),
        after=st.integers(0, 60),
        length=st.integers(0, 60),
        limit=st.integers(1, 7),
        max_bytes=st.sampled_from([50, 10_000, 1 << 20]),
    )
    def replay(self, select: Selector, after: int, length: int, limit: int, max_bytes: int) -> None:
        upto = after + length
        found, at, end = list[tuple[str, int]](), after, min(upto, self.log.head().head)
        while at < end:
            events, through, damaged = self.log.replay(select, at, upto, limit, max_bytes)
            assert at < through <= end and not damaged and len(events) <= limit
            found += [(topic.decode(), unpack_stamp(stamp).seq) for topic, stamp, _ in events]
            at = through
        assert found == [(topic, seq) for topic, seq in self.all_of(select) if after < seq <= upto]

    @rule(
        select=st.sampled_from(SELECTORS),
        count=st.integers(1, 6),
        back=st.integers(0, 30),
        limit=st.integers(1, 20),
    )
    def last(self, select: Selector, count: int, back: int, limit: int) -> None:
        upto = max(0, self.log.head().head - back)
        events, truncated, damaged = self.log.last(select, count, upto, limit)
        by_topic = defaultdict[str, list[int]](list)
        prevs = {event.stamp.seq: event.stamp.prev for event in self.events}
        before = dict[str, int]()
        for topic, seq in self.all_of(select):
            if topic in before and prevs[seq] != before[topic]:
                by_topic[topic].clear()  # beyond a hole: some dead events wait longer for their removal
            if seq <= upto:
                by_topic[topic].append(seq)
            before[topic] = seq
        expected = sorted((seq, topic) for topic, seqs in by_topic.items() for seq in seqs[-count:])
        assert not damaged
        assert truncated == (len(expected) > limit)
        assert [(unpack_stamp(stamp).seq, topic.decode()) for topic, stamp, _ in events] == expected[-limit:]

    @rule(
        select=st.sampled_from(SELECTORS),
        back=st.integers(0, 60),
        length=st.integers(0, 70),
        limit=st.integers(1, 4),
        max_bytes=st.sampled_from([50, 10_000, 1 << 20]),
    )
    def newest(self, select: Selector, back: int, length: int, limit: int, max_bytes: int) -> None:
        after = max(0, self.log.head().head - back)
        upto = after + length
        found, at, end = list[tuple[int, str]](), after, min(upto, self.log.head().head)
        while at < end:
            events, through, damaged = self.log.newest(select, at, upto, limit, max_bytes)
            assert at < through <= end and not damaged and len(events) <= limit
            found += [(unpack_stamp(stamp).seq, topic.decode()) for topic, stamp, _ in events]
            at = through
        newest = dict(self.all_of(select))
        assert found == sorted((seq, topic) for topic, seq in newest.items() if after < seq <= upto)

    @rule(select=st.sampled_from(SELECTORS), back=st.integers(0, 30), limit=st.integers(1, 4))
    def tails(self, select: Selector, back: int, limit: int) -> None:
        after = max(0, self.log.head().head - back)
        newest = dict(self.all_of(select))
        nths = {event.stamp.seq: event.stamp.nth for event in self.events}
        expected = sorted((seq, topic, nths[seq]) for topic, seq in newest.items() if seq > after)
        tails, through = self.log.tails(select, after, limit)
        assert [(seq, topic, nth) for topic, seq, nth in tails] == expected[:limit]
        assert through == (expected[limit - 1][0] if len(expected) > limit else self.log.head().head)

    def all_of(self, select: Selector) -> list[tuple[str, int]]:
        """What one large replay of everything gives, filtered here: the pages must agree with it."""
        events, through, damaged = self.log.replay(SELECTORS[0], 0, None, 10**6, 1 << 40)
        assert (through, damaged) == (self.log.head().head, [])
        return [
            (topic.decode(), unpack_stamp(stamp).seq) for topic, stamp, _ in events if select.matches(topic)
        ]

    @invariant()
    def what_is_kept_is_what_was_appended_and_enough_of_it(self) -> None:
        head = self.log.head()
        events, _, _ = self.log.replay(SELECTORS[0], 0, None, 10**6, 1 << 40)
        kept = {unpack_stamp(stamp).seq: (topic, stamp, payload) for topic, stamp, payload in events}
        appended = {event.stamp.seq: event for event in self.events}
        for seq, (topic, stamp, payload) in kept.items():
            event = appended[seq]
            assert (topic.decode(), payload) == (event.topic, event.payload)
            assert unpack_stamp(stamp) == event.stamp._replace(epoch=self.log.epoch)
        assert head.oldest <= min(kept, default=head.head + 1)
        by_topic = defaultdict[str, list[Event]](list)
        for event in self.events:
            by_topic[event.topic].append(event)
        for own in by_topic.values():
            have = {event for event in own if event.stamp.seq in kept}
            assert all(event in have or event.stamp.seq <= max(head.trimmed, head.forgotten) for event in own)
            if own[-1].stamp.seq > head.forgotten:
                due = [event for event in own[-KEEP.events :] if event.stamp.seq > head.forgotten]
                young = {event for event in due if self.bench.now_s - event.clock_s < KEEP.age_s}
                assert young <= have
                assert own[-1] in have

    def teardown(self) -> None:
        self._patch.undo()
        self.bench.end()
        self._folder.cleanup()


TestLogAgainstAList = LogAgainstAList.TestCase
TestLogAgainstAList.settings = settings(max_examples=30, stateful_step_count=25)
