"""Speed and memory of this machine, ours and others': `python -m tests.bench --help`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from deploy.load import loads
from deploy.load.errors import Failed
from deploy.load.figure import Figure, line
from deploy.load.loads import Found, Opening
from deploy.load.names import FANOUT_RATES, IDLE_CONNECTIONS
from deploy.load.stage import Rounds
from tests.bench.comparison import compare, summary, table
from tests.bench.ingest import ingest
from tests.bench.ours import FLOOR, NAME, penstock, python_floor
from tests.bench.peers import PEERS
from tests.bench.peers.peer import LeftOut
from tests.bench.targets import TARGETS
from tests.bench.topics import topics

TOPIC = "bench"
BENCHES = ("fanout", "latency", "idle", "topics", "ingest")
WITH_TOPICS = (NAME, "nats", "socketify")  # of the others, those that are made for many

Finding = Callable[[str, str, Opening], Iterator[Found]]  # bench, name of the server


def finding(*, is_quick: bool) -> Finding:
    rounds = Rounds(2, 1.0) if is_quick else Rounds(3, 2.0)
    connections = IDLE_CONNECTIONS // 5 if is_quick else IDLE_CONNECTIONS

    def found_by(bench: str, server: str, opening: Opening) -> Iterator[Found]:
        """Nothing if the bench is not for that server."""
        if bench == "fanout":
            yield from loads.fanout(opening, TOPIC, FANOUT_RATES, rounds)
        elif bench == "latency" and server != FLOOR:
            yield from loads.latency(opening, TOPIC, rounds)
        elif bench == "idle" and server != FLOOR:
            yield from loads.idle(opening, TOPIC, connections)
            if server == NAME:
                yield from loads.idle(opening, TOPIC, connections, own=True)
        elif bench == "topics" and server in WITH_TOPICS:
            yield from topics(opening, TOPIC, rounds)
        elif bench == "ingest" and server == NAME:
            yield ingest(2.0 if is_quick else 5.0)

    return found_by


def measure(
    benches: Sequence[str], servers: Mapping[str, Opening], found_by: Finding
) -> tuple[list[Figure], dict[str, str]]:
    """What was found, printed as it comes; and who was left out, and why."""
    figures: list[Figure] = []
    left_out: dict[str, str] = {}
    for bench in benches:
        for server in [name for name in servers if name not in left_out]:
            try:
                for found in found_by(bench, server, servers[server]):
                    figures += found
                    print(line(found), flush=True)
            except (LeftOut, Failed) as error:
                if server not in PEERS:
                    raise  # of ours it is no finding but a fault
                left_out[server] = str(error)
                print(f"{bench:<8} {server} is left out: {error}", flush=True)
    return figures, left_out


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Penstock and others on this machine.")
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=BENCHES, help="these parts")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="these, or none")
    parser.add_argument("--quick", action="store_true", help="shorter: to see what a change did")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there as well")
    given = parser.parse_args(argv)
    servers: dict[str, Opening] = {NAME: penstock, FLOOR: python_floor}
    servers |= {name: PEERS[name] for name in given.peers}
    figures, left_out = measure(given.only, servers, finding(is_quick=given.quick))
    compared = list(compare(figures, TARGETS, left_out, own=NAME))
    print("\nOurs divided by theirs, and what is wanted of ours:\n")
    print("\n".join(table(compared)))
    print(f"\n{summary(compared)}")
    if given.json:
        found = {"machine": machine(), "figures": figures, "compared": compared, "left_out": left_out}
        given.json.write_bytes(msgspec.json.encode(found))
    return 0


def machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": models[0] if models else platform.machine(),
        "cores": psutil.cpu_count(),
    }


if __name__ == "__main__":
    sys.exit(main())
