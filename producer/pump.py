"""Lines from standard input to the broker, until the input ends or a signal comes."""

from __future__ import annotations

import math
import os
import time
from threading import Thread

import click

from broker.errors import ControlError, NotConfirmed, PublishTimeout
from producer.payload import content_of
from producer.publisher import Publisher
from producer.signals import Signals
from producer.splitter import Line, Splitter, TooLong

STDIN = 0
READ_BYTES = 1 << 16
# Few: the rest waits in the pipe, and whoever writes there waits too.
HIGH_WATER = 1_000
# How often a wait for the broker looks up, whether it was told to stop.
LOOK_UP_S = 0.2
# How long nothing is said of a broker that is not there, or does not confirm.
QUIET_S = 2.0


class Pump:
    """From standard input to the broker."""

    def __init__(self, publisher: Publisher, topic: str, line_max_bytes: int, signals: Signals) -> None:
        self._publisher, self._topic, self._signals = publisher, topic, signals
        self._line_max_bytes = line_max_bytes
        self._splitter = Splitter(line_max_bytes)
        self.refused = 0  # lines over the limit
        self.untaken = 0  # whole lines that were read, but not published, when the signal came
        # None: nothing is to be said.
        self._quiet_until_s: float | None = time.monotonic() + QUIET_S

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
            return self._publisher.close(close_s if link.has_stood else 0, warns=False)
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
            return f"{_lines(self.untaken)} read and not sent" if self.untaken else ""
        if not self._publisher.link.has_stood:
            return f"{_lines(published + self.untaken)} read and not sent"
        return f"at most {_lines(min(published, HIGH_WATER) + self.untaken)} read and not sent"

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


class ConfirmedPump(Pump):
    """The same, with a Publisher that confirms: a line was sent when it is in the log."""

    _trouble = ""  # of which was told, or will be

    def close(self, close_s: float) -> bool:
        while not (self._is_flushed() or self._signals.received):
            self._say_if_alone()
        return self._publisher.close(0 if self._publisher.trouble else close_s, warns=False)

    def unsent(self, all_went: bool) -> str:
        count = self._publisher.unconfirmed + self.untaken
        return f"{_lines(count)} read and not confirmed" if count else ""

    def _is_flushed(self) -> bool:
        try:
            self._publisher.flush(LOOK_UP_S)
        except NotConfirmed:
            return False
        except ControlError as error:
            count = self._publisher.dropped
            which = f"{count} lines, the last of them: " if count > 1 else ""
            complain(f"refused by the broker: {which}{error}")
        return True

    def _wait(self, descriptor: int) -> bool:
        self._say_if_alone()
        # What it waits for may go wrong meanwhile.
        timeout_s = QUIET_S if self._publisher.unconfirmed else None
        return bool(self._signals.wait(timeout_s, descriptor))

    def _say_if_alone(self) -> None:
        trouble, now_s = self._publisher.trouble, time.monotonic()
        if trouble != self._trouble:
            self._trouble, self._quiet_until_s = trouble, now_s + QUIET_S if trouble else None
        if self._quiet_until_s is not None and now_s >= self._quiet_until_s:
            self._quiet_until_s = None
            complain(f"nothing is confirmed by the broker at {self._publisher.ingest}: {trouble}: waiting")


def _lines(count: int) -> str:
    return "1 line was" if count == 1 else f"{count} lines were"


def complain(text: str) -> None:
    click.echo(f"lines: {text}", err=True)
