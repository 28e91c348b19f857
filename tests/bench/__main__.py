"""Speed and memory of this machine, ours and others': `python -m tests.bench --help`."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from deploy.load import loads
from deploy.load.errors import Failed
from deploy.load.figure import Figure, line
from deploy.load.loads import Found, Opening
from deploy.load.names import FANOUT_CLIENTS, FANOUT_RATES, IDLE_CONNECTIONS
from deploy.load.stage import Rounds
from tests.bench.comparison import Run, compare, summary, table
from tests.bench.confirmed import JETSTREAM, confirmed
from tests.bench.forms import forms
from tests.bench.ingest import ingest
from tests.bench.ours import (
    FLOOR,
    NAME,
    RAW_NAME,
    SOCKET_IO_NAME,
    penstock,
    penstock_socket_io,
    python_floor,
)
from tests.bench.peers import PEERS
from tests.bench.peers.peer import LeftOut
from tests.bench.replay import replay
from tests.bench.targets import TARGETS
from tests.bench.topics import topics

TOPIC = "bench"
BENCHES = ("fanout", "forms", "latency", "idle", "topics", "ingest", "confirmed", "replay")
# Of ours, with whom each is compared.
OTHERS = {NAME: (FLOOR, *PEERS), SOCKET_IO_NAME: (RAW_NAME, "socket.io", "python-socketio")}
WITH_TOPICS = (NAME, "nats", "socketify")  # of the others, those that are made for many

# Seconds that a bench takes of a server where nothing else runs, in full and with --quick.
ABOUT_S = {
    "fanout": (40, 18),
    "forms": (60, 30),
    "latency": (20, 12),
    "idle": (9, 4),
    "topics": (45, 30),
    "ingest": (40, 18),
    "confirmed": (16, 8),
    "replay": (28, 21),
}
TIME_S = 15 * 60.0  # where everything is slower: what has not begun by then is left out

Finding = Callable[[str, str, Opening], Iterator[Found]]  # bench, name of the server


def finding(*, is_quick: bool) -> Finding:
    rounds = Rounds(2, 1.0) if is_quick else Rounds(3, 2.0)
    connections = IDLE_CONNECTIONS // 5 if is_quick else IDLE_CONNECTIONS

    def found_by(bench: str, server: str, opening: Opening) -> Iterator[Found]:
        if bench == "fanout":
            yield from loads.fanout(opening, TOPIC, FANOUT_RATES, rounds)
        elif bench == "forms":
            yield from forms(TOPIC, FANOUT_RATES, Rounds(5, rounds.seconds / 2))
        elif bench == "latency":
            yield from loads.latency(opening, TOPIC, rounds)
            # A million deliveries a second, to clients that read whatever comes as it comes.
            yield from loads.latency(opening, TOPIC, rounds, clients=FANOUT_CLIENTS)
        elif bench == "idle":
            yield from loads.idle(opening, TOPIC, connections)
            if server == NAME:
                yield from loads.idle(opening, TOPIC, connections, own=True)
                yield from loads.idle(penstock_socket_io, TOPIC, connections)
        elif bench == "topics":
            yield from topics(opening, TOPIC, rounds)
        elif bench == "ingest":
            yield from ingest(rounds)
        elif bench == "confirmed":
            yield from confirmed(server, rounds)
        elif bench == "replay":
            yield replay(rounds)

    return found_by


def is_of(bench: str, server: str) -> bool:
    """Whether the bench is for that server."""
    if bench in ("forms", "ingest", "replay"):
        return server == NAME
    if bench == "confirmed":
        return server in (NAME, JETSTREAM)
    return server in WITH_TOPICS if bench == "topics" else bench == "fanout" or server != FLOOR


def about(benches: Sequence[str], servers: Collection[str], *, is_quick: bool) -> str:
    seconds = sum(ABOUT_S[bench][is_quick] for bench in benches for server in servers if is_of(bench, server))
    return f"about {seconds / 60:.0f} minutes" if seconds > 90 else f"about {seconds} seconds"


def measure(
    benches: Sequence[str], servers: Mapping[str, Opening], found_by: Finding, time_s: float = TIME_S
) -> tuple[list[Figure], dict[str, str]]:
    """What was found, printed as it comes; and who was left out, and why."""
    figures: list[Figure] = []
    left_out: dict[str, str] = {}
    end_s = time.monotonic() + time_s
    for bench in benches:
        for server in [name for name in servers if name not in left_out and is_of(bench, name)]:
            if time.monotonic() > end_s:
                left_out[server] = "the time was over"
                print(f"{bench:<8} {server} is left out: {left_out[server]}", flush=True)
                continue
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
    print(f"This takes {about(given.only, servers, is_quick=given.quick)}.", file=sys.stderr)
    figures, left_out = measure(given.only, servers, finding(is_quick=given.quick))
    compared = [
        each
        for own, others in OTHERS.items()
        for each in compare(figures, TARGETS, left_out, own=own, others=others)
    ]
    print("\nOurs divided by theirs, and what is wanted of ours:\n")
    print("\n".join(table(compared)))
    print(f"\n{summary(compared)}")
    if given.json:
        given.json.write_bytes(msgspec.json.encode(Run(machine(), figures, compared, left_out)))
    return 0


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": models[0] if models else platform.machine(),
        "cores": str(psutil.cpu_count()),
    }


if __name__ == "__main__":
    sys.exit(main())
