"""Gateways that are killed, stopped, or told to end: clients come back to another one and lack nothing."""

from __future__ import annotations

import time

from tests.faults.stage import Stage, stage
from tests.faults.times import quantile
from tests.faults.verdict import Verdict

BACK_S = 5.0  # for 99 % of those who lost their gateway
OTHERS_P99 = 2.0  # times what it was, for those who did not
DRAIN_S = 10.0
COME_BACK = 1012
WATCHED = 30


def killed(seed: int, brief: bool = False) -> Verdict:
    """F4: kill -9 of one gateway of three."""
    clients, lasts = (30, 100) if brief else (3_000, 1_000)
    with stage("F4", "kill -9 of a gateway", seed, brief=brief, gateways=3) as on:
        on.follow(count=clients)
        # By a process that is not busy with thousands, and enough events for a quantile.
        on.follow("seen/**", count=WATCHED, watched=WATCHED)
        on.produce(kind="push", rate=5, topics=3)
        on.produce(kind="push", rate=100, stem="seen", topics=3)
        seen = on.producers[-1]
        quiet_s = time.monotonic()
        on.await_promised(seen, lasts)
        dies = on.random.randrange(3)
        killed_s = on.note(f"kill -9 of gateway {dies}")
        on.gateways[dies].kill()
        on.await_promised(seen, lasts)
        over_s = time.monotonic()
        on.gateways[dies].start()
        verdict = on.judge()
        _must_be_back(on, (clients + WATCHED) // 3)
        before = quantile(on.times.latencies_ms(quiet_s, killed_s), 0.99)
        after = quantile(on.times.latencies_ms(killed_s, over_s), 0.99)
        on.measure("others' p99 before", before, "ms")
        on.measure("after to before", after / before if before else 0.0, "times", at_most=OTHERS_P99)
        return verdict


def _must_be_back(on: Stage, lost: int) -> None:
    away_s = on.times.returns_s()
    on.must(len(away_s) == lost, f"{lost} connections broke, not {len(away_s)}")
    on.verdict.back_s = quantile(away_s, 0.99)
    on.measure("99 % back", on.verdict.back_s, "s", at_most=BACK_S)


def restarted(seed: int, brief: bool = False) -> Verdict:
    """F5: SIGTERM to each gateway in turn, as a rolling restart does it."""
    clients, lasts = (20, 50) if brief else (400, 100)
    with stage("F5", "rolling restart", seed, brief=brief) as on:
        on.follow(count=clients)
        on.produce(kind="push", rate=50)
        slowest_s = 0.0
        for number, gateway in enumerate(on.gateways):
            on.pass_events(lasts)
            asked_s = on.note(f"SIGTERM to gateway {number}")
            status = gateway.stop()
            slowest_s = max(slowest_s, time.monotonic() - asked_s)
            on.must(status == 0, f"gateway {number} ended with {status}")
            gateway.start()
            on.crowds[0].settle()
        on.pass_events(lasts)
        verdict = on.judge()
        breaks = [each for story in on.stories for each in story.breaks]
        on.must(len(breaks) >= clients, f"each client was sent away: {len(breaks)} of {clients}")
        codes = {each.code for each in breaks}
        on.must(codes == {COME_BACK}, f"all closed with {COME_BACK}, not {codes}")
        verdict.back_s = quantile(on.times.returns_s(), 0.99)
        on.measure("drained", slowest_s, "s", at_most=DRAIN_S)
        return verdict
