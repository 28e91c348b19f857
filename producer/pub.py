"""One event, confirmed: `penstock pub room/temperature '{"celsius": 20.5}'`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from broker.errors import BadTopic, NotConfirmed
from broker.settings import load
from producer.payload import content_of
from producer.publisher import Publisher, check_publishable
from producer.service import run
from producer.settings import ProducerSettings

EXIT_UNREACHABLE = 69


@click.command("pub")
@click.argument("topic")
@click.argument("data", default="-")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    help="Seconds for the confirmation.",
)
@click.option("--control", metavar="ADDRESS", help="The broker's control port.")
def command(topic: str, data: str, wait_s: float, control: str | None) -> int:
    """Publish one event, and print its position once it is in the log.

    DATA is JSON, or else text; - is standard input, all of it.
    """
    settings = load(ProducerSettings, "producer", env=os.environ, overrides={"control": control})
    try:
        check_publishable(topic)
    except BadTopic as error:
        raise click.BadParameter(str(error), param_hint="TOPIC") from None
    payload = sys.stdin.buffer.read() if data == "-" else os.fsencode(data)
    publisher = Publisher(
        confirm=True, control=settings.control, payload_max_bytes=settings.payload_max_bytes
    )
    try:
        click.echo(publisher.publish(topic, payload, content=content_of(payload)).result(wait_s))
    except NotConfirmed as error:
        click.echo(f"pub: {error}; it may be in the log or not", err=True)
        return EXIT_UNREACHABLE
    finally:
        publisher.close(0, warns=False)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
