"""Readers who share reads of the log lack nothing that they are not told of, whatever comes between.

Real: the log, what readers share, and the readers. Played: the control port, which answers in any
order or not at all, and the hub's idea of which log there is and how far it goes, which lags.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker import control
from broker.answers import Answers
from broker.errors import ControlTimeout
from broker.gap import Gap
from broker.retention import Keep
from broker.topics import Pattern
from broker.wire import Position
from gateway import past
from gateway.delivery import ALL, LATEST, Delivery
from gateway.event import Event
from gateway.interest import Interest, Want
from gateway.log import BrokerLog
from gateway.past import Newest, Past
from gateway.records import Records
from tests.support.logs import Bench, full_disk, put

TOPICS = ["a", "b", "c/1", "c/2"]
PATTERNS = [("**",), ("a", "c/*")]
PAGE, SLICE = 5, 2  # events of an answer, and of what a reader takes at a time
KEEP = Keep(events=2, topics_max=3, forget_s=3_000.0)


class Reader(NamedTuple):
    reading: Past | Newest
    interest: Interest
    start: int
    events: list[Event]
    gaps: list[Gap]

    def told(self, seq: int, topic: str) -> bool:
        """Of that event, or of a hole in its place."""
        return any(event.seq == seq for event in self.events) or any(
            Pattern(gap.pattern).matches(topic) and gap.after.seq < seq < gap.before.seq for gap in self.gaps
        )


class SharedReads(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._slice = patch.object(past, "PAGE_EVENTS", SLICE)
        self._slice.start()
        self.bench = Bench(Path(self._folder.name) / "log.db", keep=KEEP, reserve=5)
        self.bench.open()
        self.ledger: list[tuple[int, str]] = []  # what was ever appended
        self.readers: list[Reader] = []
        self.now_s = 0.0
        self.asked: deque[tuple[Any, Callable[[Any, Records], None]]] = deque()
        self.answers: deque[Callable[[], None]] = deque()
        self.later: deque[Callable[[], None]] = deque()
        self.log = BrokerLog(
            lambda request, done: self.asked.append((request, done)),
            lambda: None,
            100,
            epoch=lambda: self.hub.epoch,
            later=self.later.append,
            wait=lambda seconds, call: self.later.append(call),
            clock=lambda: self.now_s,
        )
        self.hub: Any = SimpleNamespace(
            epoch=self.bench.log.epoch,
            flushed=0,
            log=self.log,
            covers=lambda interest: None,
            after_flush=lambda wake: None,  # whoever waits is asked again by the rules
        )

    @initialize()
    def begin(self) -> None:
        for _ in range(8):
            self.append(["a", "b", "a", "c/1"])
        self.hear(0)

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=12))
    def append(self, topics: list[str]) -> None:
        self.ledger += [
            (stamp.seq, topic) for topic, stamp in zip(topics, put(self.bench.log, *topics), strict=True)
        ]

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=2))
    def append_while_the_disk_is_full(self, topics: list[str]) -> None:
        with full_disk(self.bench.log):
            stamps = put(self.bench.log, *topics, payload=b"x" * 100_000)
        self.ledger += [(stamp.seq, topic) for topic, stamp in zip(topics, stamps, strict=False)]

    @rule(seconds=st.sampled_from([11.0, 1_600.0]))
    def let_retention_work(self, seconds: float) -> None:
        self.bench.wait(seconds)

    @rule(seconds=st.sampled_from([1.0, 4.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.log.expire()

    @rule(power_failed=st.booleans())
    def restart(self, power_failed: bool) -> None:
        if power_failed:
            self.bench.after_power_failure()
        else:
            self.bench.killed()

    @rule(behind=st.integers(0, 3))
    def hear(self, behind: int) -> None:
        """The gateway hears of the log: perhaps not of its newest events."""
        at = self.bench.log.head()
        if at.epoch_number != self.hub.epoch:
            self.hub.epoch, self.hub.flushed = at.epoch_number, at.start
            self.readers.clear()  # each goes on in the new log, as one that comes does
        self.hub.flushed = max(self.hub.flushed, at.head - behind)

    @rule(
        patterns=st.sampled_from(PATTERNS),
        back=st.integers(5, 40),
        apart=st.lists(st.integers(0, 12), min_size=1, max_size=4),
        delivery=st.sampled_from([ALL, LATEST]),
    )
    def come(self, patterns: tuple[str, ...], back: int, apart: list[int], delivery: Delivery) -> None:
        """Readers who stand near each other."""
        interest = Interest(frozenset(Want(Pattern(text), delivery) for text in patterns))
        for further in apart:
            start = min(max(0, self.hub.flushed - back) + further, self.hub.flushed)
            reading = (Past if interest.collects else Newest)(
                self.hub, interest, Position(self.hub.epoch, start)
            )
            self.readers.append(Reader(reading, interest, start, [], []))

    @rule(seed=st.integers(0, 1_000), steps=st.integers(1, 60))
    def go_on(self, seed: int, steps: int) -> None:
        """Each reader at its own pace; what is under way overtakes each other."""
        chance = Random(seed)
        for _ in range(steps):
            move = chance.choice((self.read, self.read, self.carry_request, self.carry_answer, self.turn))
            move(chance.randrange(1_000))

    @rule()
    def lose_request(self) -> None:
        if self.asked:
            self.asked.popleft()[1](ControlTimeout("the broker", 5.0), Records())

    def read(self, number: int) -> None:
        if not self.readers:
            return
        reader = self.readers[-1 - number % len(self.readers)]
        if reader.reading.position.seq >= self.hub.flushed:
            return
        for item in reader.reading.read(self.hub.flushed, lambda: None) or []:
            if isinstance(item, Gap):
                reader.gaps.append(item)
            else:
                assert not reader.events or item.seq > reader.events[-1].seq
                assert reader.start < item.seq <= self.hub.flushed
                reader.events.append(item)

    def carry_request(self, place: int) -> None:
        if self.asked:
            self.asked.rotate(-(place % len(self.asked)))
            request, done = self.asked.popleft()
            log = self.bench.log
            answers = Answers(log, log.head, list, lambda: NotImplemented)
            frame, *records = answers.answer(msgspec.structs.replace(request, limit=PAGE))
            kind = control.ReplayPage if isinstance(request, control.Replay) else control.NewestPage
            page = msgspec.json.decode(control.decode_answer(frame).ok, type=kind)
            self.answers.append(lambda: done(page, Records(records[0])))

    def carry_answer(self, place: int) -> None:
        if self.answers:
            self.answers.rotate(-(place % len(self.answers)))
            self.answers.popleft()()

    def turn(self, _: int) -> None:
        for _ in range(len(self.later)):
            self.later.popleft()()

    def teardown(self) -> None:
        try:
            self.settle()
            for reader in self.readers:
                self.check(reader)
        finally:
            self._slice.stop()
            self.bench.end()
            self._folder.cleanup()

    def settle(self) -> None:
        self.hear(0)
        for seed in range(1_000):
            if all(reader.reading.position.seq >= self.hub.flushed for reader in self.readers):
                return
            self.go_on(seed, 20)
        raise AssertionError("readers do not get on")

    def check(self, reader: Reader) -> None:
        due = {
            topic: seq for seq, topic in self.ledger if reader.start < seq and reader.interest.delivery(topic)
        }
        if reader.interest.collects:
            owed = [(seq, topic) for seq, topic in self.ledger if topic in due and seq > reader.start]
        else:
            owed = [(seq, topic) for topic, seq in due.items()]
        lacking = [(seq, topic) for seq, topic in owed if not reader.told(seq, topic)]
        assert not lacking, f"from {reader.start}: lacks {lacking}, has {reader.events}, {reader.gaps}"


TestSharedReads = SharedReads.TestCase
TestSharedReads.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
