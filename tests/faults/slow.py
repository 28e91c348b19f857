"""F10: one reader of a thousand takes almost nothing, or nothing."""

from __future__ import annotations

import time

import psutil

from broker.wire import Position
from deploy.load.program import memory_bytes
from tests.faults.metrics import metric
from tests.faults.stage import Stage, stage
from tests.faults.verdict import Verdict
from tests.support.waiting import wait_for

MEMORY_BYTES = 64 << 10
OTHERS_P99 = 1.2
TOO_SLOW = 4408
SLOW = 100  # of which the memory is taken together: that of one is less than what else moves


def slow(seed: int, brief: bool = False) -> Verdict:
    """In every other run it takes nothing, and is closed; else it takes 1 KB/s, and catches up."""
    is_stuck = brief or seed % 2 == 0
    rate = 0 if is_stuck else 1_000
    clients, lasts = (50, 200) if brief else (1_000, 2_000)
    # What is in memory for all is little, so that what is there for one shows.
    stall_s = 70 if not is_stuck else 3 if brief else 30
    what = f"one of {clients} takes {rate} B/s"
    with stage("F10", what, seed, brief=brief, gateways=1, ring_max_bytes=1 << 20, stall_s=stall_s) as on:
        on.follow(count=clients)
        # By a process that is not busy with a thousand, and enough events for a quantile.
        on.follow("seen/**", count=20, watched=20)
        slow = on.crowd()
        on.produce(kind="push", rate=50 if brief else 20, filler_bytes=2_000)
        seen = on.produce(kind="push", rate=100, stem="seen")
        on.pass_events(lasts // 20)
        quiet_s = time.monotonic()
        on.await_promised(seen, lasts)
        began_s = on.note(what)
        slow.follow(on.urls, "load/**", bytes_per_s=rate)
        on.await_promised(seen, lasts)
        over_s = time.monotonic()
        if not brief:
            _weigh(on, rate)
        if is_stuck:
            stalled = 1 if brief else 1 + SLOW
            wait_for(
                lambda: metric(on.gateways[0], "penstock_stalled_total") >= stalled,
                what=lambda: f"{stalled} closed: {metric(on.gateways[0], 'penstock_stalled_total')}",
            )
        on.note("the slow ones read on")
        for crowd in on.crowds[2:]:
            crowd.pace(None)
        verdict = on.judge()
        _look_at_ends(on, is_stuck)
        before, after = on.times.calm_p99_ms(quiet_s, began_s), on.times.calm_p99_ms(began_s, over_s)
        on.measure("others' p99 before", before, "ms")
        on.measure("after to before", after / before if before else 0.0, "times", at_most=OTHERS_P99)
        return verdict


def _weigh(on: Stage, rate: int) -> None:
    """What more of them cost the gateway, once they are far behind."""
    pid = on.gateways[0].pid
    before = memory_bytes(pid)
    more = on.crowd()
    more.follow(on.urls, "load/**", count=SLOW, bytes_per_s=rate)
    on.pass_events(150)
    on.measure("memory of a slow one", (memory_bytes(pid) - before) / SLOW, "bytes", at_most=MEMORY_BYTES)
    on.must(psutil.pid_exists(pid), "the gateway lives")


def _look_at_ends(on: Stage, is_stuck: bool) -> None:
    """Whether each slow one was closed with the position up to which it had everything, or not at all."""
    due = [event for event in on.log if event.topic.startswith("load/")]
    for journal in on.journals[2:]:
        for story in journal.clients:
            codes = [each.code for each in story.breaks]
            on.must(codes == [TOO_SLOW] * is_stuck, f"{TOO_SLOW} if it is stuck, else nothing: {codes}")
            for each in story.breaks:
                told, had = (Position.parse(text) for text in (each.reason.split(" ")[-1], each.position))
                between = [event for event in due if had.seq < event.at.seq <= told.seq]
                on.must(told >= had and not between, f"closed with its place: told {told}, had {had}")
    for story in (story for journal in on.journals[:2] for story in journal.clients):
        on.must(not story.breaks, "nobody else was closed")
