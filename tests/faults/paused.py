"""F8: a broker or a gateway that stands still and goes on: SIGSTOP, SIGCONT."""

from __future__ import annotations

from tests.faults.stage import Stage, stage
from tests.faults.times import quantile
from tests.faults.verdict import Verdict

NOTICED_S = 6.0
BACK_S = 5.0
# A long one costs as much time as many short ones, and shows the same but for queues that run full.
STOPS = tuple((who, lasts_s) for lasts_s in (5, 5, 30, 5, 120) for who in ("broker", "gateway"))


def paused(seed: int, brief: bool = False) -> Verdict:
    who, lasts_s = STOPS[seed % len(STOPS)]
    # Few enough messages wait for a gateway that some are dropped meanwhile.
    queue = {"feed_high_water": 2_000}
    with stage("F8", f"SIGSTOP to a {who}, {lasts_s} s", seed, brief=brief, broker=queue) as on:
        clients = 20 if brief else 200
        on.follow(count=clients, watched=clients, silence_s=2 if brief else 5, ask_s=0.5 if brief else 2)
        on.produce(kind="confirmed", rate=500, filler_bytes=500)
        on.pass_events(200)
        if who == "broker":
            _broker(on, 4 if brief else lasts_s, clients)
        else:
            _gateway(on, 0 if brief else lasts_s, clients)
        return on.verdict


def _broker(on: Stage, lasts_s: float, clients: int) -> None:
    with on.stopped(on.broker):
        stopped_s = on.verdict.moments[-1].monotonic_s
        on.hold(lasts_s)
    goes_on_s = on.verdict.moments[-1].monotonic_s
    on.pass_events(200)
    on.verdict = on.judge()
    on.must(not on.times.returns_s(), "clients kept their connections")
    stale_s = on.times.stale_after_s(stopped_s)
    on.must(len(stale_s) == clients, f"{clients} were told that the broker is not heard, not {len(stale_s)}")
    on.measure("told stale", stale_s[-1] if stale_s else float("inf"), "s", at_most=NOTICED_S)
    fresh = [story.stale[-1][1] is False for story in on.stories if story.stale]
    on.must(all(fresh), "and that it is heard again")
    on.verdict.back_s = on.times.flow_back_s(goes_on_s)
    on.measure("flow back", on.verdict.back_s, "s", at_most=BACK_S)


def _gateway(on: Stage, lasts_s: float, clients: int) -> None:
    crowd = on.crowds[0]
    with on.stopped(on.gateways[0]):
        stopped_s = on.verdict.moments[-1].monotonic_s
        on.hold(lasts_s)
        crowd.wait(lambda state: state.silent == clients // 2, "half of them have noticed")
        crowd.settle()
    on.pass_events(200)
    on.verdict = on.judge()
    noticed_s = sorted(each.lost_ns / 1e9 - stopped_s for story in on.stories for each in story.breaks)
    on.must(len(noticed_s) == clients // 2, f"{clients // 2} connections broke, not {len(noticed_s)}")
    on.measure("noticed", noticed_s[-1] if noticed_s else float("inf"), "s", at_most=NOTICED_S)
    on.verdict.back_s = quantile(on.times.returns_s(), 0.99)
    on.measure("99 % back", on.verdict.back_s, "s", at_most=BACK_S)
