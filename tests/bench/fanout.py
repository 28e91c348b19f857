"""What a delivery costs: a thousand browsers on one topic, at rising rates, and the floor below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench import crowd, floor, stream
from tests.bench.figure import Figure
from tests.bench.program import Program, cpu_s, program
from tests.support import processes

TOPIC = "bench/fanout"
CLIENTS = 1_000
# Events a second, seconds, µs of gateway CPU a delivery may take.
RATES = ((20, 6.0, 8.0), (200, 4.0, None), (1_000, 4.0, 1.2), (2_000, 3.0, None), (4_000, 3.0, None))
WARM_UP = 20  # events before the first measured one: caches fill, routes are found
LATENCY_CLIENTS, LATENCY_RATE, LATENCY_S = 100, 1_000, 4.0
PATIENCE_S = 15.0  # beyond the time that publishing takes


class Load(NamedTuple):
    """What came of one stream of events."""

    cpu_s: float  # of whoever sent it to the browsers
    deliveries: int
    received: crowd.Received

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.deliveries * 1e6


class Stage:
    """Broker, gateway, producer and crowd, all connected."""

    def __init__(self, pid: int, browsers: Program, producer: Program, clients: int) -> None:
        self._pid = pid  # of the gateway
        self._browsers, self._producer, self._clients = browsers, producer, clients
        self._published = 0

    def load(self, count: int, rate: float) -> Load:
        """Raises AssertionError: a browser did not get all of it, in order and once."""
        before_s = cpu_s(self._pid)
        self._published += count
        self._browsers.tell(crowd.Read(last=self._published, deadline_s=count / rate + PATIENCE_S))
        first = self._published - count + 1
        self._producer.ask(stream.Publish(TOPIC, first, count, rate), stream.Published)
        received = self._browsers.answer(crowd.Received)
        spent_s = cpu_s(self._pid) - before_s
        check(received, self._clients)
        return Load(spent_s, count * self._clients, received)


def check(received: crowd.Received, clients: int) -> None:
    assert received.complete == clients, f"{clients - received.complete} of {clients} lack the last event"
    assert not received.missed, f"{received.missed} events missing or out of order"


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


@contextmanager
def stage(folder: Path, clients: int) -> Iterator[Stage]:
    with (
        processes.broker(folder) as broker,
        processes.gateway(folder, broker) as gateway,
        program("crowd") as browsers,
        program("stream", broker.address["push"]) as producer,
    ):
        browsers.ask(crowd.Connect(port(gateway.address["own"]), clients), crowd.Done)
        browsers.ask(crowd.Subscribe(TOPIC), crowd.Done)
        the_stage = Stage(gateway.pid, browsers, producer, clients)
        the_stage.load(WARM_UP, rate=100)
        yield the_stage


def fanout(folder: Path) -> Iterator[Figure]:
    with stage(folder, CLIENTS) as the_stage:
        for rate, seconds, at_most in RATES:
            load = the_stage.load(int(rate * seconds), rate)
            what = f"{CLIENTS:,} clients, {rate:,}/s"
            yield Figure(
                bench="fanout", name=f"{what}: CPU a delivery", value=load.cpu_us, unit="µs", at_most=at_most
            )
            rate_found = load.deliveries / load.received.took_s
            yield Figure(bench="fanout", name=f"{what}: delivered", value=rate_found, unit="deliveries/s")
            yield Figure(bench="fanout", name=f"{what}: p99", value=load.received.p99_ms, unit="ms")
            share = load.cpu_s / load.received.took_s * 100
            yield Figure(bench="fanout", name=f"{what}: gateway's share of a core", value=share, unit="%")


def latency(folder: Path) -> Iterator[Figure]:
    """From the producer's call to the browser's read."""
    with stage(folder, LATENCY_CLIENTS) as the_stage:
        received = the_stage.load(int(LATENCY_RATE * LATENCY_S), LATENCY_RATE).received
        what = f"{LATENCY_CLIENTS} clients, {LATENCY_RATE:,}/s"
        yield Figure(bench="latency", name=f"{what}: p50", value=received.p50_ms, unit="ms")
        yield Figure(bench="latency", name=f"{what}: p99", value=received.p99_ms, unit="ms")


def python_floor(folder: Path) -> Iterator[Figure]:
    """One write a delivery, and nothing else: what the kernel takes for it."""
    rate, seconds, _ = RATES[0]
    count = int(rate * seconds)
    with program("floor") as server, program("crowd") as browsers:
        address = server.ask(floor.Listen(), floor.Port)
        server.tell(floor.Greet(CLIENTS))
        browsers.ask(crowd.Connect(address.port, CLIENTS), crowd.Done)
        browsers.ask(crowd.Subscribe(TOPIC), crowd.Done)
        server.answer(floor.Written)
        before_s = cpu_s(server.pid)
        browsers.tell(crowd.Read(last=count, deadline_s=seconds + PATIENCE_S))
        server.ask(floor.Write(count, rate), floor.Written)
        received = browsers.answer(crowd.Received)
        load = Load(cpu_s(server.pid) - before_s, count * CLIENTS, received)
        check(received, CLIENTS)
        name = f"{CLIENTS:,} clients, {rate}/s: CPU a write"
        yield Figure(bench="floor", name=name, value=load.cpu_us, unit="µs")
