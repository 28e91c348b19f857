"""Every store of the log, for the suites that all of them must pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.log import Durability
from tests.support.logs import Bench, bench


@pytest.fixture(params=["power", "process", "memory"])
def durability(request: pytest.FixtureRequest) -> Durability:
    found: Durability = request.param
    return found


@pytest.fixture
def on(tmp_path: Path, durability: Durability) -> Iterator[Bench]:
    with bench(tmp_path, durability=durability) as made:
        yield made
