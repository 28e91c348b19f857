"""Penstock itself as a bench loads it, spoken to in three ways, and the floor below it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.load.dialect import PENSTOCK, RAW, SOCKET_IO, Dialect
from deploy.load.program import program
from deploy.load.server import Admin, Processes, Server
from deploy.load.stream import Publish, Published
from tests.bench import floor
from tests.support import processes

NAME, RAW_NAME, SOCKET_IO_NAME, FLOOR = "penstock", "penstock-raw", "penstock-socketio", "floor"
HEARTBEAT_S = 600  # as of the others: the crowd answers none


@contextmanager
def penstock(**settings: object) -> Iterator[Server]:
    """A broker with these settings, a gateway and a producer."""
    with _serving(NAME, PENSTOCK, settings) as server:
        yield server


@contextmanager
def penstock_raw() -> Iterator[Server]:
    """The same, whose browsers take the payloads of `/raw/<topic>`."""
    with _serving(RAW_NAME, RAW, {}) as server:
        yield server


@contextmanager
def penstock_socket_io() -> Iterator[Server]:
    """The same, whose browsers speak Socket.IO over WebSocket alone."""
    with _serving(SOCKET_IO_NAME, SOCKET_IO, {}) as server:
        yield server


@contextmanager
def _serving(name: str, dialect: Dialect, settings: Mapping[str, object]) -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        processes.broker(Path(folder), **settings) as broker,
        processes.gateway(
            Path(folder), broker, ping_interval_s=HEARTBEAT_S, polling_sessions_per_address_max=100_000
        ) as gateway,
        program("deploy.load.stream", broker.address["push"]) as producer,
    ):
        yield Server(
            name=name,
            port=port(gateway.address["own"]),
            dialect=dialect,
            publish=lambda request: producer.ask(request, Published),
            costs=Processes((gateway.pid,)),
            before=Processes((broker.pid,)),
            counts=(Admin(gateway.address["admin"]),),
        )


@contextmanager
def python_floor() -> Iterator[Server]:
    """A process that only writes."""
    with program("tests.bench.floor") as server:

        def publish(request: Publish) -> Published:
            return server.ask(request, Published)

        yield Server(
            name=FLOOR,
            port=server.ask(floor.Listen(), floor.Port).port,
            dialect=PENSTOCK,
            publish=publish,
            costs=Processes((server.pid,)),
        )


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
