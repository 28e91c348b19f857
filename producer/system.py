"""Real metrics of this machine: topics system/<host>/cpu, memory, load, disk and network."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence

import click
import psutil

from broker.settings import load
from producer.readings import Event, Reading, events, host_segment
from producer.service import run, stream
from producer.settings import ProducerSettings


class Machine:
    """This machine, read again at each call of `sample`; the first has nothing to compare with: no events."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._last: Reading | None = None

    def sample(self) -> list[Event]:
        before, self._last = self._last, read()
        return events(self._host, before, self._last) if before else []


def read() -> Reading:
    memory = psutil.virtual_memory()
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    return Reading(
        at_s=time.monotonic(),
        cores=tuple(psutil.cpu_percent(percpu=True)),
        memory_used=memory.percent,
        memory_available=memory.available,
        load=os.getloadavg(),
        disk=(disk.read_bytes, disk.write_bytes) if disk else None,
        network=(network.bytes_sent, network.bytes_recv) if network else None,
    )


@click.command("system")
@click.option("--ingest", metavar="ADDRESS", help="The broker's address for streams.")
def command(ingest: str | None) -> int:
    """Publish this machine's metrics on system/HOST/cpu, memory, load, disk and network."""
    settings = load(ProducerSettings, "producer", env=os.environ, overrides={"ingest": ingest})
    machine = Machine(host_segment(settings.host or socket.gethostname()))
    return stream("system", settings, settings.system_interval_s, lambda _: machine.sample())


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
