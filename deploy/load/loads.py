"""What is asked of a server, one load after the other, and the figures that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from deploy.load import crowd, names
from deploy.load.browsers import Connect, Done
from deploy.load.figure import Figure
from deploy.load.names import FANOUT_CLIENTS, LATENCY_CLIENTS, LATENCY_RATE, idling, streamed
from deploy.load.program import program
from deploy.load.server import Server
from deploy.load.stage import Load, Rounds, Saturated, staged

WARM_UP_CONNECTIONS = 10  # before the count begins: what is loaded or made once is no connection's

Opening = Callable[[], AbstractContextManager[Server]]
Found = Sequence[Figure]  # of one server under one load


def fanout(
    opening: Opening, topic: str, rates: Sequence[int], rounds: Rounds, clients: int = FANOUT_CLIENTS
) -> Iterator[Found]:
    """All on one topic, at rising rates. After the first that is not sustained there is no other. What was
    delivered at most, at whichever of them, comes last.
    """
    left = list(rates)
    may_fail = True  # once: something else may have held the machine
    tried: list[Load] = []
    while left:
        with opening() as server, staged(server, topic, clients) as stage:
            while left:
                try:
                    load = stage.best(left[0], rounds, by=cost)
                except Saturated as error:
                    if may_fail:
                        may_fail = False
                        break  # what is under way would be counted with the next
                    tried.append(error.load)
                    for rate in left:
                        what = streamed(clients, rate)
                        yield saturated(what, server, str(error))
                    left.clear()
                    break
                may_fail = True
                tried.append(load)
                yield sustained(streamed(clients, left.pop(0)), server, load)
    yield most(names.most(clients), server, tried)


def cost(load: Load) -> float:
    """What is compared between loads at the same rate."""
    return load.received.p99_ms if load.cpu_s is None else load.cpu_s


def sustained(what: str, server: Server, load: Load) -> Found:
    return list(_figures("fanout", what, server, load))


def saturated(what: str, server: Server, why: str) -> Found:
    """The rate was not sustained."""
    return [_figure("fanout", what, server, names.CPU, "µs", None, why)]


def most(what: str, server: Server, tried: Sequence[Load]) -> Found:
    """What was delivered at most, of loads at several rates."""
    delivered = max(load.delivered_per_s for load in tried)
    found = [_figure("most", what, server, names.DELIVERED, "a second", delivered)]
    if server.costs:
        by_a_core = max(load.delivered_by_a_core for load in tried)
        found.append(_figure("most", what, server, names.A_CORE, "a second", by_a_core))
    return found


def latency(
    opening: Opening, topic: str, rounds: Rounds, clients: int = LATENCY_CLIENTS, rate: int = LATENCY_RATE
) -> Iterator[Found]:
    """From the producer's call to the browser's read, which waits for it."""
    what = streamed(clients, rate)
    with opening() as server, staged(server, topic, clients, pause_s=0) as stage:
        try:
            received = stage.best(rate, rounds, by=lambda load: load.received.p99_ms).received
        except Saturated as saturated:
            yield [_figure("latency", what, server, names.P50, "ms", None, str(saturated))]
            return
        yield [
            _figure("latency", what, server, names.P50, "ms", received.p50_ms),
            _figure("latency", what, server, names.P99, "ms", received.p99_ms),
        ]


def idle(opening: Opening, topic: str, connections: int, *, own: bool = False) -> Iterator[Found]:
    """What it costs to hold connections that subscribe and then wait; with `own` each to another topic."""
    what = idling(connections, own=own)
    with opening() as server, program("deploy.load.crowd") as first, program("deploy.load.crowd") as browsers:
        costs = server.costs
        if costs is None:
            return

        def connect(count: int) -> Connect:
            return Connect(server.host, server.port, count, server.dialect, topic)

        first.ask(connect(WARM_UP_CONNECTIONS), Done)
        first.ask(crowd.Subscribe(topic, own), Done)
        memory, began_s = costs.memory_bytes(), costs.cpu_s()
        browsers.ask(connect(connections), Done)
        connected_s = costs.cpu_s()
        browsers.ask(crowd.Subscribe(topic, own), Done)
        subscribed_s = costs.cpu_s()
        each = (costs.memory_bytes() - memory) / connections
        connect_us = (connected_s - began_s) / connections * 1e6
        found = [
            _figure("idle", what, server, names.MEMORY, "bytes", each),
            _figure("idle", what, server, names.CPU_CONNECT, "µs", connect_us),
        ]
        if server.dialect.subscribe:
            subscribe_us = (subscribed_s - connected_s) / connections * 1e6
            found.append(_figure("idle", what, server, names.CPU_SUBSCRIBE, "µs", subscribe_us))
        yield found


def _figures(bench: str, what: str, server: Server, load: Load) -> Iterator[Figure]:
    def figure(name: str, value: float, unit: str) -> Figure:
        return _figure(bench, what, server, name, unit, value)

    if load.cpu_s is not None:
        yield figure(names.CPU, load.cpu_s / load.deliveries * 1e6, "µs")
        if load.before_cpu_s is not None:
            both_s = load.cpu_s + load.before_cpu_s
            yield figure(names.CPU_WITH_BROKER, both_s / load.deliveries * 1e6, "µs")
        yield figure(names.SHARE, load.cpu_s / load.took_s * 100, "%")
    yield figure(names.DELIVERED, load.delivered_per_s, "a second")
    yield figure(names.P50, load.received.p50_ms, "ms")
    yield figure(names.P99, load.received.p99_ms, "ms")
    if load.sends:
        yield figure(names.A_SEND, load.deliveries / load.sends, "")
        yield figure(names.INTERVAL, load.published.took_s * load.clients / load.sends * 1e3, "ms")


def _figure(
    bench: str, load: str, server: Server, name: str, unit: str, value: float | None, why: str = ""
) -> Figure:
    return Figure(bench=bench, load=load, server=server.name, name=name, unit=unit, value=value, why=why)
