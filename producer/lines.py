"""Whatever is piped in, one event a line: `tail -f access.log | python -m producer.lines`."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from threading import Thread

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


# How long nothing is said of a broker that is not there.
QUIET_S = 2.0


class Pump:
    """From standard input to the broker."""

    def __init__(self, publisher: Publisher, topic: str, line_max_bytes: int, signals: Signals) -> None:
        self._publisher, self._topic, self._signals = publisher, topic, signals
        self._line_max_bytes = line_max_bytes
        self._splitter = Splitter(line_max_bytes)
        self.refused = 0  # lines over the limit
        self.untaken = 0  # whole lines that were read, but not published, when the signal came
        self._quiet_until_s: float | None = time.monotonic() + QUIET_S  # None: nothing is to be said any more

    def run(self) -> None:
        """Until the input ends, or a signal."""
        while not self._signals.received:
            if not self._wait(STDIN):
                continue
            if not (data := os.read(STDIN, READ_BYTES)):
                self._publish(self._splitter.end())
                return
            self._publish(self._splitter.feed(data))

    def close(self, close_s: float) -> bool:
        """Waits until everything has left, as long as it takes; after a signal for `close_s` more."""
        link = self._publisher.link
        while self._publisher.published and not link.has_stood and not self._signals.received:
            self._wait(link.fileno())
        if self._signals.received:
            return self._publisher.close(close_s if link.has_stood else 0)
        # Only the end of its context says that everything has left, and that call hears no signal.
        closing = Thread(target=self._publisher.close, args=(math.inf,), daemon=True)
        closing.start()
        while closing.is_alive() and not self._signals.received:
            closing.join(LOOK_UP_S)
        closing.join(close_s)
        return not closing.is_alive()

    def unsent(self, all_went: bool) -> str:
        """How many lines were not sent, in words; empty if all were."""
        published = self._publisher.published
        if all_went:
            return f"{self.untaken} lines were read and not sent" if self.untaken else ""
        if not self._publisher.link.has_stood:
            return f"{published + self.untaken} lines were read and not sent"
        return f"at most {min(published, HIGH_WATER) + self.untaken} lines were read and not sent"

    def _wait(self, descriptor: int) -> bool:
        """Whether it can be read; False after a while, or when a signal came."""
        self._say_if_alone()
        until_s = self._quiet_until_s
        timeout_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        return bool(self._signals.wait(timeout_s, descriptor))

    def _say_if_alone(self) -> None:
        if self._quiet_until_s is None or time.monotonic() < self._quiet_until_s:
            return
        self._quiet_until_s = None
        if not self._publisher.link.has_stood:
            complain(f"no broker at {self._publisher.ingest} yet: waiting")

    def _publish(self, lines: list[Line | TooLong]) -> None:
        for place, line in enumerate(lines):
            if isinstance(line, TooLong):
                self.refused += 1
                limit = self._line_max_bytes
                complain(f"line {line.number} not sent: {line.size} bytes, at most {limit} are taken")
            elif not self._sent(line):
                self.untaken = len(lines) - place
                return

    def _sent(self, line: Line) -> bool:
        """Waits until the broker has room for it; False if a signal came first."""
        content = content_of(line.content)
        while not self._signals.received:
            try:
                self._publisher.publish(self._topic, line.content, content=content)
                return True
            except PublishTimeout:
                self._say_if_alone()
        return False


def complain(text: str) -> None:
    click.echo(f"lines: {text}", err=True)


@click.command("lines")
@click.option("--topic", default="lines", show_default=True, help="Where the lines go.")
@click.option("--ingest", metavar="ADDRESS", help="The broker's address for what matters.")
def command(topic: str, ingest: str | None) -> int:
    """Publish what is piped in, one event a line: JSON where a line is JSON, else text.

    Waits while the broker is slow or away. Exit code 1 if a line was over the limit.
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
        all_went = pump.close(settings.close_s)
    if signals.received and (unsent := pump.unsent(all_went)):
        complain(f"stopped: {unsent}")
    if signals.received:
        return signals.exit_code
    return EXIT_FAILURE if pump.refused else 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
