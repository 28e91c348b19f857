"""What it costs to hold connections that subscribe and then wait: memory and the CPU of getting there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench import crowd
from tests.bench.figure import Figure
from tests.bench.program import cpu_s, memory_bytes, program
from tests.bench.stage import port
from tests.support import processes

CONNECTIONS = 10_000
MEMORY_AT_MOST_BYTES = 1_500
WARM_UP = 10  # connections before the count begins: what is loaded or made once is no connection's


def idle(folder: Path) -> Iterator[Figure]:
    """All on one topic."""
    yield from _hold(folder, "one topic", own=False, at_most=MEMORY_AT_MOST_BYTES)


def idle_own_topics(folder: Path) -> Iterator[Figure]:
    """The other extreme: nobody shares anything, and the broker is asked for 10,000 prefixes."""
    yield from _hold(folder, "a topic each", own=True, at_most=None)


def _hold(folder: Path, what: str, *, own: bool, at_most: float | None) -> Iterator[Figure]:
    with (
        processes.broker(folder) as broker,
        processes.gateway(folder, broker) as gateway,
        program("crowd") as first,
        program("crowd") as browsers,
    ):
        address, pid = port(gateway.address["own"]), gateway.pid
        first.ask(crowd.Connect(address, WARM_UP), crowd.Done)
        first.ask(crowd.Subscribe("bench/idle", own), crowd.Done)
        memory, began_s = memory_bytes(pid), cpu_s(pid)
        browsers.ask(crowd.Connect(address, CONNECTIONS), crowd.Done)
        connected_s = cpu_s(pid)
        browsers.ask(crowd.Subscribe("bench/idle", own), crowd.Done)
        subscribed_s = cpu_s(pid)
        each = (memory_bytes(pid) - memory) / CONNECTIONS
        name = f"{CONNECTIONS:,} idle, {what}"
        yield Figure(bench="idle", name=f"{name}: memory each", value=each, unit="bytes", at_most=at_most)
        connect_us = (connected_s - began_s) / CONNECTIONS * 1e6
        yield Figure(bench="idle", name=f"{name}: CPU a connect", value=connect_us, unit="µs")
        subscribe_us = (subscribed_s - connected_s) / CONNECTIONS * 1e6
        yield Figure(bench="idle", name=f"{name}: CPU a subscribe", value=subscribe_us, unit="µs")
