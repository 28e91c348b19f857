"""One producer in a process of its own: numbered events at a steady rate, as plain pyzmq sends them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import zmq
from msgspec import Struct

from deploy.load.payload import payload, spread
from deploy.load.program import serve

BATCH_S = 0.001  # at high rates, what is due is sent so often
LATE_MAX_S = 2.0  # behind its own time a producer gives up: whom it publishes to takes no more


class Publish(Struct, tag=True):
    topic: str
    first: int  # number of the first event
    count: int
    rate: float  # a second
    topics: int = 0  # on so many below that one, else on it

    def names(self) -> list[bytes]:
        """Of the topics. An event goes on the one that `spread` says."""
        if not self.topics:
            return [self.topic.encode()]
        return [f"{self.topic}/{number}".encode() for number in range(self.topics)]


class Published(Struct):
    count: int
    took_s: float
    ended_ns: int  # by the monotonic clock


def paced(first: int, count: int, rate: float, send: Callable[[int], None]) -> Published:
    """Calls `send` for each number when it is due. It never hurries to catch up by more than what is due.

    `send` raises TimeoutError if nothing was taken for LATE_MAX_S.
    """
    pause = threading.Event()  # never set: its wait is the pacing itself
    started_s = time.monotonic()
    give_up_s = started_s + count / rate + LATE_MAX_S
    sent = 0
    with suppress(TimeoutError):
        while sent < count and time.monotonic() < give_up_s:
            for _ in range(sent, min(count, int((time.monotonic() - started_s) * rate) + 1)):
                send(first + sent)
                sent += 1
            if sent < count:
                pause.wait(max(started_s + sent / rate - time.monotonic(), BATCH_S))
    return Published(sent, time.monotonic() - started_s, time.monotonic_ns())


class Producer:
    def __init__(self, address: str) -> None:
        # PUSH: what is sent arrives, or `send` waits.
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUSH)
        self._socket.set(zmq.IMMEDIATE, 1)
        self._socket.set(zmq.SNDTIMEO, int(LATE_MAX_S * 1000))
        self._socket.connect(address)

    def obey(self, request: Publish) -> Published:
        topics = request.names()
        # The link stands: the first event is no later than others.
        if not self._socket.poll(int(LATE_MAX_S * 1000), zmq.POLLOUT):
            return Published(0, LATE_MAX_S, time.monotonic_ns())

        def send(number: int) -> None:
            try:
                self._socket.send(topics[spread(number, len(topics))], zmq.SNDMORE)
                self._socket.send(payload(number, time.monotonic_ns()))
            except zmq.Again as error:
                raise TimeoutError from error

        return paced(request.first, request.count, request.rate, send)


if __name__ == "__main__":
    serve(Publish, Producer(sys.argv[1]).obey)
