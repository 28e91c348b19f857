"""Who sends and who receives, all connected: a load on them gives its cost, and every event is checked.

What else runs on the machine can only add to a cost, so a load runs a few times and the cheapest counts.
Nor is the sender to pay for waking a reader that shares its machine, 1 µs a delivery, as browsers
elsewhere do not: the crowd looks every 5 ms, unless latency is what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from tests.bench import crowd, floor, stream
from tests.bench.program import Program, cpu_s, program
from tests.support import processes

TOPIC = "bench/fanout"
ROUNDS, ROUND_S = 3, 2.0
LOOK_EVERY_S = 0.005
WARM_UP = 20  # events before the first measured one: caches fill, routes are found
PATIENCE_S = 15.0  # beyond the time that publishing takes

Publish = Callable[[int, int, float], object]  # first number, count, rate a second


class Load(NamedTuple):
    """What came of one stream of events."""

    cpu_s: float  # of whoever sent it to the browsers
    deliveries: int
    received: crowd.Received

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.deliveries * 1e6


class Stage:
    def __init__(
        self, pid: int, browsers: Program, clients: int, publish: Publish, pause_s: float = LOOK_EVERY_S
    ) -> None:
        """`pid` is whose cost counts."""
        self._pid, self._pause_s = pid, pause_s
        self._browsers, self._clients, self._publish = browsers, clients, publish
        self._published = 0
        self.load(WARM_UP, rate=100)

    def cheapest(self, rate: float) -> Load:
        return min((self.load(int(rate * ROUND_S), rate) for _ in range(ROUNDS)), key=attrgetter("cpu_us"))

    def load(self, count: int, rate: float) -> Load:
        """Raises AssertionError: a browser did not get all of it, in order and once."""
        before_s = cpu_s(self._pid)
        first = self._published + 1
        self._published += count
        deadline_s = count / rate + PATIENCE_S
        self._browsers.tell(crowd.Read(self._published, deadline_s, self._pause_s))
        self._publish(first, count, rate)
        received = self._browsers.answer(crowd.Received)
        spent_s = cpu_s(self._pid) - before_s
        check(received, self._clients)
        return Load(spent_s, count * self._clients, received)


def check(received: crowd.Received, clients: int) -> None:
    assert received.complete == clients, f"{clients - received.complete} of {clients} lack the last event"
    assert not received.missed, f"{received.missed} events missing or out of order"


@contextmanager
def gateway_stage(folder: Path, clients: int, pause_s: float = LOOK_EVERY_S) -> Iterator[Stage]:
    """A producer, a broker, a gateway and a crowd."""
    with (
        processes.broker(folder) as broker,
        processes.gateway(folder, broker) as gateway,
        program("crowd") as browsers,
        program("stream", broker.address["push"]) as producer,
    ):
        browsers.ask(crowd.Connect(port(gateway.address["own"]), clients), crowd.Done)
        browsers.ask(crowd.Subscribe(TOPIC), crowd.Done)

        def publish(first: int, count: int, rate: float) -> None:
            producer.ask(stream.Publish(TOPIC, first, count, rate), stream.Published)

        yield Stage(gateway.pid, browsers, clients, publish, pause_s)


@contextmanager
def floor_stage(clients: int) -> Iterator[Stage]:
    """A process that only writes, and a crowd."""
    with program("floor") as server, program("crowd") as browsers:
        address = server.ask(floor.Listen(), floor.Port)
        server.tell(floor.Greet(clients))
        browsers.ask(crowd.Connect(address.port, clients), crowd.Done)
        browsers.ask(crowd.Subscribe(TOPIC), crowd.Done)
        server.answer(floor.Done)

        def publish(first: int, count: int, rate: float) -> None:
            server.ask(floor.Write(first, count, rate), floor.Done)

        yield Stage(server.pid, browsers, clients, publish)


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
