"""A server, a producer and a crowd, all connected: a load on them gives its cost, and every event is checked.

What else runs on the machine can only add to a cost, so a load runs a few times and the cheapest counts.
Nor is the server to pay for waking a reader that shares its machine, 1 µs a delivery, as browsers
elsewhere do not: the crowd looks every 5 ms, unless latency is what is measured.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.load import crowd, stream
from deploy.load.browsers import Connect, Done
from deploy.load.program import Program, program
from deploy.load.server import Costs, Server

LOOK_EVERY_S = 0.005
WARM_UP = 20  # events before the first measured one: caches fill, routes are found
PATIENCE_S = 5.0  # beyond the time that publishing takes
LAG_MAX_S = 0.25  # of the last read behind the last event's publishing; beyond it the rate is not sustained
RATE_AT_LEAST, FEW = 0.97, 2  # of the rate published, in the middle half of the time, less so many events


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one stream of events."""

    clients: int
    asked: int  # events
    rate: float  # a second
    published: stream.Published
    received: crowd.Received
    cpu_s: float | None  # of whoever sent it to the browsers
    before_cpu_s: float | None  # of what stands before that
    sends: float | None  # writes to sockets

    @property
    def deliveries(self) -> int:
        return self.asked * self.clients

    @property
    def lag_s(self) -> float:
        """Of the last read behind the last event's publishing."""
        return (self.received.ended_ns - self.published.ended_ns) / 1e9

    @property
    def took_s(self) -> float:
        return self.published.took_s + max(0.0, self.lag_s)

    @property
    def delivered_per_s(self) -> float:
        """What was published, where all of it came in time; else what came, over all the time that took."""
        if self.maybe_why():
            return self.received.mean * self.clients / self.took_s
        # The last event is published as that time ends.
        return (self.asked - 1) * self.clients / self.published.took_s

    @property
    def delivered_by_a_core(self) -> float:
        """Deliveries for a second of CPU: what a core does in a second if it has nothing else to do."""
        return self.received.mean * self.clients / self.cpu_s if self.cpu_s else 0.0

    @property
    def is_whole(self) -> bool:
        """Whether every client got all of it, however late."""
        return self.received.complete == self.clients and not self.received.missed

    def maybe_why(self) -> str:
        """Why the rate is not sustained; empty if it is."""
        came = self.received
        if came.lost:
            return f"{came.lost} of {self.clients} connections were closed"
        if self.published.count < self.asked:
            return f"took {self.published.count} of {self.asked} events in"
        if came.complete < self.clients:
            return f"{self.clients - came.complete} of {self.clients} clients lack the last event"
        if came.missed:
            return f"{came.missed} events missing or out of order"
        if self.lag_s > LAG_MAX_S:
            return f"{self.lag_s:.2f} s behind the producer"
        # Of a few events, one that comes a little late makes much of the rate.
        half_s = self.asked / self.rate / 2
        if came.rate < RATE_AT_LEAST * self.rate - FEW / half_s:
            return f"{came.rate:,.0f} events a second of {self.rate:,.0f}"
        return ""


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often and how long a load runs."""

    count: int
    seconds: float


class Saturated(Exception):
    """The rate is not sustained; `load` is what was."""

    def __init__(self, load: Load) -> None:
        super().__init__(f"saturates at {load.delivered_per_s:,.0f}/s ({load.maybe_why()})")
        self.load = load


class Stage:
    def __init__(self, server: Server, browsers: Program, topic: str, clients: int, pause_s: float) -> None:
        self._server, self._browsers = server, browsers
        self._topic, self._clients, self._pause_s = topic, clients, pause_s
        self._published = 0
        self.load(WARM_UP, rate=100)

    def best(self, rate: float, rounds: Rounds, by: Callable[[Load], float]) -> Load:
        """The one with the least of it. Raises Saturated: none was sustained, or events are missing."""
        loads = []
        for _ in range(rounds.count):
            load = self.load(max(2, int(rate * rounds.seconds)), rate)
            if not load.is_whole:
                raise Saturated(load)  # what is under way would be counted with the next
            loads.append(load)
        sustained = [load for load in loads if not load.maybe_why()]
        if not sustained:
            raise Saturated(max(loads, key=lambda load: load.received.rate))
        return min(sustained, key=by)

    def load(self, count: int, rate: float) -> Load:
        server = self._server
        sends, before_s, cpu_s = self._sends(), _cpu_s(server.before), _cpu_s(server.costs)
        first = self._published + 1
        self._published += count
        deadline_s = count / rate + stream.LATE_MAX_S + PATIENCE_S
        self._browsers.tell(crowd.Read(self._published, deadline_s, self._pause_s))
        published = server.publish(stream.Publish(self._topic, first, count, rate))
        received = self._browsers.answer(crowd.Received)
        cpu_s, before_s = _cpu_s(server.costs) - cpu_s, _cpu_s(server.before) - before_s
        return Load(
            clients=self._clients,
            asked=count,
            rate=rate,
            published=published,
            received=received,
            cpu_s=cpu_s if server.costs else None,
            before_cpu_s=before_s if server.before else None,
            sends=self._sends() - sends if server.counts else None,
        )

    def _sends(self) -> float:
        return sum(each.metric("penstock_sends_total") for each in self._server.counts)


def _cpu_s(costs: Costs | None) -> float:
    return costs.cpu_s() if costs else 0.0


@contextmanager
def staged(server: Server, topic: str, clients: int, pause_s: float = LOOK_EVERY_S) -> Iterator[Stage]:
    # Another one each time: what is still under way from before is not among what is counted.
    topic = f"{topic}/{secrets.token_hex(2)}"
    with program("deploy.load.crowd") as browsers:
        connect = Connect(server.host, server.port, clients, server.dialect, topic)
        browsers.ask(connect, Done)
        browsers.ask(crowd.Subscribe(topic), Done)
        yield Stage(server, browsers, topic, clients, pause_s)
