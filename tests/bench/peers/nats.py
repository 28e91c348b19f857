"""NATS with its WebSocket listener: no TLS, no compression."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.load.dialect import Dialect, Step, upgrade
from deploy.load.server import Processes, Server
from tests.bench.peers.peer import command, producer, running
from tests.support.ports import reserved_ports

DIALECT = Dialect(
    request=upgrade("/"),
    greeting=(
        Step("", "INFO {"),
        Step('CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n', "PONG\r\n"),
    ),
    subscribe=Step("SUB {topic} {id}\r\nPING\r\n", "PONG\r\n"),
    unsubscribe=Step("UNSUB {id}\r\nPING\r\n", "PONG\r\n"),
)


@contextmanager
def nats() -> Iterator[Server]:
    program = command("nats-server")
    with reserved_ports(2) as (port, web), tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        settings = {
            "listen": f"127.0.0.1:{port}",
            "max_connections": 65536,
            "ping_interval": "10m",  # the crowd answers none
            "websocket": {"listen": f"127.0.0.1:{web}", "no_tls": True, "compression": False},
        }
        config = Path(folder, "nats.conf")  # which may be JSON
        config.write_text(json.dumps(settings))
        with (
            running("nats-server", [program, "-c", str(config)], Path(folder), web) as pid,
            producer("nats", port) as publish,
        ):
            yield Server("nats", web, DIALECT, publish, Processes((pid,)))
