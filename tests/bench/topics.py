"""Many topics: who follows what differs from one browser to the next, and changes all the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deploy.load.browsers import Connect, Done
from deploy.load.figure import Figure
from deploy.load.loads import Found, Opening
from deploy.load.names import CPU, CPU_WITH_BROKER, DELIVERED, MEMORY, P50, P99
from deploy.load.program import Program, program
from deploy.load.server import Costs, Server
from deploy.load.stage import LAG_MAX_S, LOOK_EVERY_S, PATIENCE_S, Rounds
from deploy.load.stream import LATE_MAX_S, Publish, Published
from tests.bench.topics_crowd import Follow, Read, Received

TOPICS = CLIENTS = 10_000
EACH = 10
CHANGES_PER_S = 100  # a topic for another: an unsubscribe and a subscribe
RATE = 2_000  # events a second, over all topics: 20,000 deliveries
WARM_UP = 200  # events
CPU_SUBSCRIBE, CPU_CHANGE = "CPU a subscribe", "CPU a change"
LOAD = f"{TOPICS:,} topics, {EACH} each of {CLIENTS:,} clients, {CHANGES_PER_S} changes/s, {RATE:,}/s"


@dataclass(frozen=True, slots=True)
class Load:
    published: Published
    received: Received
    cpu_s: float
    before_cpu_s: float

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.received.deliveries * 1e6

    def maybe_why(self) -> str:
        """Why it is not as it should be; empty if it is."""
        lag_s = (self.received.ended_ns - self.published.ended_ns) / 1e9
        if self.received.lost or self.received.lacking:
            return f"{self.received.lost} connections were closed, {self.received.lacking} lack events"
        return f"{lag_s:.2f} s behind the producer" if lag_s > LAG_MAX_S else ""


class Stage:
    def __init__(self, server: Server, costs: Costs, browsers: Program, topic: str) -> None:
        self._costs = costs
        self._server, self._browsers, self._topic = server, browsers, topic
        self._published = 0

    def load(self, count: int, changes: int) -> Load:
        """So many events at the bench's rate, with that many changes meanwhile."""
        server, over_s = self._server, count / RATE
        first, self._published = self._published + 1, self._published + count
        before_s = server.before.cpu_s() if server.before else 0.0
        cpu_s = self._costs.cpu_s()
        deadline_s = over_s + LATE_MAX_S + PATIENCE_S
        read = Read(first, self._published, changes, over_s, deadline_s, LOOK_EVERY_S)
        self._browsers.tell(read)
        published = server.publish(Publish(self._topic, first, count, RATE, TOPICS))
        received = self._browsers.answer(Received)
        cpu_s = self._costs.cpu_s() - cpu_s
        return Load(published, received, cpu_s, server.before.cpu_s() - before_s if server.before else 0.0)

    def change(self, seconds: float) -> float:
        """CPU of a change, in seconds, while there are no events."""
        changes = int(CHANGES_PER_S * seconds)
        cpu_s = self._costs.cpu_s()
        read = Read(1, 0, changes, seconds, seconds + PATIENCE_S, LOOK_EVERY_S)
        self._browsers.ask(read, Received)
        return (self._costs.cpu_s() - cpu_s) / changes


def topics(opening: Opening, topic: str, rounds: Rounds, clients: int = CLIENTS) -> Iterator[Found]:
    with opening() as server, program("tests.bench.topics_crowd") as browsers:

        def figure(name: str, value: float | None, unit: str, why: str = "") -> Figure:
            return Figure(
                bench="topics", load=LOAD, server=server.name, name=name, unit=unit, value=value, why=why
            )

        costs = server.costs
        assert costs is not None
        empty = costs.memory_bytes()
        browsers.ask(Connect(server.host, server.port, clients, server.dialect, topic), Done)
        cpu_s = costs.cpu_s()
        browsers.ask(Follow(topic, TOPICS, EACH), Done)
        subscribe_s = (costs.cpu_s() - cpu_s) / (clients * EACH)
        memory = (costs.memory_bytes() - empty) / clients
        stage = Stage(server, costs, browsers, topic)
        stage.load(WARM_UP, changes=0)
        change_s = stage.change(rounds.seconds)
        loads = [
            stage.load(int(RATE * rounds.seconds), int(CHANGES_PER_S * rounds.seconds))
            for _ in range(rounds.count)
        ]
        if failed := next((load for load in loads if load.maybe_why()), None):
            yield [figure(CPU, None, "µs", failed.maybe_why())]
            return
        best = min(loads, key=lambda load: load.cpu_us)
        found = [figure(CPU, best.cpu_us, "µs")]
        if server.before:
            both_us = (best.cpu_s + best.before_cpu_s) / best.received.deliveries * 1e6
            found.append(figure(CPU_WITH_BROKER, both_us, "µs"))
        yield [
            *found,
            figure(DELIVERED, best.received.deliveries / best.published.took_s, "a second"),
            figure(P50, best.received.p50_ms, "ms"),
            figure(P99, best.received.p99_ms, "ms"),
            figure(CPU_SUBSCRIBE, subscribe_s * 1e6, "µs"),
            figure(CPU_CHANGE, change_s * 1e6, "µs"),
            figure(MEMORY, memory, "bytes"),
        ]
