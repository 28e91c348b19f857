"""Whatever is piped in, one event a line: `tail -f access.log | python -m producer.lines`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from broker.errors import BadTopic, PublishTimeout
from broker.settings import load
from producer.publisher import Publisher, check_publishable
from producer.service import EXIT_FAILURE, run, say_ready
from producer.settings import ProducerSettings
from producer.signals import Signals
from producer.splitter import Line, Splitter, TooLong, content_of

STDIN = 0
READ_BYTES = 1 << 16
# Few: the rest waits in the pipe, and whoever writes there waits too.
HIGH_WATER = 1_000
# How often a wait for the broker looks up, whether it was told to stop.
LOOK_UP_S = 0.2


class Pump:
    """From standard input to the broker."""

    def __init__(self, publisher: Publisher, topic: str, line_max_bytes: int, signals: Signals) -> None:
        self._publisher, self._topic, self._signals = publisher, topic, signals
        self._line_max_bytes = line_max_bytes
        self._splitter = Splitter(line_max_bytes)
        self.refused = 0  # lines over the limit
        self.unsent = 0  # whole lines that were read when the signal came

    def run(self) -> None:
        """Until the input ends, or a signal."""
        while self._signals.wait(None, STDIN):
            if not (data := os.read(STDIN, READ_BYTES)):
                self._publish(self._splitter.end())
                return
            self._publish(self._splitter.feed(data))

    def _publish(self, lines: list[Line | TooLong]) -> None:
        for place, line in enumerate(lines):
            if isinstance(line, TooLong):
                self.refused += 1
                limit = self._line_max_bytes
                complain(f"line {line.number} not sent: {line.size} bytes, at most {limit} are taken")
            elif not self._sent(line):
                self.unsent = len(lines) - place
                return

    def _sent(self, line: Line) -> bool:
        """Waits until the broker has room for it; False if a signal came first."""
        content = content_of(line.content)
        while not self._signals.received:
            try:
                self._publisher.publish(self._topic, line.content, content=content)
                return True
            except PublishTimeout:
                continue
        return False


def complain(text: str) -> None:
    click.echo(f"lines: {text}", err=True)


@click.command("lines")
@click.option("--topic", default="lines", show_default=True, help="Where the lines go.")
@click.option("--ingest", metavar="ADDRESS", help="The broker's address for what matters.")
def command(topic: str, ingest: str | None) -> int:
    """Publish what is piped in, one event a line: JSON where a line is JSON, else text.

    Waits while the broker is slow or away. Exit code 1 if a line was not sent.
    """
    settings = load(ProducerSettings, "producer", env=os.environ, overrides={"push": ingest})
    try:
        check_publishable(topic)
    except BadTopic as error:
        raise click.BadParameter(str(error), param_hint="--topic") from None
    publisher = Publisher(
        settings.push,
        wait=True,
        wait_s=LOOK_UP_S,
        high_water=HIGH_WATER,
        payload_max_bytes=settings.payload_max_bytes,
        close_s=settings.close_s,
    )
    with Signals() as signals:
        say_ready("lines", settings.push)
        pump = Pump(publisher, topic, settings.payload_max_bytes, signals)
        pump.run()
        all_went = publisher.close()
    if pump.unsent:
        complain(f"stopped: {pump.unsent} lines were read and not sent")
    if signals.received:
        return signals.exit_code
    return EXIT_FAILURE if pump.refused or not all_went else 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
