"""F9 and F11: the network between a gateway and the broker breaks, one way or both, or is slow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.stage import Stage, stage
from tests.faults.verdict import Verdict
from tests.support.proxy import Proxy, proxied

STALE_S = 6.0
BACK_S = 5.0
OTHERS_P99 = 2.0
WAYS = {"up": (True, False), "down": (False, True), "both ways": (True, True)}
# One of a minute takes as long as many short ones.
EACH = tuple((way, lasts_s) for lasts_s in (1, 10) for way in WAYS)
BREAKS = (*EACH, ("up", 1), ("down", 10), ("both ways", 60))


@contextmanager
def _behind_proxies(on: Stage) -> Iterator[tuple[Proxy, Proxy]]:
    """One more gateway, that reaches the broker's feed and control through these."""
    with proxied(on.addresses["feed"]) as feed, proxied(on.addresses["control"]) as control:
        on.add_gateway(feed=feed.address, control=control.address)
        yield feed, control


def partitioned(seed: int, brief: bool = False) -> Verdict:
    """F9: nothing passes for a while; nobody is told, and nothing is closed."""
    way, lasts_s = ("both ways", 4) if brief else BREAKS[seed % len(BREAKS)]
    up, down = WAYS[way]
    with (
        stage("F9", f"partition {way}, {lasts_s} s", seed, brief=brief, gateways=1) as on,
        _behind_proxies(on) as links,
    ):
        clients = 20 if brief else 200
        # Each stays with its gateway: nothing is wrong with that one.
        for url in on.urls:
            crowd = on.crowd()
            crowd.follow([url], "load/**", count=clients // 2, watched=clients // 2)
        on.produce(kind="push", rate=300)
        on.pass_events(200)
        blocked_s = on.note(f"blocked {way}")
        for link in links:
            link.block(up=up, down=down)
        on.hold(lasts_s)
        healed_s = on.note("healed")
        for link in links:
            link.heal()
        on.pass_events(200)
        verdict = on.judge()
        on.must(not on.times.returns_s(), "clients kept their connections")
        on.must(not verdict.report.gaps, "all of it was in the log")
        # Upwards nothing is missed for a while: events come, until the broker takes the gateway for dead.
        stale_s = on.times.stale_after_s(blocked_s)
        if lasts_s >= 4 and down:
            on.must(len(stale_s) == clients // 2, f"{clients // 2} clients were told, not {len(stale_s)}")
        on.measure("told stale", stale_s[-1] if stale_s else 0.0, "s", at_most=STALE_S)
        verdict.back_s = on.times.flow_back_s(healed_s)
        on.measure("flow back", verdict.back_s, "s", at_most=BACK_S)
        return verdict


def beyond_retention(seed: int, brief: bool = False) -> Verdict:
    """F9: longer than the log reaches back. What has gone is told."""
    keep = {"keep_events": 100}
    with (
        stage("F9", "partition beyond retention", seed, brief=brief, gateways=0, broker=keep) as on,
        _behind_proxies(on) as links,
    ):
        crowd = on.crowd()
        crowd.follow(on.urls, "load/**", count=10)
        producer = on.produce(kind="push", rate=2_000)
        on.pass_events(200)
        on.note("blocked both ways")
        for link in links:
            link.block()
        on.hold(2)
        on.pass_events(10_000)
        on.note("healed")
        for link in links:
            link.heal()
        on.pass_events(200)
        verdict = on.judge(on.all_pushed([producer]))
        on.must(verdict.report.excused, "something was lost to retention")
        return verdict


def slow(seed: int, brief: bool = False) -> Verdict:
    """F11: one gateway of four gets a tenth of what is published."""
    queue = {"feed_high_water": 1_000}
    lasts = 500 if brief else 2_000
    with (
        stage("F11", "one slow gateway of four", seed, brief=brief, gateways=3, broker=queue) as on,
        _behind_proxies(on) as (feed, _),
    ):
        quick, held = on.crowd(), on.crowd()
        quick.follow(on.urls[:3], "load/**", count=30, watched=30)
        held.follow(on.urls[3:], "load/**", count=10)
        on.produce(kind="push", rate=200, filler_bytes=2_000)
        on.pass_events(lasts // 4)
        quiet_s = time.monotonic()
        on.pass_events(lasts)
        slow_s = on.note("the feed of gateway 3 takes 40 KB/s")
        feed.limit(40_000)
        on.pass_events(lasts)
        healed_s = on.note("healed")
        feed.heal()
        on.pass_events(lasts // 4)
        verdict = on.judge()
        on.must(not on.times.returns_s(), "clients kept their connections")
        on.must(not verdict.report.gaps, "all of it was in the log")
        before, after = on.times.calm_p99_ms(quiet_s, slow_s), on.times.calm_p99_ms(slow_s, healed_s)
        on.measure("others' p99 before", before, "ms")
        on.measure("after to before", after / before if before else 0.0, "times", at_most=OTHERS_P99)
        return verdict
