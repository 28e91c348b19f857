"""The faults that are tried, and what is wanted of each. A row's runs take turns, by the seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.faults import (
    brokers,
    clocks,
    control_run,
    descriptors,
    disks,
    edges,
    gateways,
    outages,
    partitions,
    paused,
    producers,
    slow,
    storms,
    supervision,
)
from tests.faults.verdict import Verdict

Run = Callable[[int, bool], Verdict]  # seed, and whether it is the short form


class Row(NamedTuple):
    what: str
    target: str
    runs: tuple[Run, ...]

    def run(self, seed: int, brief: bool = False) -> Verdict:
        return self.runs[seed % len(self.runs)](seed, brief)


ROWS = {
    "control": Row(
        "protection is taken off: clients forget their place, a producer takes sent for logged",
        "the checker sees what is lost",
        (control_run.forgetful, control_run.blind),
    ),
    "F1": Row(
        "kill -9 of the broker at 10,000 confirmed events a second; supervisord starts it again",
        "flow back within 3 s, clients keep their connections",
        (brokers.killed,),
    ),
    "F2": Row(
        "kill -9 of the broker again and again while it writes; a bit of its log is flipped",
        "the flipped bit is found, and what is lost with it is told",
        (brokers.torn, brokers.torn, brokers.torn, brokers.turned),
    ),
    "F3": Row(
        "power is cut, and what was not synced is gone, or any part of it",
        "`power` loses nothing; `process` begins a new epoch and tells what is gone",
        (outages.cut, outages.cut, outages.forgotten),
    ),
    "F4": Row(
        "kill -9 of one gateway of three with 1,000 clients each",
        "99 % of its clients back within 5 s; p99 of the others at most 2 times what it was",
        (gateways.killed,),
    ),
    "F5": Row(
        "each gateway in turn is told to end",
        "clients are closed with 1012, it ends within 10 s with exit status 0",
        (gateways.restarted,),
    ),
    "F6": Row(
        "kill -9 of a producer; one that was given up goes on beside its successor",
        "what was not confirmed is logged once, the old one is fenced",
        (producers.killed, producers.risen),
    ),
    "F7": Row(
        "supervisord stops and starts all; the broker cannot start",
        "no process and no busy port is left; tries grow apart and end in FATAL, which is seen",
        (supervision.stopped, supervision.crashing),
    ),
    "F8": Row(
        "SIGSTOP to the broker or a gateway for 5, 30 or 120 s",
        "noticed within 6 s; back within 5 s",
        (paused.paused,),
    ),
    "F9": Row(
        "nothing passes between a gateway and the broker for 1, 10 or 60 s, one way or both",
        "clients are told within 6 s; all of it is replayed, or told where the log has let it go",
        (*(partitions.partitioned,) * 9, partitions.beyond_retention),
    ),
    "F10": Row(
        "one of 1,000 clients takes 1 KB/s, or nothing",
        "64 KiB for it; others' p99 1.2 times what it was; closed with 4408 and its place, or catches up",
        (slow.slow,),
    ),
    "F11": Row(
        "one of four gateways gets a tenth of what is published",
        "p99 of the others at most 2 times what it was; the slow one lacks nothing in the end",
        (partitions.slow,),
    ),
    "F12": Row(
        "the disk is full, under the log and under what the broker says",
        "what cannot be logged is not confirmed; live events and reading go on; back within 5 s by itself",
        (disks.full,),
    ),
    "F13": Row(
        "the wall clock jumps by an hour and by ten years, both ways",
        "no connection ends, nothing is taken for old",
        (clocks.jumping,),
    ),
    "F15": Row(
        "a gateway has no descriptors left",
        "who is there stays, who comes is let in later",
        (descriptors.used_up,),
    ),
    "F16": Row(
        "broker and gateways are killed, and 5,000 clients come back at once",
        "all back within 30 s, p99 of the loop's lag at most 250 ms",
        (storms.storm,),
    ),
    "F18": Row(
        "clients ask from each edge of the log, from beyond it, and from another log",
        "exactly what is there, or a gap",
        (edges.late,),
    ),
    "F19": Row(
        "two clients go on from one position; several producers take one id",
        "each client has all of it; the latest producer has the id, and the others are fenced",
        (edges.twice, producers.contested),
    ),
}
