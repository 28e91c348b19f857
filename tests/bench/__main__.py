"""Speed and memory of this machine: `python -m tests.bench [--only idle ...] [--json FILE]`."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil

from tests.bench.fanout import fanout, latency, python_floor
from tests.bench.figure import Figure, line
from tests.bench.idle import idle, idle_own_topics
from tests.bench.ingest import measure

INGEST_S = 5.0
INGEST_AT_LEAST = 60_000


def ingest(folder: Path) -> Iterator[Figure]:
    """As fast as the broker takes plain events in, each of them durable."""
    found = measure(INGEST_S, rate=0, topics=10, durability="process")
    rate, cpu_us = found["events_per_s"], found["cpu_us_per_event"]
    yield Figure(
        bench="ingest", name="durable at `process`", value=rate, unit="events/s", at_least=INGEST_AT_LEAST
    )
    yield Figure(bench="ingest", name="durable at `process`: CPU an event", value=cpu_us, unit="µs")


BENCHES: dict[str, tuple[Callable[[Path], Iterator[Figure]], ...]] = {
    "ingest": (ingest,),
    "idle": (idle, idle_own_topics),
    "fanout": (python_floor, fanout),
    "latency": (latency,),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Penstock on this machine.")
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there as well")
    given = parser.parse_args(argv)
    figures: list[Figure] = []
    for name in given.only:
        for bench in BENCHES[name]:
            with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
                for figure in bench(Path(folder)):
                    figures.append(figure)
                    print(line(figure), flush=True)
    if given.json:
        machine = {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": psutil.cpu_count(),
        }
        given.json.write_bytes(msgspec.json.encode({"machine": machine, "figures": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
