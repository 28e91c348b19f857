"""What a delivery costs: a thousand browsers on one topic, at rising rates, and the floor below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.stage import floor_stage, gateway_stage

CLIENTS = 1_000
# Events a second, and µs of gateway CPU that a delivery may take.
RATES = ((20, 8.0), (200, None), (1_000, 1.2), (2_000, None), (4_000, None))
FLOOR_RATE = 20
LATENCY_CLIENTS, LATENCY_RATE = 100, 1_000


def fanout(folder: Path) -> Iterator[Figure]:
    with gateway_stage(folder, CLIENTS) as stage:
        for rate, at_most in RATES:
            load = stage.cheapest(rate)
            took_s = load.received.took_s
            what = f"{CLIENTS:,} clients, {rate:,}/s"
            yield Figure(
                bench="fanout", name=f"{what}: CPU a delivery", value=load.cpu_us, unit="µs", at_most=at_most
            )
            delivered = load.deliveries / took_s
            yield Figure(bench="fanout", name=f"{what}: delivered", value=delivered, unit="deliveries/s")
            share = load.cpu_s / took_s * 100
            yield Figure(bench="fanout", name=f"{what}: gateway's share of a core", value=share, unit="%")
            yield Figure(bench="fanout", name=f"{what}: p99", value=load.received.p99_ms, unit="ms")


def latency(folder: Path) -> Iterator[Figure]:
    """From the producer's call to the browser's read."""
    with gateway_stage(folder, LATENCY_CLIENTS, pause_s=0) as stage:
        received = stage.cheapest(LATENCY_RATE).received
        what = f"{LATENCY_CLIENTS} clients, {LATENCY_RATE:,}/s"
        yield Figure(bench="latency", name=f"{what}: p50", value=received.p50_ms, unit="ms")
        yield Figure(bench="latency", name=f"{what}: p99", value=received.p99_ms, unit="ms")


def python_floor(folder: Path) -> Iterator[Figure]:
    """One write a delivery, and nothing else: what the kernel takes for it."""
    with floor_stage(CLIENTS) as stage:
        name = f"{CLIENTS:,} clients, {FLOOR_RATE}/s: CPU a write"
        yield Figure(bench="floor", name=name, value=stage.cheapest(FLOOR_RATE).cpu_us, unit="µs")
