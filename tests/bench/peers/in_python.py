"""Servers under Python, in an environment of their own: uWebSockets by way of socketify, and python-socketio.

Both without compression. uWebSockets publishes to its own topics; python-socketio runs under gevent,
in which it takes less than half of the CPU that it takes under asyncio and aiohttp.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.load.dialect import SOCKET_IO
from deploy.load.server import Processes, Server
from tests.bench.peers.dialects import PLAIN
from tests.bench.peers.peer import HERE, LeftOut, producer, running
from tests.support.ports import reserved_ports
from tests.support.processes import REPO

PYTHON = REPO / ".venv" / "peers" / "bin" / "python"


@contextmanager
def socketify() -> Iterator[Server]:
    python = _python_with("socketify")
    with reserved_ports(1) as (port,), tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        args = [python, "-P", str(HERE / "serve_socketify.py"), str(port)]
        with running("socketify", args, Path(folder), port) as pid, producer("frames", port) as publish:
            yield Server("socketify", port, PLAIN, publish, Processes((pid,)))


@contextmanager
def python_socketio() -> Iterator[Server]:
    python = _python_with("socketio")
    with reserved_ports(2) as (port, lines), tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        args = [python, "-P", str(HERE / "serve_python_socketio.py"), str(port), str(lines)]
        with running("python-socketio", args, Path(folder), port) as pid, producer("lines", lines) as publish:
            yield Server("python-socketio", port, SOCKET_IO, publish, Processes((pid,)))


def _python_with(package: str) -> str:
    """The interpreter. Raises LeftOut."""
    if not PYTHON.exists():
        raise LeftOut(f"{package} is not installed: make peers")
    imported = subprocess.run([PYTHON, "-P", "-c", f"import {package}"], stderr=subprocess.PIPE, text=True)
    if imported.returncode:
        raise LeftOut(f"{package} cannot be imported: {imported.stderr.strip().splitlines()[-1]}")
    return str(PYTHON)
