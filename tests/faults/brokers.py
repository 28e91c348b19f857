"""F1 and F2: the broker is killed under load, and what it was writing is torn or turned."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

from broker.chunk import count
from tests.faults.stage import stage, supervised
from tests.faults.verdict import Verdict

BACK_S = 3.0


def killed(seed: int, brief: bool = False) -> Verdict:
    """F1: kill -9 at 10,000 events a second; supervisord starts it again."""
    producers, rate = (2, 1_000) if brief else (2, 5_000)
    with supervised("F1", "kill -9 of the broker", seed, brief=brief) as on:
        on.follow(count=10, watched=10)
        for number in range(producers):
            on.produce(kind="confirmed", rate=rate, stem=f"load/{number}")
        for _ in range(1 if brief else 2):
            on.pass_events(on.random.randrange(rate // 2, rate))
            pid = on.pid("broker")
            on.note(f"kill -9 of the broker at {[each.promised for each in on.producers]}")
            os.kill(pid, signal.SIGKILL)
            on.await_new("broker", pid)
            on.pass_events(rate)
        verdict = on.judge()
        kills = [moment.monotonic_s for moment in verdict.moments if moment.what.startswith("kill -9")]
        verdict.back_s = max(map(on.times.flow_back_s, kills))
        on.must(not on.times.returns_s(), "clients kept their connections")
        on.measure("flow back", verdict.back_s, "s", at_most=BACK_S)
        return verdict


def torn(seed: int, brief: bool = False) -> Verdict:
    """F2: kill -9 again and again, in the middle of whatever it writes."""
    with stage("F2", "kill -9 while it writes", seed, brief=brief, gateways=1) as on:
        on.follow(count=5)
        # Large enough that a commit is many pages, and that merges and checkpoints are under way.
        on.produce(kind="confirmed", rate=4_000, filler_bytes=1_000)
        for _ in range(2 if brief else 8):
            on.pass_events(on.random.randrange(100, 3_000))
            on.note(f"kill -9 at {on.producers[0].promised}")
            on.broker.kill()
            on.broker.start()
        on.pass_events(500)
        return on.judge()


def turned(seed: int, brief: bool = False) -> Verdict:
    """F2: one bit of the log is another than was written. Its chunk is told as lost, and nothing else is."""
    with stage("F2", "a bit is flipped", seed, brief=brief, gateways=0) as on:
        producer = on.produce(kind="push", rate=1_000_000)
        on.await_promised(producer, 5_000)
        everything = on.all_pushed([producer])
        on.broker.stop()
        first, events = _flip(on.folder / "log.db", on.random)
        on.note(f"a bit is flipped in the chunk that begins at {first}, of {events} events")
        on.broker.start()
        on.add_gateway()
        on.follow(count=1, since=f"{everything[0].at.epoch:016x}.0")
        verdict = on.judge(everything)
        on.must(verdict.report.gaps, "a gap was told")
        on.must(verdict.report.excused == events, f"{events} events are lost, not {verdict.report.excused}")
        on.must(f"damaged first={first} " in on.broker.stderr(), "the broker says which")
        return verdict


def _flip(path: Path, random: Random) -> tuple[int, int]:
    """Another bit in the body of one of its chunks; the seq of its first event, and how many it has."""
    with closing(sqlite3.connect(path)) as log, log:
        firsts = [first for (first,) in log.execute("SELECT first FROM chunks ORDER BY first")]
        first = random.choice(firsts)
        body = bytearray(log.execute("SELECT body FROM chunks WHERE first = ?", (first,)).fetchone()[0])
        events = count(bytes(body))
        body[random.randrange(len(body))] ^= 1 << random.randrange(8)
        log.execute("UPDATE chunks SET body = ? WHERE first = ?", (bytes(body), first))
    return first, events
