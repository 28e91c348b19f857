"""`penstock bench`: the loads on a set that runs already. Bounded in count and time, and it says what it did.

Its events go where all events go: on a topic of its own below `bench`, into the log, until retention
lets them go.
"""

from __future__ import annotations

import secrets
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

from deploy.load import loads
from deploy.load.dialect import PENSTOCK
from deploy.load.errors import Unreachable
from deploy.load.figure import Figure, line
from deploy.load.loads import Found
from deploy.load.program import program
from deploy.load.server import Admin, Costs, Server, Together
from deploy.load.stage import Rounds
from deploy.load.stream import Publish, Published

ROUNDS = 3
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    """Where a set listens."""

    url: str  # a gateway
    push: str
    gateways: tuple[str, ...]  # admin ports of those that the browsers come to
    broker: str  # admin port

    @contextmanager
    def server(self) -> Iterator[Server]:
        """Raises Unreachable."""
        if not _answers(f"{self.url}/api/status"):
            raise Unreachable("gateway", self.url, "--url")
        parts = urlsplit(self.url)
        # Admin ports are on loopback unless configured: from elsewhere there is no CPU and no memory.
        known = tuple(Admin(url) for url in self.gateways if _answers(f"{url}/metrics"))
        broker = Admin(self.broker) if _answers(f"{self.broker}/metrics") else None
        costs: Costs | None = Together(known) if len(known) == len(self.gateways) else None
        with program("deploy.load.stream", self.push) as producer:

            def publish(request: Publish) -> Published:
                published = producer.ask(request, Published)
                if not published.count:
                    raise Unreachable("broker", self.push, "--push")
                return published

            yield Server(
                name="penstock",
                host=parts.hostname or "127.0.0.1",
                port=parts.port or 80,
                dialect=PENSTOCK,
                publish=publish,
                costs=costs,
                before=broker,
                counts=known if costs else (),
            )


def bench(
    running: Running,
    parts: Sequence[str],
    *,
    clients: int,
    rates: Sequence[int],
    seconds: float,
    connections: int,
    say: Callable[[str], None],
) -> list[Figure]:
    """What was found, said as it comes. Raises Unreachable."""
    topic = f"bench/{secrets.token_hex(4)}"
    rounds = Rounds(ROUNDS, seconds)
    loaded: dict[str, Callable[[], Iterator[Found]]] = {
        "fanout": lambda: loads.fanout(running.server, topic, rates, rounds, clients),
        "latency": lambda: loads.latency(running.server, f"{topic}/latency", rounds),
        "idle": lambda: loads.idle(running.server, f"{topic}/idle", connections),
    }
    figures: list[Figure] = []
    for part in parts:
        for found in loaded[part]():
            figures += found
            say(line(found))
    return figures


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, HTTPException):
        return False
