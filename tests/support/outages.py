"""A log whose power is cut again and again, and what is missing of it afterwards that nobody is told of.

    outcome = outages(tmp_path, seed=7, durability="power")
    assert outcome.wrong == []

No clock, no thread that decides anything: the same seed does the same again.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import msgspec

from broker import control
from broker import store as stores
from broker.control import Hello, HelloPage, Publish, PublishPage, Submit, SubmitPage
from broker.errors import LogError
from broker.log import Durability
from broker.publishing import Publishing
from broker.retention import Keep, Rule
from broker.verify import verify
from broker.wire import pack_event, unpack_stamp
from tests.support.logs import ALL, NOW_US, Bench
from tests.support.power import Disk

TOPICS = [b"a", b"a/1", b"b"]
SIZES = [0, 10, 700, 6_000]
ENDINGS = 3  # of each cut, so many of the ways that the disk may be afterwards
STEPS_MAX = 60
PRODUCER = "p"
Events = dict[int, tuple[bytes, bytes]]  # seq -> topic and payload
# Of plain events the newest few: retention is under way at some of the cuts.
SHORT = Keep(events=4, rules=(Rule("confirmed", 10**6, 1e9), Rule("submitted", 10**6, 1e9)))


@dataclass
class Outcome:
    cuts: int = 0
    seen: int = 0  # events that were forwarded or confirmed before a cut
    told: int = 0  # of these, are gone, and a new epoch says so
    new_epochs: int = 0
    wrong: list[str] = field(default_factory=list)  # what nobody is told of
    endings: Counter[str] = field(default_factory=Counter)


def outages(
    folder: Path,
    seed: int,
    durability: Durability,
    *,
    cuts: int = 3,
    is_ever_synced: bool = True,
    is_noticed: bool = True,
) -> Outcome:
    """A log that is written, merged, checkpointed, stopped and killed, with so many cuts in between.

    Args:
        is_ever_synced: False: SQLite syncs nothing.
        is_noticed: False: the log is opened as if the machine had not stopped.
    """
    # The checkpointing thread would come at any time: here it is a step like the others.
    with mock.patch.object(stores, "CHECKPOINT_BYTES", 1 << 60):
        run = _Run(folder, Random(seed), durability, is_ever_synced, is_noticed)
        for _ in range(cuts):
            run.live()
            run.cut()
            if run.outcome.wrong:
                break
        return run.outcome


class _Run:
    def __init__(
        self, folder: Path, random: Random, durability: Durability, is_ever_synced: bool, is_noticed: bool
    ) -> None:
        self.random, self.is_noticed, self.outcome = random, is_noticed, Outcome()
        self.disk = Disk(folder, random, is_ever_synced=is_ever_synced)
        self.bench = Bench(folder / "log.db", durability, random.choice([Keep(), SHORT]), reserve=40)
        self.epoch = 0
        self.known: Events = {}  # as seen
        self.given: set[tuple[int, int]] = set()  # every epoch and seq that was seen
        self.last = 0  # of the producer, as confirmed
        self.keys: dict[str, str] = {}  # to position, as confirmed
        self.maybe: Events = {}  # what was under way at the cut
        self.serial = 0
        self.incarnation = 0
        self.now_us = 0
        self.publishing: Publishing

    def live(self) -> None:
        """Until the power is cut."""
        with self.disk.in_use():
            # To be opened takes about fifty: some are cut while they are.
            self.disk.cut_after(self.random.randint(1, 200))
            self._open()
            for _ in range(STEPS_MAX):
                step = self.random.choices(
                    [
                        self._append,
                        self._publish,
                        self._submit,
                        self._maintain,
                        self._checkpoint,
                        self._restart,
                    ],
                    [8, 4, 2, 2, 1, 1],
                )[0]
                step()
                if self.disk.is_off:
                    break
            self.disk.cut()  # if it has not come by itself
            self.bench.log.abandon()
        self.outcome.cuts += 1
        self.outcome.seen += len(self.known)

    def cut(self) -> None:
        """Some of the ways that it may be afterwards are looked at; the newest one goes on."""
        for number in range(ENDINGS):
            ending = self.disk.come_back()
            self.outcome.endings[ending] += 1
            if self.is_noticed:
                self.bench.boot_id += "+"
            # One of them by the SQLite that brokers use: that one waits for a real disk.
            with self.disk.in_use() if number else nullcontext():
                try:
                    self.bench.open()
                except LogError as error:
                    self._wrong(f"{ending}: {error}")
                    return
                self._check(ending)
                self.bench.log.abandon()
            if number == 0 and not (report := verify(self.bench.path)).is_sound:
                self._wrong(f"{ending}: {list(report.lines())}")
        self.disk.put_back()
        self.disk.go_on()
        if self.is_noticed:
            self.bench.boot_id += "+"
        with self.disk.in_use():
            self._open()
            found = self._check(f"{ending}, again")
            self.outcome.told += len(self._missing(found))
            if self.bench.log.epoch != self.epoch:
                self.outcome.new_epochs += bool(self.known)
                self.epoch, self.last = self.bench.log.epoch, 0
            # What is there now is what there is to lose.
            self.known, self.maybe = found, {}
            self._hello()
            self._submit_again()
            self.bench.log.abandon()

    def _wrong(self, what: str) -> None:
        self.outcome.wrong.append(what)

    def _open(self) -> None:
        self.bench.open()
        self.epoch = self.epoch or self.bench.log.epoch
        self.publishing = Publishing(self.bench.log, self.bench.log.head, 1 << 20, self._clock_us)
        self.incarnation = 0

    def _clock_us(self) -> int:
        self.now_us += 1
        return self.now_us

    # Steps

    def _append(self) -> None:
        batch = [self._event() for _ in range(self.random.randint(1, 6))]
        self._note(self.bench.log.append(batch, NOW_US))

    def _publish(self) -> None:
        if not self.incarnation:
            self._hello()
        count = self.random.randint(1, 4)
        first = self.last + 1
        data = b"".join(pack_event(b"confirmed", b"%d" % (first + n), 0) for n in range(count))
        asked = Publish(id=1, producer=PRODUCER, incarnation=self.incarnation, first=first)
        page = self._ask(asked, data, PublishPage)
        if page and not self.disk.is_off:
            self.last = page.last

    def _hello(self) -> None:
        page = self._ask(Hello(id=1, producer=PRODUCER), b"", HelloPage)
        if page is None or self.disk.is_off:
            return
        if page.last < self.last:
            self._wrong(f"confirmed up to {self.last}, and then {page.last}")
        self.incarnation, self.last = page.incarnation, page.last

    def _submit(self) -> None:
        self.serial += 1
        self._submit_under(f"key {self.serial}")

    def _submit_again(self) -> None:
        for key in list(self.keys)[-3:]:
            before = self.keys[key]
            self._submit_under(key)
            is_known = self.bench.log.epoch == int(before.split(".")[0], 16)
            if is_known and self.keys[key] != before and not self.disk.is_off:
                self._wrong(f"{key} was at {before} and is at {self.keys[key]}")

    def _submit_under(self, key: str) -> None:
        data = pack_event(b"submitted", key.encode(), 0)
        page = self._ask(Submit(id=1, subject="s", key=key), data, SubmitPage)
        if page and not self.disk.is_off:
            self.keys[key] = page.position

    def _ask(self, asked: control.Publishing, data: bytes, wanted: type) -> Any:
        self.publishing.take(b"asker", asked, data)
        events, answers = self.publishing.commit(NOW_US)
        self._note(events)
        answer = control.decode_answer(answers[0][1])
        return None if answer.error else msgspec.json.decode(answer.ok, type=wanted)

    def _maintain(self) -> None:
        self.bench.now_s += self.random.choice([0.1, 15.0])
        self.bench.log.maintain(self.bench.now_s)

    def _checkpoint(self) -> None:
        db = sqlite3.connect(self.bench.path)
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        db.close()

    def _restart(self) -> None:
        if self.random.random() < 0.5:
            self.bench.log.close()
        else:
            self.bench.log.abandon()
        self._open()

    def _event(self) -> tuple[bytes, bytes, int]:
        self.serial += 1
        payload = b"%d " % self.serial + self.random.randbytes(self.random.choice(SIZES))
        return self.random.choice(TOPICS), payload, 0

    def _note(self, events: list[tuple[bytes, bytes, bytes]]) -> None:
        for topic, data, payload in events:
            stamp = unpack_stamp(data)
            if self.disk.is_off:
                self.maybe[stamp.seq] = topic, payload
                continue
            if (stamp.epoch, stamp.seq) in self.given:
                self._wrong(f"seq {stamp.seq} is given twice in epoch {stamp.epoch}")
            if stamp.is_unlogged:
                self._wrong(f"seq {stamp.seq} is unlogged")
            self.given.add((stamp.epoch, stamp.seq))
            self.known[stamp.seq] = topic, payload

    def _missing(self, found: Events) -> list[int]:
        """Of what was seen, but for what retention may have removed."""
        trimmed = self.bench.log.head().trimmed
        return [
            seq
            for seq, (topic, _) in self.known.items()
            if seq not in found and not (topic in TOPICS and seq <= trimmed)
        ]

    def _check(self, ending: str) -> Events:
        """What is there. Nothing may be there that never was, or in another place; and of what was seen all
        in the same epoch, or under a new one all up to some place."""
        log = self.bench.log
        events, through, damaged = log.replay(ALL, 0, None, 10**6, 1 << 40)
        found = {unpack_stamp(stamp).seq: (topic, payload) for topic, stamp, payload in events}
        if damaged:
            self._wrong(f"{ending}: damaged {damaged}")
        if through != log.head().head or len(found) != len(events):
            self._wrong(f"{ending}: a replay through {through} of {log.head().head}")
        written = {**self.known, **self.maybe}
        for seq, event in found.items():
            if written.get(seq) != event:
                self._wrong(f"{ending}: seq {seq} is {event[0]!r} {event[1][:20]!r}, never written so")
        is_same = log.epoch == self.epoch
        upto = max(self.known, default=0) if is_same else max(found, default=0)
        if missing := [seq for seq in self._missing(found) if seq <= upto]:
            self._wrong(f"{ending}: of epoch {log.epoch} nothing tells that {missing} are missing")
        numbers = [int(payload) for topic, payload in found.values() if topic == b"confirmed"]
        producer = log.publishers.producers.get(PRODUCER)
        if numbers != list(range(1, (producer.last if producer else 0) + 1)):
            self._wrong(f"{ending}: the log has {numbers}, and of their producer {producer}")
        keys = Counter(payload for topic, payload in found.values() if topic == b"submitted")
        if twice := [key for key, count in keys.items() if count > 1]:
            self._wrong(f"{ending}: twice under one key: {twice}")
        return found
