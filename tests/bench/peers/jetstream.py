"""JetStream: NATS with a log on disk, published to with acknowledgements."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.load.program import Program, program
from tests.bench.peers.peer import command, running
from tests.support.ports import reserved_ports


@contextmanager
def jetstream() -> Iterator[tuple[int, Program]]:
    """The server's pid, and a producer that has made a stream there, stored in files."""
    name = command("nats-server")
    with reserved_ports(1) as (port,), tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        settings = {"listen": f"127.0.0.1:{port}", "jetstream": {"store_dir": f"{folder}/jetstream"}}
        config = Path(folder, "nats.conf")  # which may be JSON
        config.write_text(json.dumps(settings))
        with (
            running("nats-server", [name, "-c", str(config)], Path(folder), port) as pid,
            program("tests.bench.peers.jetstream_producer", str(port)) as producer,
        ):
            yield pid, producer
