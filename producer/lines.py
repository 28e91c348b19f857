"""Whatever is piped in, one event a line: `tail -f access.log | python -m producer.lines`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from broker.errors import BadSetting, BadTopic
from broker.logs import say
from broker.settings import load
from producer.publisher import Publisher, check_publishable
from producer.pump import HIGH_WATER, LOOK_UP_S, ConfirmedPump, Pump, complain
from producer.service import EXIT_FAILURE, run
from producer.settings import ProducerSettings
from producer.signals import Signals


@click.command("lines")
@click.option("--topic", default="lines", show_default=True, help="Where the lines go.")
@click.option("--confirm", is_flag=True, help="Hold each line until the broker says that it is in the log.")
@click.option("--ingest", metavar="ADDRESS", help="The broker's address for what matters.")
@click.option("--control", metavar="ADDRESS", help="With --confirm, the broker's control port.")
def command(topic: str, confirm: bool, ingest: str | None, control: str | None) -> int:
    """Publish what is piped in, one event a line: JSON where a line is JSON, else text.

    Waits while the broker is slow or away. Exit code 1 if a line was over the limit, or was refused.
    """
    if (ingest if confirm else control) is not None:
        raise BadSetting("--ingest goes without --confirm, --control with it")
    flags = {"push": ingest, "control": control}
    settings = load(ProducerSettings, "producer", env=os.environ, overrides=flags)
    try:
        check_publishable(topic)
    except BadTopic as error:
        raise click.BadParameter(str(error), param_hint="--topic") from None
    publisher = Publisher(
        None if confirm else settings.push,
        wait=not confirm,
        confirm=confirm,
        control=settings.control if confirm else None,
        wait_s=LOOK_UP_S,
        high_water=HIGH_WATER,
        payload_max_bytes=settings.payload_max_bytes,
        close_s=settings.close_s,
    )
    with Signals() as signals:
        say(f"ready lines {'control' if confirm else 'ingest'}={publisher.ingest}")
        kind = ConfirmedPump if confirm else Pump
        pump = kind(publisher, topic, settings.payload_max_bytes, signals)
        pump.run()
        all_went = pump.close(settings.close_s)
    if signals.received and (unsent := pump.unsent(all_went)):
        complain(f"stopped: {unsent}")
    if signals.received:
        return signals.exit_code
    return EXIT_FAILURE if pump.refused or publisher.dropped else 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
