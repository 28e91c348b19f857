"""Penstock itself as a bench loads it, and the floor below it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.load.dialect import PENSTOCK
from deploy.load.program import program
from deploy.load.server import Admin, Processes, Server
from deploy.load.stream import Publish, Published
from tests.bench import floor
from tests.support import processes

NAME, FLOOR = "penstock", "floor"


@contextmanager
def penstock(**settings: object) -> Iterator[Server]:
    """A broker with these settings, a gateway and a producer."""
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
        processes.broker(Path(folder), **settings) as broker,
        processes.gateway(Path(folder), broker) as gateway,
        program("deploy.load.stream", broker.address["push"]) as producer,
    ):
        yield Server(
            name=NAME,
            port=port(gateway.address["own"]),
            dialect=PENSTOCK,
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
