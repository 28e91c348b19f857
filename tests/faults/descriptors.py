"""F15: a gateway has no descriptors left."""

from __future__ import annotations

import resource

import psutil

from tests.faults.stage import stage
from tests.faults.verdict import Verdict
from tests.support.waiting import wait_for

SPARE = 10


def used_up(seed: int, brief: bool = False) -> Verdict:
    clients, more = (20, 40) if brief else (200, 400)
    with stage("F15", "no descriptor is left", seed, brief=brief, gateways=1) as on:
        on.follow(count=clients)
        on.produce(kind="confirmed", rate=200)
        on.pass_events(100)
        gateway = psutil.Process(on.gateways[0].pid)
        before = gateway.rlimit(resource.RLIMIT_NOFILE)
        on.note("no descriptor is left")
        gateway.rlimit(resource.RLIMIT_NOFILE, (gateway.num_fds() + SPARE, before[1]))
        late = on.crowd()
        late.follow(on.urls, "load/**", count=more, settle=False)
        on.pass_events(400)
        state = late.look()
        on.must(0 < state.following < more // 2, f"few of {more} were let in: {state.following}")
        wait_for(lambda: "code=no_descriptor" in on.gateways[0].stderr(), what="the gateway says so")
        room_s = on.note("there are descriptors again")
        gateway.rlimit(resource.RLIMIT_NOFILE, before)
        late.settle()
        on.verdict.back_s = on.note("all are in") - room_s
        on.pass_events(100)
        verdict = on.judge()
        broken = sum(bool(story.breaks) for story in on.journals[0].clients)
        on.must(not broken, f"who was there kept its connection, but for {broken}")
        return verdict
