"""A sine to look at: topic `graph`, 20 points a second, 4 while nobody looks."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence

import click

from broker.settings import load
from producer.publisher import Publisher
from producer.service import run, stream
from producer.settings import ProducerSettings

TOPIC = "graph"
# While nobody watches, one point in so many: enough for whoever comes to see a sine before him.
IDLE_STEP = 5


def point(now_ms: float) -> dict[str, float]:
    """The curve at `now_ms`, milliseconds since the Unix epoch: y from 0 to 5, a period of 3.14 s."""
    return {"x": now_ms, "y": 2.5 * (1 + math.sin(now_ms / 500))}


class Curve:
    """Each point of it while somebody watches, else one of IDLE_STEP."""

    def __init__(self, *, asks: bool) -> None:
        """Without `asks` somebody always watches."""
        self._asks = asks
        self._left_out = 0

    def sample(self, publisher: Publisher) -> list[tuple[str, object]]:
        self._left_out += 1
        if self._left_out < IDLE_STEP and self._asks and not publisher.watched(TOPIC):
            return []
        self._left_out = 0
        return [(TOPIC, point(time.time_ns() // 1_000_000))]


@click.command("demo")
@click.option("--ingest", metavar="ADDRESS", help="The broker's address for streams.")
def command(ingest: str | None) -> int:
    """Publish a moving sine on the topic graph."""
    settings = load(ProducerSettings, "producer", env=os.environ, overrides={"ingest": ingest})
    usual = ProducerSettings()
    # Of another broker whose feed was not named it is not known who watches.
    curve = Curve(asks=settings.ingest == usual.ingest or settings.feed != usual.feed)
    return stream("demo", settings, settings.demo_interval_s, curve.sample)


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
