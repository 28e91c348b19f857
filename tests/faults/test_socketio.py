"""The run of `python -m tests.faults.socketio`, with few clients and for a few seconds."""

from __future__ import annotations

from pathlib import Path

from tests.faults.socketio import run


def test_official_clients_through_a_round_robin(tmp_path: Path) -> None:
    found = run(tmp_path, clients=10, seconds=6, rate=20, processes=1, seed=1)
    assert found.is_whole, found
    assert all(kind.anew == 0 for kind in found.kinds.values()), found
    # Somebody had a connection to the gateway that was killed, and most requests came to a wrong one.
    assert sum(kind.recovered for kind in found.kinds.values()) > 0
    assert found.handed_over > 100
