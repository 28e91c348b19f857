"""Official Socket.IO clients through a plain round robin, while a gateway is killed and another one added.

    python -m tests.faults.socketio --clients 200 --seconds 60

A third of them polls and nothing else, a third is upgraded, a third begins with a WebSocket. All are to have
every event once and in order. Exits with 1 if any has not.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, cycle
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import psutil
import zmq

from deploy.parent import end_with_parent
from tests.support.official import POLLING, UPGRADING, WEBSOCKET, Officials, officials
from tests.support.processes import REPO, Gateway, broker, environment, gateway
from tests.support.sending import number_alone
from tests.support.waiting import wait_for

GATEWAYS = 4
PROCESSES = 4  # of Node, which the clients share
TOPICS = ("run/a", "run/b")
PATTERN = "run/*"
KINDS = {"polling": POLLING, "upgrading": UPGRADING, "websocket": WEBSOCKET}
SETTLE_S = 120.0
Runs = dict[str, list[list[int]]]  # of numbers that came in a row, by topic
# The library's own, which its users have.
RECONNECTION = {"reconnectionDelay": 1_000, "reconnectionDelayMax": 5_000}


class Kind(NamedTuple):
    """What became of the clients of one kind."""

    clients: int
    whole: int  # that had every event once and in order
    recovered: int  # times that they came back and were told that nothing is missing
    anew: int  # times that they were told otherwise


class Figures(NamedTuple):
    events: int
    kinds: dict[str, Kind]
    wrong: list[str]  # what the first of those that lack something have
    handed_over: int  # requests, by the gateways that are left
    cpu_s: float  # of these, from the first event on

    @property
    def is_whole(self) -> bool:
        return all(kind.whole == kind.clients for kind in self.kinds.values())


class Numbers:
    """Events on each topic in turn, at a steady rate, from a thread of its own."""

    def __init__(self, address: str, rate: float, count: int) -> None:
        self._address, self._rate, self.count = address, rate, count
        self.sent = 0
        self._stop = Event()
        self._thread = Thread(target=self._run, name="numbers")

    def __enter__(self) -> Numbers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def await_sent(self, count: int) -> None:
        wait_for(lambda: self.sent >= count, what=f"{count} events", deadline_s=count / self._rate + 60)

    def _run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
            socket.connect(self._address)
            for number in range(self.count):
                for topic in TOPICS:
                    socket.send_multipart([topic.encode(), number_alone(number)])
                    self.sent += 1
                    if self._stop.wait(1 / self._rate):
                        return


class RoundRobin:
    """See round_robin.mjs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._told = process.stdin
        self.url = f"http://127.0.0.1:{process.stdout.readline().strip()}"

    def serve(self, gateways: Sequence[Gateway]) -> None:
        ports = [int(each.address["own"].rsplit(":", 1)[1]) for each in gateways]
        self._told.write(json.dumps(ports) + "\n")
        self._told.flush()


@contextmanager
def round_robin() -> Iterator[RoundRobin]:
    process = subprocess.Popen(
        ["node", str(REPO / "tests" / "support" / "round_robin.mjs")],
        env=environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    )
    try:
        yield RoundRobin(process)
    finally:
        process.kill()
        process.wait()


def run(folder: Path, *, clients: int, seconds: float, rate: float, processes: int, seed: int) -> Figures:
    """`clients` of each kind."""
    chosen = random.Random(seed)
    with ExitStack() as stack:
        to = stack.enter_context(broker(folder, keep_events=100_000))
        # Of one set, by the port that they share; requests come to their own ones in turn.
        first = stack.enter_context(gateway(folder, to))
        port = first.address["url"].rsplit(":", 1)[1]
        gateways = [first]
        for number in range(1, GATEWAYS):
            gateways.append(stack.enter_context(gateway(folder, to, number, port=port)))
        balancer = stack.enter_context(round_robin())
        balancer.serve(gateways)
        nodes = [stack.enter_context(officials()) for _ in range(processes)]
        turns = cycle(nodes)
        for number in range(clients):
            for kind, transports in KINDS.items():
                options: dict[str, Any] = {"subscribe": [[PATTERN]], "quiet": True, **RECONNECTION}
                next(turns).open(f"{kind}-{number}", balancer.url, transports, **options)
        wait_for(lambda: all_follow(nodes), what="all follow", deadline_s=SETTLE_S)

        count = int(seconds * rate / len(TOPICS))
        expected = {topic: [[0, count - 1]] for topic in TOPICS}
        before_s = sum(map(cpu_s, gateways))
        with Numbers(to.address["push"], rate, count) as numbers:
            total = count * len(TOPICS)
            numbers.await_sent(int(total * chosen.uniform(0.2, 0.4)))
            victim = chosen.choice(gateways)
            before_s -= cpu_s(victim)
            gateways.remove(victim)
            victim.kill()
            numbers.await_sent(int(total * chosen.uniform(0.5, 0.7)))
            gateways.append(stack.enter_context(gateway(folder, to, GATEWAYS, port=port)))
            balancer.serve(gateways)
            numbers.await_sent(total)
        with suppress(AssertionError):  # who lacks what is told
            wait_for(lambda: all_have(nodes, expected), what="all have all", deadline_s=SETTLE_S)
        return Figures(
            total,
            *judge(nodes, expected),
            sum(map(handed_over, gateways)),
            sum(map(cpu_s, gateways)) - before_s,
        )


def all_follow(nodes: Sequence[Officials]) -> bool:
    reports = [node.report() for node in nodes]
    return all(
        told["following"] == 1 and told.get("transport") == KINDS[name.partition("-")[0]][-1]
        for name, told in chain.from_iterable(report.items() for report in reports)
    )


def all_have(nodes: Sequence[Officials], expected: Runs) -> bool:
    last = {topic: runs[-1][1] for topic, runs in expected.items()}
    return all(
        all(told["runs"].get(topic, [[-1, -1]])[-1][1] == last[topic] for topic in TOPICS)
        for node in nodes
        for told in node.report().values()
    )


def judge(
    nodes: Sequence[Officials], expected: dict[str, list[list[int]]]
) -> tuple[dict[str, Kind], list[str]]:
    kinds = dict.fromkeys(KINDS, Kind(0, 0, 0, 0))
    wrong: list[str] = []
    for node in nodes:
        for name, told in node.report().items():
            is_whole = told["runs"] == expected
            if not is_whole and len(wrong) < 10:
                wrong.append(f"{name}: {told}")
            kind = name.partition("-")[0]
            clients, whole, recovered, anew = kinds[kind]
            back = told["connects"] - told["anew"]
            kinds[kind] = Kind(clients + 1, whole + is_whole, recovered + back, anew + told["anew"] - 1)
    return kinds, wrong


def cpu_s(gateway: Gateway) -> float:
    times = psutil.Process(gateway.pid).cpu_times()
    return float(times.user + times.system)


def handed_over(gateway: Gateway) -> int:
    with urllib.request.urlopen(f"{gateway.address['admin']}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("penstock_handed_over_total"):
                return int(float(line.rsplit(" ", 1)[1]))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=200, help="of each kind")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=5.0, help="events a second")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="that the clients share")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), **vars(options))
    for name, kind in found.kinds.items():
        print(
            f"{name:10} {kind.whole} of {kind.clients} had all of {found.events} events once and in order;"
            f" came back {kind.recovered} times with nothing missing, {kind.anew} times anew"
        )
    print(f"handed over {found.handed_over} requests; the gateways took {found.cpu_s:.1f} s of CPU time")
    for each in found.wrong:
        print(each)
    return 0 if found.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
