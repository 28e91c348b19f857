"""What the ready-made sources share as processes: command, ready line, loop at an interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import click
from setproctitle import setproctitle

from broker.errors import BadSetting, PenstockError
from broker.logs import log_to_stderr, say
from producer.publisher import Publisher
from producer.schedule import next_beat
from producer.settings import ProducerSettings
from producer.signals import INTERRUPTED, Signals

EXIT_FAILURE, EXIT_BAD_SETTINGS = 1, 78
# A sample is worth little later: nobody waits long for one at the end.
STREAM_CLOSE_S = 1.0


def run(command: click.Command, argv: Sequence[str] | None) -> int:
    """Run a source's command as this process; its exit code, every error told in one line."""
    log_to_stderr()
    setproctitle(f"penstock {command.name}")
    try:
        return int(command.main(argv, prog_name=f"penstock {command.name}", standalone_mode=False) or 0)
    except click.Abort:  # what click makes of an interrupt during the start
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PenstockError as error:
        click.echo(f"{command.name}: {error}", err=True)
        return EXIT_BAD_SETTINGS if isinstance(error, BadSetting) else EXIT_FAILURE


def stream(
    name: str,
    settings: ProducerSettings,
    interval_s: float,
    sample: Callable[[Publisher], Iterable[tuple[str, object]]],
) -> int:
    """Publish the (topic, data) that `sample` gives, every `interval_s`, until a signal; the exit code."""
    publisher = Publisher(
        settings.ingest,
        feed=settings.feed,
        control=settings.control,
        high_water=settings.high_water,
        payload_max_bytes=settings.payload_max_bytes,
        close_s=STREAM_CLOSE_S,
    )
    with Signals() as signals, publisher:
        say(f"ready {name} ingest={settings.ingest}")
        started_s, beat = time.monotonic(), 0
        while not signals.received:
            for topic, data in sample(publisher):
                publisher.publish(topic, data)
            beat = next_beat(beat, time.monotonic() - started_s, interval_s)
            signals.wait(max(0.0, started_s + beat * interval_s - time.monotonic()))
    return signals.exit_code
