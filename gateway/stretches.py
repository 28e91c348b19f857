"""One read of the log for all who ask for the same stretch, at about the same time. Pure.

A page answers more questions than the one it was asked by: it has everything of its patterns between
`after` and `through`, so also what comes after any place in between. What the log has up to its head
does not change any more but for what retention takes, so an older page has the more. It is kept for a
while, for those who stalled at one place and go on one by one; and who asks while a page is under way
that will probably hold the answer waits for that. Questions are asked without their upto: what is
beyond it is cut off for each reader.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from msgspec.structs import replace

from broker.control import Newest, NewestPage, Replay, ReplayPage
from gateway.records import Records

KEPT_BYTES = 16 << 20
KEPT_S = 5.0
# That a page is asked for: a millisecond of the broker's loop and half a one of ours, in which others wait.
READ_EVENTS = 1_000
NEAR_SEQS = READ_EVENTS  # a page reaches at least so far beyond its `after`, unless its events are large
_STRETCH_BYTES = 4_000  # a page with nothing in it
_HOLE_BYTES = 200

Page = ReplayPage | NewestPage


class Subject(NamedTuple):
    """Pages of one subject can stand for each other."""

    op: type[Replay] | type[Newest]
    epoch: int
    patterns: tuple[str, ...]


class Asker(NamedTuple):
    """Who wants to know what is between two seqs."""

    after: int
    upto: int
    done: Callable[[Any, Records], None]


class Move(Enum):
    ASK = "the log is to be asked, from the asker's `after` on"
    WAIT = "somebody has"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A page, with where it begins."""

    after: int
    page: Page
    events: Records

    def holds(self, after: int) -> bool:
        """Something beyond that place, and all of it up to `through`."""
        return self.after <= after < self.page.through

    def part(self, after: int, upto: int) -> tuple[Page, Records]:
        """The page as if it had been asked for these seqs. `after` is held, or where it begins."""
        page, events = self.page, self.events
        if after == self.after and upto >= page.at.head:
            return page, events
        start, end = events.place_after(after), events.place_after(upto)
        damaged = [
            (max(first, after + 1), min(last, upto))
            for first, last in page.damaged
            if last > after and first <= upto
        ]
        cut = replace(page, through=min(page.through, upto), damaged=damaged)
        if isinstance(cut, ReplayPage):
            # Who has passed a topic's hole lacks nothing of it; one that goes on beyond `upto` is told
            # again from there on.
            holes = [
                (topic, min(seq, upto), nth if seq <= upto else 0)
                for topic, seq, nth in cut.holes
                if seq > after
            ]
            cut = replace(cut, holes=holes)
        return cut, events[start:end]

    @property
    def weight(self) -> int:
        holes = len(self.page.holes) if isinstance(self.page, ReplayPage) else 0
        return _STRETCH_BYTES + holes * _HOLE_BYTES + self.events.weight


class _Kept(NamedTuple):
    stretch: Stretch
    since_s: float
    weight: int


class Stretches:
    """Pages that are kept, and who waits for one that is under way. Not thread-safe."""

    def __init__(self, max_bytes: int = KEPT_BYTES, keep_s: float = KEPT_S) -> None:
        self._max_bytes, self._keep_s = max_bytes, keep_s
        self._kept: OrderedDict[tuple[Subject, int], _Kept] = OrderedDict()  # oldest first
        self._bytes = 0
        self._places: dict[Subject, list[int]] = {}  # where the kept ones begin
        self._waiting: dict[Subject, dict[int, list[Asker]]] = {}  # by where the page begins

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def route(
        self, subject: Subject, asker: Asker, now_s: float, near_seqs: int = NEAR_SEQS
    ) -> Stretch | Move:
        """A stretch that holds the answer; else the asker waits, and this tells for what.

        `near_seqs`: how far a page that is under way may begin before the asker's place.
        """
        self.expire(now_s)
        after = asker.after
        kept = [self._kept[subject, place].stretch for place in self._places.get(subject, ())]
        if holding := [stretch for stretch in kept if stretch.holds(after)]:
            return max(holding, key=lambda stretch: stretch.page.through)
        waiting = self._waiting.setdefault(subject, {})
        nearest = max((place for place in waiting if place <= after), default=None)
        if nearest is not None and (nearest == after or after - nearest < near_seqs):
            waiting[nearest].append(asker)
            return Move.WAIT
        waiting[after] = [asker]
        return Move.ASK

    def ends_at(self, subject: Subject, place: int, now_s: float, within_s: float) -> bool:
        """A page that came so short ago ends there, and nothing that goes on is kept or under way."""
        kept = [self._kept[subject, begin] for begin in self._places.get(subject, ())]
        return (
            any(each.stretch.page.through == place and now_s - each.since_s < within_s for each in kept)
            and not any(each.stretch.holds(place) for each in kept)
            and place not in self._waiting.get(subject, ())
        )

    def take(self, subject: Subject, stretch: Stretch, now_s: float) -> tuple[list[Asker], list[Asker]]:
        """The answer that is kept from now on: whom it serves, and who is to ask again, by place.

        Whoever asked for this very place is served, even if nothing was there.
        """
        askers = self.fail(subject, stretch.after)
        if stretch.page.at.epoch_number != subject.epoch:
            return askers, []  # it tells of another log, and that is what they have to know
        self._keep(subject, stretch, now_s)
        served = [asker for asker in askers if asker.after == stretch.after or stretch.holds(asker.after)]
        left = [asker for asker in askers if asker.after != stretch.after and not stretch.holds(asker.after)]
        return served, sorted(left, key=lambda asker: asker.after)

    def fail(self, subject: Subject, after: int) -> list[Asker]:
        """There is no answer: who waited for it."""
        waiting = self._waiting[subject]
        askers = waiting.pop(after)
        if not waiting:
            del self._waiting[subject]
        return askers

    def expire(self, now_s: float) -> None:
        """Drop what was kept for long."""
        while self._kept:
            key, kept = next(iter(self._kept.items()))
            if now_s - kept.since_s < self._keep_s:
                return
            self._drop(key)

    def _keep(self, subject: Subject, stretch: Stretch, now_s: float) -> None:
        key = subject, stretch.after
        if key in self._kept:
            self._drop(key)
        if stretch.page.through <= stretch.after:
            return
        kept = self._kept[key] = _Kept(stretch, now_s, stretch.weight)
        self._places.setdefault(subject, []).append(stretch.after)
        self._bytes += kept.weight
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[Subject, int]) -> None:
        subject, place = key
        self._bytes -= self._kept.pop(key).weight
        places = self._places[subject]
        places.remove(place)
        if not places:
            del self._places[subject]
