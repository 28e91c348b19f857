"""Short forms of the fault runs: what is lost, and nothing of times, which `make faults` is for."""

from __future__ import annotations

import pytest

from tests.faults import brokers, control_run, disks, edges, gateways, paused, producers, slow
from tests.faults.rows import Run

SEED = 1
BROKER, GATEWAY = 0, 1  # seeds by which F8 stops one or the other


@pytest.mark.parametrize(
    ("run", "seed"),
    [
        pytest.param(control_run.forgetful, SEED, id="control, clients"),
        pytest.param(control_run.blind, SEED, id="control, producer"),
        pytest.param(brokers.killed, SEED, id="F1"),
        pytest.param(brokers.torn, SEED, id="F2, killed"),
        pytest.param(brokers.turned, SEED, id="F2, a bit"),
        pytest.param(gateways.killed, SEED, id="F4"),
        pytest.param(gateways.restarted, SEED, id="F5"),
        pytest.param(producers.killed, SEED, id="F6"),
        pytest.param(paused.paused, BROKER, id="F8, broker"),
        pytest.param(paused.paused, GATEWAY, id="F8, gateway"),
        pytest.param(slow.slow, SEED, id="F10"),
        pytest.param(disks.full, SEED, id="F12"),
        pytest.param(edges.late, SEED, id="F18"),
    ],
)
def test_nothing_is_lost_and_nobody_is_deceived(run: Run, seed: int) -> None:
    verdict = run(seed, True)
    # Of these rows the full disk alone (F12) can be left out: whatever else cannot be run fails.
    if run is disks.full and verdict.left_out:
        pytest.skip(verdict.left_out)
    assert not verdict.left_out
    assert verdict.why() == [], verdict
