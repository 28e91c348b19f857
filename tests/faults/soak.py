"""F17: whatever runs is killed, stopped and told to end, at random and for as long as is asked.

    python -m tests.faults.soak --minutes 10 [--seed N]

It goes in rounds of about a minute, each with clients and producers of its own, so that what they wrote
down can be checked and let go. One gateway is never killed and the broker often is: what the first one
takes of memory and descriptors at the end of each round, when nobody is connected, must not grow.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import psutil

from tests.faults.actors import Producing
from tests.faults.checker import Report, check_clients, check_log, total
from tests.faults.stage import Stage, stage
from tests.support.waiting import wait_for

ROUND_S = 45.0
EVERY_S = (1.0, 6.0)  # between two faults
CLIENTS = 150
RATE = 400  # events a second of each producer
PRODUCERS = 2
KEEP_EVENTS = 20_000  # of a topic: more than a round publishes, so that retention is at work behind it
GROWTH_BYTES = 8 << 20
GROWTH_DESCRIPTORS = 5


class Sample(NamedTuple):
    """Of a gateway that lives on, with nobody connected."""

    rss: int
    descriptors: int


def soak(minutes: float, seed: int) -> list[str]:
    """What did not hold, in words; each round and each fault is printed as it comes."""
    # What is in memory for all is full after a round.
    keep = {"keep_events": KEEP_EVENTS}
    with stage("F17", "soak", seed, brief=False, gateways=3, broker=keep, ring_max_bytes=2 << 20) as on:
        samples: list[Sample] = []
        summed, wrong = Report(), list[str]()
        end_s = time.monotonic() + minutes * 60
        number = 0
        while time.monotonic() < end_s:
            number += 1
            report, said = _round(on, number, min(ROUND_S, end_s - time.monotonic()))
            summed += report
            wrong += said
            if not report.is_clean:
                wrong.append(f"round {number}: {report}")
            samples.append(_sample(on))
            print(f"round {number}: {report} {samples[-1]} broker {_memory(on.broker.pid):,}", flush=True)
        print(f"{number} rounds, {len(on.verdict.moments)} faults, seed {seed}: {summed}")
        return wrong + growth(samples)


def growth(samples: Sequence[Sample]) -> list[str]:
    """What has grown from the second third of them to the last one: before that, caches fill."""
    third = len(samples) // 3
    if not third:
        return []
    wrong = []
    for name, most in (("rss", GROWTH_BYTES), ("descriptors", GROWTH_DESCRIPTORS)):
        values = [getattr(each, name) for each in samples]
        grown = median(values[-third:]) - median(values[-2 * third : -third])
        print(f"{name}: {values[0]:,} at first, {values[-1]:,} at last, {grown:+,.0f} in the last third")
        if grown > most:
            wrong.append(f"{name} has grown by {grown:,.0f}: {values}")
    return wrong


def _round(on: Stage, number: int, lasts_s: float) -> tuple[Report, list[str]]:
    after = on.head.head
    crowd = on.crowd()
    crowd.follow(on.urls, "load/**", count=CLIENTS)
    producers = [on.produce(kind="confirmed", rate=RATE, id=f"r{number}-{each}") for each in range(PRODUCERS)]
    end_s = time.monotonic() + lasts_s
    while time.monotonic() < end_s:
        on.hold(on.random.uniform(*EVERY_S))
        on.random.choice(FAULTS)(on, producers)
    for producer in producers:
        producer.end()
    kept = [event for event in on.kept(after) if event.producer.startswith(f"r{number}-")]
    last = kept[-1].at.seq
    wrong = []
    try:
        crowd.wait(lambda state: state.following == state.clients and state.least_seq >= last, "the end")
    except AssertionError as error:
        wrong.append(f"round {number}: {error}")
    journal = crowd.journal()
    report = check_log(kept, {each.plan.producer: each.promised for each in producers})
    report += total(check_clients(kept, journal))
    crowd.end()
    on.crowds.clear()
    return report, wrong + journal.errors[:3]


# What is done


def _kill_broker(on: Stage, producers: list[Producing]) -> None:
    on.note("kill -9 of the broker")
    on.broker.kill()
    on.broker.start()


def _kill_gateway(on: Stage, producers: list[Producing]) -> None:
    gateway = on.random.choice(on.gateways[1:])
    on.note(f"kill -9 of {gateway.name}")
    gateway.kill()
    gateway.start()


def _end_gateway(on: Stage, producers: list[Producing]) -> None:
    gateway = on.random.choice(on.gateways[1:])
    on.note(f"SIGTERM to {gateway.name}")
    gateway.stop(signal.SIGTERM)
    gateway.start()


def _kill_producer(on: Stage, producers: list[Producing]) -> None:
    producer = on.random.choice(producers)
    on.note(f"kill -9 of {producer.name}")
    producer.kill()
    producer.launch()


def _stop_any(on: Stage, producers: list[Producing]) -> None:
    with on.stopped(on.random.choice([on.broker, *on.gateways, *producers])):
        on.hold(on.random.uniform(0.5, 6))


FAULTS: tuple[Callable[[Stage, list[Producing]], None], ...] = (
    _kill_broker,
    _kill_gateway,
    _end_gateway,
    _kill_producer,
    _stop_any,
)


# What is taken


def _sample(on: Stage) -> Sample:
    gateway = psutil.Process(on.gateways[0].pid)
    # Those of clients that have gone are closed when their end is seen.
    counts: list[int] = []

    def is_steady() -> bool:
        counts.append(gateway.num_fds())
        return len(counts) > 10 and len(set(counts[-10:])) == 1

    wait_for(is_steady, what=lambda: f"descriptors that stay: {counts[-10:]}")
    return Sample(int(gateway.memory_info().rss), counts[-1])


def _memory(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Break Penstock at random, for some time.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    wrong = soak(given.minutes, given.seed)
    print("\n".join(["did not hold:", *wrong] if wrong else ["held"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
