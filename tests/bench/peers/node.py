"""Servers under Node: ws, and Socket.IO over WebSocket; neither compresses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.load.dialect import SOCKET_IO, Dialect
from deploy.load.server import Processes, Server
from tests.bench.peers.dialects import PLAIN
from tests.bench.peers.peer import HERE, LeftOut, command, producer, running
from tests.support.ports import reserved_ports

NODE_MODULES = HERE / "node_modules"


@contextmanager
def ws() -> Iterator[Server]:
    with _serving("ws", "ws", "serve_ws.mjs", PLAIN) as server:
        yield server


@contextmanager
def socket_io() -> Iterator[Server]:
    with _serving("socket.io", "socket.io", "serve_socket_io.mjs", SOCKET_IO) as server:
        yield server


@contextmanager
def _serving(name: str, package: str, script: str, dialect: Dialect) -> Iterator[Server]:
    program = command("node")
    if not (NODE_MODULES / package).exists():
        raise LeftOut(f"{package} is not installed: make peers")
    with reserved_ports(2) as (port, lines), tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        args = [program, str(HERE / script), str(port), str(lines)]
        with running(name, args, Path(folder), port) as pid, producer("lines", lines) as publish:
            yield Server(name, port, dialect, publish, Processes((pid,)))
