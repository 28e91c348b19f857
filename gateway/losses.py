"""What cannot be had any more, counted by cause, and the newest cases by topic. Pure.

A stretch that is gone is counted once, however many clients are told of it: as one of the `stream`,
which every client of this gateway lacks; or as one of the `past`, that somebody asked for or read on
through, too slow or too late. Beside that stands how many gaps clients were told.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from broker.gap import CAUSES, Gap

STRETCHES_MAX = 10_000
SHOWN = 20
# Of these there is one, whatever place and pattern clients name: they were in another log.
ANOTHER_LOG = ("epoch", "future")

LABELS = ("cause", "where")
Where = Literal["stream", "past"]
Cell = tuple[str, ...]  # a cause, and where it was met


@dataclass(slots=True)
class Stretch:
    """Events that are gone; it grows where more beside it is found to be."""

    gap: Gap
    where: Where
    time_s: float  # of day, when it was last found to be longer
    told: int = 0  # gaps that clients were told of it
    counted: Gap | None = None  # that part of it in which it is known how many

    def as_json(self) -> dict[str, Any]:
        gap, counted = self.gap, self.counted
        lost = {"lost": counted.lost} if counted and _holds(counted, gap) else {}
        place = {"pattern": gap.pattern, "after": str(gap.after), "before": str(gap.before), **lost}
        told = {"cause": gap.cause, "where": self.where, "told": self.told, "time": round(self.time_s, 3)}
        return {**place, **told}


class Losses:
    """Not thread-safe."""

    def __init__(self, stretches_max: int = STRETCHES_MAX) -> None:
        cells: list[Cell] = [(cause, where) for cause in CAUSES for where in ("stream", "past")]
        self.gaps: Counter[Cell] = Counter(dict.fromkeys(cells, 0))
        self.events: Counter[Cell] = Counter(dict.fromkeys(cells, 0))  # in these, as far as it is certain
        self.told: Counter[Cell] = Counter(dict.fromkeys(cells, 0))
        self._stretches_max = stretches_max
        self._stretches: OrderedDict[tuple[Any, ...], Stretch] = OrderedDict()  # longest unchanged first

    def note(self, gap: Gap, now_s: float, *, clients: int = 1, where: Where = "past") -> None:
        """So many clients are told this gap, `now_s` by the time of day."""
        self.told[gap.cause, where] += clients
        if where == "past" and (known := self._stretches.get(_key(gap, "stream"))) and _holds(known.gap, gap):
            known.told += clients
            return
        key = _key(gap, where)
        known = self._stretches.get(key)
        if known is None or not _touch(known.gap, gap):
            known = self._stretches[key] = Stretch(gap, where, now_s)
            self._stretches.move_to_end(key)
            self.gaps[gap.cause, where] += 1
            if len(self._stretches) > self._stretches_max:
                self._stretches.popitem(last=False)
        elif not _holds(known.gap, gap):
            known.gap, known.time_s = _joined(known.gap, gap), now_s
            self._stretches.move_to_end(key)
        known.told += clients
        self.events[gap.cause, where] += _count(known, gap)

    def newest(self) -> list[dict[str, Any]]:
        """The newest stretches as JSON-able values, newest first."""
        newest = islice(reversed(self._stretches.values()), SHOWN)
        return [stretch.as_json() for stretch in newest]

    def counts(self) -> dict[str, dict[Cell, int]]:
        """By name, then by cause and where."""
        return {"gaps": dict(self.gaps), "lost_events": dict(self.events), "gaps_told": dict(self.told)}

    def as_json(self) -> dict[str, Any]:
        """The sums, and the newest."""
        sums = {name: sum(counts.values()) for name, counts in self.counts().items()}
        return {**sums, "losses": self.newest()}


def _key(gap: Gap, where: Where) -> tuple[Any, ...]:
    """Gaps with one key may be of one stretch."""
    if gap.cause in ANOTHER_LOG:
        return gap.cause, where, gap.before.epoch
    # Of a topic what is gone grows from its oldest event on. Damage stays where it is, at several places.
    place = gap.before.seq if gap.cause == "damaged" else 0
    return gap.cause, where, gap.before.epoch, gap.pattern, place


def _touch(known: Gap, gap: Gap) -> bool:
    """Whether something is in both; they have one key."""
    if gap.cause in ANOTHER_LOG:
        return True
    return gap.after.seq + 1 < known.before.seq and known.after.seq + 1 < gap.before.seq


def _holds(known: Gap, gap: Gap) -> bool:
    """Whether all of it is known; they have one key."""
    if gap.cause in ANOTHER_LOG:
        return True
    return known.after.seq <= gap.after.seq and gap.before.seq <= known.before.seq


def _joined(known: Gap, gap: Gap) -> Gap:
    after, before = min(known.after, gap.after), max(known.before, gap.before)
    return Gap(known.pattern, after, before, known.cause)


def _count(known: Stretch, gap: Gap) -> int:
    """How many events more are certainly gone."""
    if gap.lost is None:
        return 0
    counted = known.counted
    if counted is None:
        known.counted = gap
        return gap.lost
    if not _holds(gap, counted):
        return 0  # it holds no more, or nobody knows how many are in both
    assert counted.lost is not None
    known.counted = gap
    return max(0, gap.lost - counted.lost)
