"""How large the loads are, and what they and their figures are called. Pure."""

from __future__ import annotations

FANOUT_CLIENTS = 1_000
FANOUT_RATES = (20, 200, 1_000, 2_000, 4_000)  # events a second
LATENCY_CLIENTS, LATENCY_RATE = 100, 1_000
IDLE_CONNECTIONS = 10_000

CPU, CPU_WITH_BROKER = "CPU a delivery", "CPU a delivery with the broker's"
SHARE, DELIVERED, P50, P99 = "of a core", "delivered", "p50", "p99"
A_CORE = "delivered by a core"
A_SEND, INTERVAL = "deliveries a send", "between flushes"
MEMORY, CPU_CONNECT, CPU_SUBSCRIBE = "memory each", "CPU a connect", "CPU a subscribe"
CONFIRMED, CPU_EVENT = "confirmed", "CPU an event"


def streamed(clients: int, rate: int) -> str:
    return f"{clients:,} clients, {rate:,}/s"


def most(clients: int) -> str:
    return f"{clients:,} clients, at most"


def idling(connections: int, *, own: bool = False) -> str:
    return f"{connections:,} idle, {'a topic each' if own else 'one topic'}"
