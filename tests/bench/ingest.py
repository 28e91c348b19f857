"""How many events a second the broker takes in durably, and what one costs it.

    python -m tests.bench.ingest [--seconds 5] [--rate 0] [--topics 10] [--durability process]

One PUB producer in a process of its own sends 128-byte payloads as fast as the broker takes them
(`--rate 0`) or at a rate; one subscriber has the whole feed. Both go past pyzmq's wrappers, so that on
two cores the broker has one of them. What the broker logged counts, by its own status. Prints one line.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec
import psutil
import zmq
from zmq.backend import Socket as Backend

from broker.log import Durability
from deploy.load.figure import Figure
from deploy.load.loads import Found
from deploy.load.names import CPU_EVENT
from deploy.load.stage import Rounds
from tests.bench.ours import NAME
from tests.bench.targets import TAKEN_IN, taken_in
from tests.support import processes
from tests.support.waiting import wait_for

PAYLOAD_BYTES, TOPICS = 128, 10
HIGH_WATER = 100_000
DURABILITIES = get_args(Durability)
SELF = [sys.executable, "-m", "tests.bench.ingest"]


def produce(address: str, topics: int, rate: int, seconds: float) -> None:
    """The producer's process: [topic, payload]."""
    context = zmq.Context[zmq.Socket[bytes]]()
    # XPUB is PUB that lets us see the subscription arrive: before it, everything would be dropped.
    with context.socket(zmq.XPUB) as socket:
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        # Wait at the mark rather than drop, so that the number sent is the number that can arrive.
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.setsockopt(zmq.LINGER, 20_000)
        socket.connect(address)
        socket.recv()
        names = [b"bench/load/%d" % number for number in range(topics)]
        payload = b"x" * PAYLOAD_BYTES
        send, more = partial(Backend.send, socket), int(zmq.SNDMORE)
        started_s = time.monotonic()
        sent = 0
        while (spent_s := time.monotonic() - started_s) < seconds:
            due = sent + 100 if not rate else int(rate * spent_s)
            if due <= sent:
                socket.poll(1)  # a millisecond's pause: nothing ever arrives here
            for number in range(sent, due):
                send(names[number % topics], more)
                send(payload)
            sent = max(sent, due)
    print(sent, flush=True)
    context.term()


def status(control: zmq.Socket[bytes]) -> dict[str, Any]:
    control.send(b'{"op": "status", "id": 1}')
    page: dict[str, Any] = msgspec.json.decode(control.recv())["ok"]
    return page


def measure(seconds: float, rate: int, topics: int, durability: str) -> dict[str, float]:
    """Events a second, µs of the broker's CPU an event. Raises AssertionError when not all was logged."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(processes.broker(folder, durability=durability))
        stack.enter_context(running([*SELF, "--subscribe", broker.address["feed"]]))
        context = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(context.destroy, linger=0)
        control = context.socket(zmq.DEALER)
        control.connect(broker.address["control"])
        wait_for(lambda: status(control)["subscribed"], what="the subscriber")
        process = psutil.Process(broker.pid)
        cpu_before_s = sum(process.cpu_times()[:2])
        started_s = time.monotonic()
        options = ["--seconds", str(seconds), "--rate", str(rate), "--topics", str(topics)]
        producer = stack.enter_context(running([*SELF, "--produce", broker.address["ingest"], *options]))
        assert producer.stdout is not None
        sent = int(producer.stdout.readline())
        wait_for(lambda: status(control)["logged"] >= sent, what=f"{sent} events in the log")
        took_s = time.monotonic() - started_s
        return {
            "events_per_s": sent / took_s,
            "cpu_us_per_event": (sum(process.cpu_times()[:2]) - cpu_before_s) / sent * 1e6,
            "feed_drops": status(control)["at"]["drops"],
            "rss_mb": process.memory_info().rss / 1e6,
        }


def ingest(rounds: Rounds) -> Iterator[Found]:
    """As fast as the broker takes plain events in, with each durability."""
    for durability in DURABILITIES:
        all_found = [measure(rounds.seconds, 0, TOPICS, durability) for _ in range(rounds.count)]
        found = max(all_found, key=lambda each: each["events_per_s"])

        def figure(name: str, value: float, unit: str, load: str = taken_in(durability)) -> Figure:
            return Figure(bench="ingest", load=load, server=NAME, name=name, unit=unit, value=value)

        yield [
            figure(TAKEN_IN, found["events_per_s"], "events a second"),
            figure(CPU_EVENT, found["cpu_us_per_event"], "µs"),
        ]


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=processes.REPO) as process:
        try:
            yield process
        finally:
            process.kill()


def subscribe(address: str) -> None:
    """The subscriber's process: reads the whole feed, until it is killed."""
    socket = zmq.Context[zmq.Socket[bytes]]().socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(address)
    receive = partial(Backend.recv, socket)
    while True:
        receive()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--topics", type=int, default=TOPICS)
    parser.add_argument("--durability", choices=DURABILITIES, default="process")
    parser.add_argument("--produce", help=argparse.SUPPRESS)
    parser.add_argument("--subscribe", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.produce:
        produce(given.produce, given.topics, given.rate, given.seconds)
    elif given.subscribe:
        subscribe(given.subscribe)
    else:
        result = measure(given.seconds, given.rate, given.topics, given.durability)
        print(
            f"ingest durability={given.durability} topics={given.topics} "
            f"events_per_s={result['events_per_s']:,.0f} cpu_us={result['cpu_us_per_event']:.2f} "
            f"feed_drops={result['feed_drops']:.0f} rss_mb={result['rss_mb']:.0f}"
        )


if __name__ == "__main__":
    main()
