"""A producer that hears of each event that it is in the log: a program of the bench."""

from __future__ import annotations

import sys
import time

from msgspec import Struct

from deploy.load.errors import Failed
from deploy.load.program import serve
from producer.publisher import Publisher

PAYLOAD = b"x" * 128
LATE_MAX_S = 30.0  # for the last confirmation
TURN = 100  # events between two looks at the clock


class Confirm(Struct, tag=True):
    """Publish as fast as confirmations come; answered when the last one has."""

    topics: int
    seconds: float


class Confirmed(Struct):
    count: int
    took_s: float  # from the first event to the last confirmation


def topics(count: int) -> list[str]:
    return [f"bench/load/{number}" for number in range(count)]


def publish(control: str, request: Confirm) -> Confirmed:
    names = (topics(request.topics) * TURN)[:TURN]
    with Publisher(confirm=True, control=control) as publisher:
        publisher.publish(names[0], PAYLOAD).result(LATE_MAX_S)  # the link stands
        started_s = time.monotonic()
        count = 0
        while time.monotonic() - started_s < request.seconds:
            for name in names:
                publisher.publish(name, PAYLOAD)
            count += len(names)
        publisher.flush(LATE_MAX_S)
        took_s = time.monotonic() - started_s
        if publisher.unconfirmed or publisher.dropped:
            raise Failed(f"{publisher!r}: {publisher.unconfirmed} unconfirmed")
    return Confirmed(count, took_s)


if __name__ == "__main__":
    serve(Confirm, lambda request: publish(sys.argv[1], request))
