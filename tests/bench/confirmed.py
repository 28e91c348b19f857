"""How many events a second one producer gets confirmed, each of them logged by then; ours and JetStream's.

    python -m tests.bench.confirmed [--seconds 5] [--topics 10] [--durability process] [--jetstream]

One producer in a process of its own publishes 128-byte payloads on ten topics as fast as confirmations
come. Nobody subscribes. Prints one line.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.load.figure import Figure, line
from deploy.load.loads import Found
from deploy.load.names import CONFIRMED, CPU_EVENT, SHARE
from deploy.load.program import Program, cpu_s, program
from deploy.load.stage import Rounds
from tests.bench.confirmed_producer import Confirm, Confirmed
from tests.bench.ingest import DURABILITIES
from tests.bench.ours import NAME
from tests.bench.peers.jetstream import jetstream
from tests.bench.targets import confirmed_at
from tests.support import processes

JETSTREAM = "nats"  # whose log it is
TOPICS = 10
WARM_UP_S = 0.5


@contextmanager
def ours(durability: str) -> Iterator[tuple[int, Program]]:
    """The broker's pid, and a producer."""
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        processes.broker(Path(folder), durability=durability) as broker,
        program("tests.bench.confirmed_producer", broker.address["control"]) as producer,
    ):
        yield broker.pid, producer


def confirmed(server: str, rounds: Rounds) -> Iterator[Found]:
    if server == JETSTREAM:
        with jetstream() as (pid, producer):
            yield _figures(server, "process", _best(pid, producer, rounds))
        return
    for durability in DURABILITIES:
        with ours(durability) as (pid, producer):
            yield _figures(server, durability, _best(pid, producer, rounds))


class Measured(NamedTuple):
    rate: float  # events a second
    server_us: float  # CPU an event
    producer_us: float


def _best(pid: int, producer: Program, rounds: Rounds, topics: int = TOPICS) -> Measured:
    """The fastest of a few rounds. Raises Failed: not all was confirmed."""
    producer.ask(Confirm(topics, WARM_UP_S), Confirmed)
    return max(_measure(pid, producer, topics, rounds.seconds) for _ in range(rounds.count))


def _measure(pid: int, producer: Program, topics: int, seconds: float) -> Measured:
    server_s, producer_s = cpu_s(pid), cpu_s(producer.pid)
    found = producer.ask(Confirm(topics, seconds), Confirmed)
    server_s, producer_s = cpu_s(pid) - server_s, cpu_s(producer.pid) - producer_s
    each_us = 1e6 / found.count
    return Measured(found.count / found.took_s, server_s * each_us, producer_s * each_us)


def _figures(server: str, durability: str, measured: Measured) -> Found:
    def figure(name: str, value: float, unit: str) -> Figure:
        load = confirmed_at(durability)
        return Figure(bench="confirmed", load=load, server=server, name=name, unit=unit, value=value)

    rate, server_us, producer_us = measured
    return [
        figure(CONFIRMED, rate, "events a second"),
        figure(CPU_EVENT, server_us, "µs"),
        figure(SHARE, rate * server_us / 1e4, "%"),
        figure("CPU of the producer", producer_us, "µs"),
        figure("its share of a core", rate * producer_us / 1e4, "%"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--topics", type=int, default=TOPICS)
    parser.add_argument("--durability", choices=DURABILITIES, default="process")
    parser.add_argument("--jetstream", action="store_true", help="JetStream instead, stored in files")
    given = parser.parse_args()
    server = JETSTREAM if given.jetstream else NAME
    with jetstream() if given.jetstream else ours(given.durability) as (pid, producer):
        measured = _best(pid, producer, Rounds(1, given.seconds), given.topics)
        print(line(_figures(server, given.durability, measured)))


if __name__ == "__main__":
    main()
