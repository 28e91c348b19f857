"""Whom a bench loads: where browsers connect, what they say there, how events get in, what it costs."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.parser import text_string_to_metric_families

from deploy.load.dialect import Dialect
from deploy.load.program import cpu_s, memory_bytes
from deploy.load.stream import Publish, Published

METRICS_TIMEOUT_S = 10.0


class Costs(Protocol):
    """What has been used so far."""

    def cpu_s(self) -> float: ...

    def memory_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Processes:
    """Of processes of this machine."""

    pids: tuple[int, ...]

    def cpu_s(self) -> float:
        return sum(map(cpu_s, self.pids))

    def memory_bytes(self) -> int:
        return sum(map(memory_bytes, self.pids))


@dataclass(frozen=True, slots=True)
class Admin:
    """Of a process of ours, wherever it runs, by what its admin port says."""

    url: str

    def cpu_s(self) -> float:
        return self.metric("process_cpu_seconds_total")

    def memory_bytes(self) -> int:
        return int(self.metric("process_resident_memory_bytes"))

    def metric(self, name: str) -> float:
        """Over all its labels. Raises OSError: nobody answers there."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=METRICS_TIMEOUT_S) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            samples = (sample for family in families for sample in family.samples)
            return sum(sample.value for sample in samples if sample.name == name)


@dataclass(frozen=True, slots=True)
class Together:
    """Of several, as one."""

    all: tuple[Costs, ...]

    def cpu_s(self) -> float:
        return sum(each.cpu_s() for each in self.all)

    def memory_bytes(self) -> int:
        return sum(each.memory_bytes() for each in self.all)


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    port: int
    dialect: Dialect
    publish: Callable[[Publish], Published]
    costs: Costs | None  # None: nobody here knows
    before: Costs | None = None  # of what stands before it in the way of an event: the broker
    counts: tuple[Admin, ...] = ()  # who knows of how many sends, if anybody does
    host: str = "127.0.0.1"
