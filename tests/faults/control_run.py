"""The control run: protection is taken off, and the checker must see that it is missing.

Clients that subscribe afresh when they come back miss what was between. A plain PUB with the high-water
mark that it has drops while the broker stands still, and a producer that takes sent for logged promises
what never was. A run like this in which nothing is lost would show that a clean verdict means nothing.
"""

from __future__ import annotations

from tests.faults.stage import stage
from tests.faults.verdict import Verdict


def forgetful(seed: int, brief: bool = False) -> Verdict:
    """A gateway is killed under clients that do not say where they were."""
    with stage("control", "clients without their position", seed, brief=brief) as on:
        on.follow(count=20, resumes=False)
        on.produce(kind="push", rate=500)
        on.pass_events(100)
        on.note("kill -9 of gateway 0")
        on.gateways[0].kill()
        on.crowds[0].wait(lambda state: state.breaks >= 10 and state.following == state.clients, "all back")
        on.pass_events(100)
        verdict = on.judge()
        verdict.is_control = True
        on.must(verdict.report.lost > 0, "the checker sees that events are lost")
        broken = sum(bool(story.breaks) for story in on.stories)
        on.must(broken == 10, f"half of the clients lost their gateway, not {broken}")
        return verdict


def blind(seed: int, brief: bool = False) -> Verdict:
    """The broker stands still under a PUB that holds a thousand messages and drops the rest."""
    with stage("control", "sent counts as promised", seed, brief=brief, gateways=1) as on:
        on.follow(count=2)
        # More than fits into the buffers of the kernel and both sides.
        on.produce(kind="pub", rate=20_000, filler_bytes=2_000)
        with on.stopped(on.broker):
            on.pass_events(20_000)
        on.pass_events(100)
        verdict = on.judge()
        verdict.is_control = True
        on.must(verdict.report.falsely_confirmed > 0, "the checker sees that promised events are missing")
        return verdict
