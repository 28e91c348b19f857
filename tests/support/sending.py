"""Producers for tests: plain ZeroMQ sockets, so that what is shown needs none of our own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread

import zmq

from tests.support.processes import Broker

CLOSE_S = 10


def push(address: str, messages: Sequence[Sequence[bytes]]) -> None:
    """Hand over messages of frames to the PULL port; returns when all have left."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.set(zmq.LINGER, CLOSE_S * 1000)
        socket.connect(address)
        for frames in messages:
            socket.send_multipart(frames)


def numbered(topic: str, numbers: Sequence[int]) -> list[list[bytes]]:
    """Messages for `push`: {"n": number} each."""
    return [[topic.encode(), json.dumps({"n": number}).encode()] for number in numbers]


def publish(broker: Broker, topic: str, *numbers: int) -> None:
    """Numbered events, over the PUSH port."""
    push(broker.address["push"], numbered(topic, numbers))


def number_alone(number: int) -> bytes:
    return b'{"n":%d}' % number


@contextmanager
def stream(
    address: str,
    *topics: str,
    interval_s: float = 0.002,
    payload: Callable[[int], bytes] = number_alone,
) -> Iterator[None]:
    """Numbered events on each topic in turn, from a PUB socket, while the block lasts."""
    stop = Event()

    def run() -> None:
        with zmq.Context() as context, context.socket(zmq.PUB) as socket:
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.SNDHWM, 100_000)
            socket.set(zmq.RECONNECT_IVL, 50)
            socket.connect(address)
            for number in count():
                for topic in topics:
                    socket.send_multipart([topic.encode(), payload(number)])
                if stop.wait(interval_s):
                    return

    thread = Thread(target=run, name="stream")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
