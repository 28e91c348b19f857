"""What Penstock wants to reach, beside the others and by itself."""

from __future__ import annotations

from deploy.load.names import (
    A_CORE,
    CONFIRMED,
    CPU,
    CPU_CONNECT,
    DELIVERED,
    FANOUT_CLIENTS,
    FANOUT_RATES,
    IDLE_CONNECTIONS,
    LATENCY_CLIENTS,
    LATENCY_RATE,
    MEMORY,
    P50,
    P99,
    idling,
    most,
    streamed,
)
from tests.bench import topics
from tests.bench.comparison import Target
from tests.bench.ours import RAW_NAME, SOCKET_IO_NAME

TAKEN_IN, REPLAYED = "taken in", "replayed"
P99_MEANWHILE = "p99 of a live topic meanwhile"
REPLAYED_EVENTS = 1_000_000

_LATENCY = streamed(LATENCY_CLIENTS, LATENCY_RATE)
_IDLE = idling(IDLE_CONNECTIONS)
_MOST = most(FANOUT_CLIENTS)


def _fanout(rate: int) -> str:
    return streamed(FANOUT_CLIENTS, rate)


def taken_in(durability: str) -> str:
    return f"one producer, `{durability}`"


def confirmed_at(durability: str) -> str:
    return f"one producer, confirmed, `{durability}`"


def replayed(events: int) -> str:
    return f"{events:,} events to one client"


TARGETS = (
    *(Target("fanout", _fanout(rate), CPU, "nats", at_most=0.55) for rate in FANOUT_RATES),
    *(Target("fanout", _fanout(rate), CPU, "socketify", at_most=0.6) for rate in FANOUT_RATES),
    Target("fanout", _fanout(20), CPU, "floor", at_most=1.6),
    # Four million, less the percent by which a producer misses its rate.
    Target("fanout", _fanout(4_000), DELIVERED, at_least=3_960_000),
    Target("latency", _LATENCY, P50, at_most=1),
    Target("latency", _LATENCY, P99, at_most=5),
    Target("latency", streamed(FANOUT_CLIENTS, LATENCY_RATE), P99, at_most=25),
    Target("idle", _IDLE, MEMORY, at_most=1_200),
    Target("idle", _IDLE, CPU_CONNECT, at_most=200),
    Target("topics", topics.LOAD, CPU, at_most=8),
    Target("ingest", taken_in("process"), TAKEN_IN, at_least=100_000),
    Target("ingest", taken_in("memory"), TAKEN_IN, at_least=150_000),
    Target("confirmed", confirmed_at("process"), CONFIRMED, "nats", at_least=1),
    Target("replay", replayed(REPLAYED_EVENTS), REPLAYED, at_least=200_000),
    # Beyond 2,000 a second it is the bytes: twice as many, in writes that are large.
    *(
        Target("fanout", _fanout(rate), CPU, RAW_NAME, at_most=1.2, of=SOCKET_IO_NAME)
        for rate in FANOUT_RATES
        if rate <= 2_000
    ),
    Target("most", _MOST, A_CORE, "socket.io", at_least=10, of=SOCKET_IO_NAME),
    Target("most", _MOST, A_CORE, "python-socketio", at_least=30, of=SOCKET_IO_NAME),
    Target("idle", _IDLE, MEMORY, at_most=1_800, of=SOCKET_IO_NAME),
)
