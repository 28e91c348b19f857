"""A log whose power is cut at any moment: `power` loses nothing, `process` nothing that is not told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from broker.log import Durability
from tests.support.outages import Outcome, outages
from tests.support.power import LEFT

SEEDS = range(12)


def run(folder: Path, seeds: Iterable[int], durability: Durability, **faults: bool) -> list[Outcome]:
    found = []
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        found.append(outages(place, seed, durability, **faults))
    return found


@pytest.mark.parametrize("durability", ["power", "process"])
def test_nothing_is_lost_that_nobody_is_told_of(tmp_path: Path, durability: Durability) -> None:
    found = run(tmp_path, SEEDS, durability)
    assert {seed: outcome.wrong for seed, outcome in zip(SEEDS, found, strict=True) if outcome.wrong} == {}
    # What this has looked at: without it the line above would say nothing.
    assert sum(outcome.cuts for outcome in found) == 3 * len(SEEDS)
    assert sum(outcome.seen for outcome in found) > 300
    assert {ending for outcome in found for ending in outcome.endings} == set(LEFT)
    told, new_epochs = (sum(getattr(each, name) for each in found) for name in ("told", "new_epochs"))
    if durability == "power":
        assert (told, new_epochs) == (0, 0)
    else:
        assert told > 30
        assert new_epochs > len(SEEDS)


@pytest.mark.parametrize(
    ("durability", "faults"),
    [
        pytest.param("power", {"is_ever_synced": False}, id="nothing is ever synced"),
        pytest.param(
            "process", {"is_noticed": False}, id="the log goes on as if the machine had not stopped"
        ),
    ],
)
def test_losses_are_seen(tmp_path: Path, durability: Durability, faults: dict[str, bool]) -> None:
    found = run(tmp_path, range(6), durability, **faults)
    assert sum(bool(outcome.wrong) for outcome in found) > 3
