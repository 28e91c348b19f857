"""A gateway that has sessions and nothing else: who answers says so. A program for tests.

    python -m tests.support.handing --id 01 --port 8000 --folder /tmp/sockets

It is the edge and the hand-over of a real one; its application says by its id who answered, with the path
and what the body was. `/counts` says, as JSON, what has been handed over, refused, and told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from broker.logs import log_to_stderr, say
from gateway.edge import EdgeServer
from gateway.handover import Handover
from gateway.listener import listen
from gateway.upgrade import Upgrade

ORIGIN = "https://page.example"


class Handing:
    """One of them. `start`, then `run` until `stop`."""

    def __init__(self, gateway_id: str, port: int, folder: Path) -> None:
        listeners = [listen("127.0.0.1", wanted, reuse=True, setting="PORT") for wanted in (port, 0)]
        self.id = gateway_id
        self.ports = [listener.getsockname()[1] for listener in listeners]
        self.told: list[str] = []
        self._stopping = Event()
        self.handover = Handover(
            gateway_id,
            [folder],
            resume=lambda *found: self.servers[0].resume(*found),
            on_lost=lambda *found: self.servers[0].lose_session(*found),
            note=lambda *found: self.servers[0].note(*found),
            on_told=lambda data: self.told.append(data.decode()),
        )
        self.servers = [
            EdgeServer(
                listener,
                self._application,
                adopt=self._adopt,
                admit=lambda upgrade: None,
                origins=[ORIGIN],
                handover=self.handover,
            )
            for listener in listeners
        ]

    def start(self) -> None:
        self.handover.start()
        for server in self.servers:
            server.start()

    def run(self) -> None:
        self._stopping.wait()
        self.close()

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        self.handover.close()
        for server in self.servers:
            server.stop()

    @property
    def refused(self) -> dict[str, int]:
        return dict(sum((server.tally.counts for server in self.servers), Counter[str]()))

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, body = environ["PATH_INFO"], environ["wsgi.input"].read()
        if path == "/tell":
            self.handover.tell_all(body)
        if path == "/leave":
            for server in self.servers:
                server.leave()
        if path == "/counts":
            answer = {**self.handover.counts, "refused": self.refused, "told": self.told, "pid": os.getpid()}
        else:
            digest = hashlib.sha256(body).hexdigest() if body else ""
            query, peer = environ["QUERY_STRING"], environ["REMOTE_ADDR"]
            answer = {"by": self.id, "query": query, "peer": peer, "size": len(body), "sha256": digest}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def _adopt(self, fd: int, upgrade: Upgrade, head: bytes, early: bytes) -> None:
        """Says who it is in one frame, and what came early in another; then it is over."""
        frames = b"".join(bytes([0x81, len(text)]) + text for text in (self.id.encode(), early))
        os.write(fd, head + frames)
        socket.close(fd)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    log_to_stderr()
    handing = Handing(options.id, options.port, options.folder)
    gevent.signal_handler(signal.SIGTERM, handing.stop)
    handing.start()
    shared, own = (f"http://127.0.0.1:{port}" for port in handing.ports)
    say(f"ready handing[{options.id}] {shared} own={own}")
    handing.run()


if __name__ == "__main__":
    main()
