"""Events on standard output, one a line: `penstock sub 'room/**'`."""

from __future__ import annotations

import base64
import os
import select
import stat
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from broker.errors import BadPattern, BadPosition
from broker.gap import Gap
from broker.settings import load
from broker.wire import Content
from producer.event import Event
from producer.service import run
from producer.settings import ProducerSettings
from producer.signals import Signals
from producer.subscriber import Subscriber, check_readable

# How often a wait for events looks up, whether it was told to stop or nobody reads any more.
LOOK_UP_S = 0.2

_encode = msgspec.json.Encoder().encode


def line(event: Event) -> str:
    """For people: the topic, and the payload with nothing in it that moves a terminal."""
    match event.content:
        case Content.BINARY:
            shown = f"<{len(event.payload)} bytes>"
        case Content.JSON:
            shown = printable(_in_one_line(event.payload).decode())
        case _:
            shown = printable(event.text)
    return f"{event.topic} {shown}"


def json_line(item: Event | Gap) -> bytes:
    """For programs: as the native protocol has it, with the event's position."""
    if isinstance(item, Gap):
        return _encode({"gap": gap_fields(item)})
    told: dict[str, Any] = {
        "topic": item.topic,
        "position": item.position,
        "seq": item.seq,
        "prev": item.prev,
        "nth": item.nth,
        "time": item.time,
    }
    match item.content:
        case Content.BINARY:
            told["base64"] = base64.b64encode(item.payload).decode()
        case Content.JSON:
            told["data"] = msgspec.Raw(_in_one_line(item.payload))
        case _:
            told["text"] = item.text
    return _encode(told)


def gap_fields(gap: Gap) -> dict[str, Any]:
    fields: dict[str, Any] = {"pattern": gap.pattern, "after": str(gap.after), "before": str(gap.before)}
    if gap.lost is not None:
        fields["lost"] = gap.lost
    return {**fields, "cause": gap.cause}


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def _in_one_line(payload: bytes) -> bytes:
    # Line ends between the parts of JSON; in its strings they are escaped.
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")


class Output:
    """Standard output, gathered while more is to come."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._pipe = select.poll()
        self._is_pipe = stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
        if self._is_pipe:
            self._pipe.register(sys.stdout.fileno(), 0)  # only for its error: nobody reads any more

    def show(self, event: Event) -> None:
        sys.stdout.buffer.write((json_line(event) if self._is_json else line(event).encode()) + b"\n")

    def show_gap(self, gap: Gap) -> None:
        if self._is_json:
            sys.stdout.buffer.write(json_line(gap) + b"\n")
        else:
            complain(f"gap: {' '.join(f'{name}={value}' for name, value in gap_fields(gap).items())}")

    def flush(self) -> None:
        """Raises BrokenPipeError if nobody reads any more."""
        sys.stdout.buffer.flush()
        if self._is_pipe and self._pipe.poll(0):
            raise BrokenPipeError


def read(subscriber: Subscriber, output: Output, count: int | None, signals: Signals) -> None:
    shown = 0
    while not signals.received and shown != count:
        if (event := subscriber.next(0)) is None:
            output.flush()
            event = subscriber.next(LOOK_UP_S)
        if event is not None:
            output.show(event)
            shown += 1
    output.flush()


def complain(text: str) -> None:
    click.echo(f"sub: {text}", err=True)


@click.command("sub")
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
@click.option("--history", type=click.IntRange(0, 2_000), default=0, help="The newest N of each topic first.")
@click.option("--since", metavar="POSITION", help="Everything after this position first.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, gaps among them.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@click.option("--feed", metavar="ADDRESS", help="The broker's feed.")
@click.option("--control", metavar="ADDRESS", help="The broker's control port.")
def command(
    patterns: tuple[str, ...],
    history: int,
    since: str | None,
    is_json: bool,
    count: int | None,
    feed: str | None,
    control: str | None,
) -> int:
    """Print events as they come, one a line: topic and payload."""
    addresses = {"feed": feed, "control": control}
    settings = load(ProducerSettings, "producer", env=os.environ, overrides=addresses)
    output = Output(is_json=is_json)

    def tell_stale(is_stale: bool) -> None:
        complain(f"no broker heard at {settings.feed}: waiting" if is_stale else "the broker is heard again")

    try:
        for text in patterns:
            check_readable(text)
        subscriber = Subscriber(
            *patterns,
            history=history,
            since=since,
            feed=settings.feed,
            control=settings.control,
            on_gap=output.show_gap,
            on_stale=tell_stale,
        )
    except BadPattern as error:
        raise click.BadParameter(str(error), param_hint="PATTERN") from None
    except BadPosition as error:
        raise click.BadParameter(str(error), param_hint="--since") from None
    with Signals() as signals, subscriber:
        try:
            read(subscriber, output, count, signals)
        except BrokenPipeError:
            # As in `penstock sub ... | head -1`: it has what it wanted. Leave Python nothing to flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return signals.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    return run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
