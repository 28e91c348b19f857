"""A sine to look at: topic `graph`, 20 points a second."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence

import click

from broker.settings import load
from producer.service import run, stream
from producer.settings import ProducerSettings

TOPIC = "graph"


def point(now_ms: float) -> dict[str, float]:
    """The curve at `now_ms`, milliseconds since the Unix epoch: y from 0 to 5, a period of 3.14 s."""
    return {"x": now_ms, "y": 2.5 * (1 + math.sin(now_ms / 500))}


@click.command("demo")
@click.option("--ingest", metavar="ADDRESS", help="The broker's address for streams.")
def command(ingest: str | None) -> int:
    """Publish a moving sine on the topic graph."""
    settings = load(ProducerSettings, "producer", env=os.environ, overrides={"ingest": ingest})
    return stream(
        "demo", settings, settings.demo_interval_s, lambda: [(TOPIC, point(time.time_ns() // 1_000_000))]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
