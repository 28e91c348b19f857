"""What the servers here share: a hub that no broker feeds, an edge, and a life of one process."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import gevent
from gevent.event import Event

from broker.logs import log_to_stderr, say
from gateway.edge import EdgeServer
from gateway.forms import Form
from gateway.hub import Hub
from gateway.later import Later
from gateway.listener import listen
from gateway.ring import Ring
from gateway.socketio.clients import Clients, Make
from gateway.socketio.engine import Over
from gateway.socketio.forms import PacketForm
from gateway.socketio.http import SocketIO
from gateway.socketio.limits import Limits
from gateway.upgrade import Refusal, Upgrade
from gateway.wheel import Wheel
from tests.support.flow import PlayedLog, PlayedPublishing

# Of the public suites for Engine.IO and Socket.IO.
SUITE = Limits(
    ping_interval_s=0.3,
    ping_timeout_s=0.2,
    message_max_bytes=1_000_000,
    messages_per_s=100_000,
    connect_s=1.0,
    ends_on_two_polls=True,
)
# Who sends frames only to have them back is no flood here.
ANY_NUMBER = 1e9


class Base:
    """The parts of a gateway that a connection needs."""

    def __init__(self) -> None:
        self.later = Later()
        self.wheel = Wheel(messages_per_s=ANY_NUMBER)
        self.hub = Hub(
            Ring(1 << 20),
            PlayedLog(),
            self.later,
            time.time,
            publishing=PlayedPublishing(),
            limits={"subscriptions": 0, "history": 0},
        )
        self.turning = gevent.get_hub().loop.timer(self.wheel.tick_s, self.wheel.tick_s)
        self.turning.start(self.wheel.tick)


def nothing_here(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("404 Not Found", [("Content-Length", "0")])
    return [b""]


def options() -> argparse.Namespace:
    """The times are for tests that have more of it, or want it over sooner."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ping-interval-s", type=float, default=SUITE.ping_interval_s)
    parser.add_argument("--ping-timeout-s", type=float, default=SUITE.ping_timeout_s)
    parser.add_argument("--connect-s", type=float, default=SUITE.connect_s)
    return parser.parse_args()


def serve(name: str, port: int, make: Callable[[Any], EdgeServer]) -> None:
    """Until SIGTERM. `make` gets the listening socket."""
    log_to_stderr()
    listener = listen("127.0.0.1", port, reuse=False, setting="--port")
    server = make(listener)
    stopping = Event()
    gevent.signal_handler(signal.SIGTERM, stopping.set)
    gevent.signal_handler(signal.SIGINT, stopping.set)
    server.start()
    say(f"ready {name} http://127.0.0.1:{listener.getsockname()[1]}")
    stopping.wait()
    server.stop()


def serve_clients(name: str, make: Make, path: str) -> None:
    """Clients of Engine.IO at `path`, and nothing else."""
    base, wanted = Base(), options()
    limits = SUITE._replace(
        ping_interval_s=wanted.ping_interval_s,
        ping_timeout_s=wanted.ping_timeout_s,
        connect_s=wanted.connect_s,
    )
    clients = Clients(base.hub, base.wheel, make, gateway_id="00", limits=limits, later=base.later)
    paths = (path, path.rstrip("/"))
    socketio = SocketIO(clients, admit=lambda: None, greet=lambda client: None, origins=(), paths=paths)

    def admit(upgrade: Upgrade) -> Refusal | None:
        if upgrade.path in paths:
            return socketio.admit(upgrade)
        return Refusal(HTTPStatus.NOT_FOUND, "not_found", f"WebSockets are at {path}")

    serve(
        name,
        wanted.port,
        lambda listener: EdgeServer(
            listener, socketio.over(nothing_here), adopt=socketio.adopt, admit=admit, polls=socketio
        ),
    )


def form_of(clients: Clients, fd: int | None) -> PacketForm:
    """Of a new client."""
    return clients.form_of(clients.hub.interest(frozenset()), Over.POLLING if fd is None else Over.WEBSOCKET)


def frames_form() -> Form:
    """What is told is whole frames already."""
    return Form("frames", lambda event: b"", None, b"".join)
