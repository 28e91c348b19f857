"""One producer in a process of its own: numbered events at a steady rate, and a note of what it was promised.

    python -m tests.faults.producing '{"kind": "confirmed", ...}'        until SIGTERM

The note is a file, a number a line: all up to the largest one were promised. A promise that was not noted
when the process was killed is not counted, which makes the check weaker and never wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Literal

import msgspec
import zmq
from msgspec import Struct

from broker.errors import Fenced
from producer import Content, Publisher
from producer.confirmation import Confirmation
from tests.faults.numbered import payload, topic_of

TICK_S = 0.001
BEHIND_MAX_S = 1.0  # after a longer wait than this, what is due is not made up for
FLUSH_S = 20.0
FENCED = 3  # exit status


class Plan(Struct):
    kind: Literal["push", "pub", "confirmed"]
    address: str
    producer: str
    note: str
    rate: float
    stem: str = "load"
    topics: int = 10
    first: int = 1
    filler_bytes: int = 0
    high_water: int = 10_000  # events held without confirmation; then it waits


Promised = Callable[[int], None]
Send = Callable[[int, str, bytes], object]  # number, topic, payload


def run(plan: Plan, stop: Event) -> None:
    """Raises Fenced."""
    filler = "x" * plan.filler_bytes
    with note(plan.note) as promised, KINDS[plan.kind](plan, promised) as (first, send):
        number, started_s, sent = first, time.monotonic(), 0
        while not stop.is_set():
            late_s = time.monotonic() - started_s - sent / plan.rate
            if late_s > BEHIND_MAX_S:
                started_s += late_s
            while sent <= (time.monotonic() - started_s) * plan.rate and not stop.is_set():
                topic = topic_of(plan.stem, number, plan.topics)
                send(number, topic, payload(plan.producer, number, topic, time.monotonic_ns(), filler))
                number, sent = number + 1, sent + 1
            stop.wait(max(TICK_S, started_s + sent / plan.rate - time.monotonic()))


@contextmanager
def note(path: str) -> Iterator[Promised]:
    """To write down the number up to which all was promised."""
    with open(path, "ab", buffering=0) as file:
        descriptor = file.fileno()

        def promised(number: int) -> None:
            os.write(descriptor, b"%d\n" % number)

        yield promised


@contextmanager
def confirmed(plan: Plan, promised: Promised) -> Iterator[tuple[int, Send]]:
    """What is confirmed was promised. It goes on where the log has it."""

    def on_confirm(number: int, confirmation: Confirmation) -> None:
        if confirmation.error is None:
            promised(number)

    publisher = Publisher(
        confirm=True,
        control=plan.address,
        producer_id=plan.producer,
        numbered=True,
        high_water=plan.high_water,
    )
    with publisher:
        yield (
            publisher.last + 1,
            lambda number, topic, data: publisher.publish(
                topic, data, content=Content.JSON, on_confirm=partial(on_confirm, number)
            ),
        )
        publisher.flush(FLUSH_S)


@contextmanager
def pushed(plan: Plan, promised: Promised) -> Iterator[tuple[int, Send]]:
    """What a PUSH took was promised: so it is as long as nobody kills the broker."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.set(zmq.LINGER, int(FLUSH_S * 1000))
        push.connect(plan.address)
        yield plan.first, _sender(push, promised)


@contextmanager
def blind(plan: Plan, promised: Promised) -> Iterator[tuple[int, Send]]:
    """A plain PUB with the high-water mark that it has, for which everything sent was promised."""
    with zmq.Context() as context, context.socket(zmq.PUB) as pub:
        pub.set(zmq.LINGER, 0)
        pub.connect(plan.address)
        yield plan.first, _sender(pub, promised)


def _sender(socket: zmq.Socket[bytes], promised: Promised) -> Send:
    def send(number: int, topic: str, data: bytes) -> None:
        socket.send_multipart((topic.encode(), data))
        promised(number)

    return send


KINDS = {"confirmed": confirmed, "push": pushed, "pub": blind}


def main() -> int:
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        run(msgspec.json.decode(sys.argv[1], type=Plan), stop)
    except Fenced as error:
        print(error, file=sys.stderr)
        return FENCED
    return 0


if __name__ == "__main__":
    sys.exit(main())
