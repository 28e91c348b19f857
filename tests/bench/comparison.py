"""Ours beside theirs and beside what we want, from the figures of one run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct

from deploy.load.figure import Figure, number
from deploy.load.names import (
    A_CORE,
    CONFIRMED,
    CPU,
    CPU_CONNECT,
    CPU_EVENT,
    CPU_WITH_BROKER,
    MEMORY,
    P50,
    P99,
)

# What is compared. Less is better, but for what is done in a second: a target says how it is meant.
COMPARED = {
    "fanout": (CPU,),
    "most": (A_CORE,),
    "topics": (CPU,),
    "latency": (P50, P99),
    "idle": (MEMORY, CPU_CONNECT),
    "confirmed": (CONFIRMED, CPU_EVENT),
}


class Target(Struct, frozen=True):
    bench: str
    load: str
    name: str  # of a figure of ours
    against: str = ""  # the limit is of the ratio of ours to this one's; empty: of ours itself
    at_most: float | None = None
    at_least: float | None = None
    of: str = "penstock"  # which of ours

    def is_held_by(self, value: float) -> bool:
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )

    def __str__(self) -> str:
        limits = [("at most", self.at_most), ("at least", self.at_least)]
        return ", ".join(f"{word} {number(limit)}" for word, limit in limits if limit is not None)


class Compared(Struct, frozen=True, kw_only=True):
    """A ratio, or with `against` empty a figure of ours that a target is about."""

    bench: str
    load: str
    name: str
    of: str  # which of ours
    against: str
    value: float | None
    unit: str = ""
    with_broker: float | None = None  # the ratio with the broker's CPU counted wherever there is one
    why: str = ""  # there is no value
    target: Target | None = None
    is_missed: bool = False


class Run(Struct, frozen=True):
    """All of it, as it is written."""

    machine: dict[str, str]
    figures: list[Figure]
    compared: list[Compared]
    left_out: dict[str, str]  # server and reason


def compare(
    figures: Iterable[Figure],
    targets: Collection[Target],
    left_out: Mapping[str, str],
    *,
    own: str,
    others: Collection[str],
) -> Iterator[Compared]:
    """Each ratio of that one of ours to one of these others, and each target of what was measured of it.

    Where another server does not sustain a load, or is left out, there is no ratio and nothing is
    missed; where only ours does not, a target is.
    """
    found = {(each.bench, each.load, each.name, each.server): each for each in figures}
    wanted = {(each.bench, each.load, each.name, each.against): each for each in targets if each.of == own}
    measured = dict.fromkeys([*(server for *_, server in found), *left_out])
    servers = [each for each in measured if each in others]
    ours = {(bench, load): each for (bench, load, _, server), each in found.items() if server == own}
    for (bench, load), any_of_ours in ours.items():
        for key, target in wanted.items():
            if key[:2] == (bench, load) and not target.against:
                mine = found.get((*key[:3], own), any_of_ours)
                is_missed = mine.value is None or not target.is_held_by(mine.value)
                yield _compared(own, key, mine.value, mine.why, target, is_missed, unit=mine.unit)
        for name in COMPARED.get(bench, ()):
            mine = found.get((bench, load, name, own), any_of_ours)
            both = found.get((bench, load, CPU_WITH_BROKER, own)) if name == CPU else None
            for server in servers:
                key = (bench, load, name, server)
                theirs, maybe_target = found.get(key), wanted.get(key)
                if theirs is None and server not in left_out:
                    continue
                if theirs is None or not theirs.value:
                    why = theirs.why if theirs else "left out"
                    yield _compared(own, key, None, why, maybe_target)
                elif mine.value is None:
                    yield _compared(
                        own, key, None, f"ours {mine.why}", maybe_target, maybe_target is not None
                    )
                else:
                    value = mine.value / theirs.value
                    is_missed = maybe_target is not None and not maybe_target.is_held_by(value)
                    them = found.get((bench, load, CPU_WITH_BROKER, server), theirs)
                    with_broker = both.value / them.value if both and both.value and them.value else None
                    yield _compared(own, key, value, "", maybe_target, is_missed, with_broker=with_broker)


def _compared(
    own: str,
    key: tuple[str, str, str, str],
    value: float | None,
    why: str,
    target: Target | None,
    is_missed: bool = False,
    *,
    unit: str = "",
    with_broker: float | None = None,
) -> Compared:
    bench, load, name, against = key
    return Compared(
        bench=bench,
        load=load,
        name=name,
        of=own,
        against=against,
        value=value,
        unit=unit,
        with_broker=with_broker,
        why=why,
        target=target,
        is_missed=is_missed,
    )


def table(compared: Iterable[Compared]) -> Iterator[str]:
    """What belongs to one figure under one load, a line for each of the others."""

    def place(each: Compared) -> tuple[str, str, str, str]:
        return each.bench, each.load, each.of, each.name

    rows = list(compared)
    for where in dict.fromkeys(map(place, rows)):
        bench, load, of, name = where
        yield f"{bench:<8} {load}: {of}, {name}"
        yield from (f"{'':<9}{line(each)}" for each in rows if place(each) == where)


def line(each: Compared) -> str:
    whom = f"to {each.against}" if each.against else "ours"
    if each.value is None:
        text = f"{whom:<20} {'no ratio: ' if each.against else ''}{each.why}"
    else:
        text = f"{whom:<20} {f'{number(each.value)} {each.unit}'.rstrip()}"
        if each.with_broker is not None:
            text += f", {number(each.with_broker)} with the broker's"
        if each.target:
            text = f"{text:<56} {each.target}"
    return text + ("  MISSED" if each.is_missed else "")


def summary(compared: Iterable[Compared]) -> str:
    wanted = [each for each in compared if each.target]
    missed = sum(each.is_missed for each in wanted)
    unknown = sum(each.value is None and not each.is_missed for each in wanted)
    held = len(wanted) - missed - unknown
    return f"{len(wanted)} targets: {held} held, {missed} MISSED, {unknown} without a ratio"
