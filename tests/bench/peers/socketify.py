"""uWebSockets, by way of socketify: its own publish to a topic, no compression."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.load.dialect import Dialect, Step, upgrade
from deploy.load.server import Processes, Server
from tests.bench.peers.peer import HERE, producer, python_with, running
from tests.support.ports import reserved_ports

DIALECT = Dialect(
    request=upgrade("/"),
    greeting=(Step("", "\r\n\r\n"),),
    subscribe=Step("+{topic}", "ok"),
    unsubscribe=Step("-{topic}", "ok"),
)


@contextmanager
def socketify() -> Iterator[Server]:
    python = python_with("socketify")
    with reserved_ports(1) as (port,), tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        args: list[str | Path] = [python, "-P", HERE / "serve_socketify.py", str(port)]
        with running("socketify", args, Path(folder), port) as pid, producer("frames", port) as publish:
            yield Server("socketify", port, DIALECT, publish, Processes((pid,)))
