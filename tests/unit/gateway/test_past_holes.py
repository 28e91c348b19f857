"""What a reader of the log is told to be gone, and how many, over pages as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from broker.control import ReplayPage
from broker.topics import Pattern
from gateway.event import Event
from gateway.hub import Hub
from gateway.interest import Interests, Want
from gateway.past import Past
from gateway.records import Records
from tests.support.events import EPOCH, event, head, position, records

Page = tuple[int, list[tuple[str, int, int]], list[Event]]  # through, holes, events
HEAD = 100


class Log:
    """A hub that has only a log, which answers with these pages."""

    epoch = EPOCH

    def __init__(self, *pages: Page, forgotten: int = 0) -> None:
        self.log = self
        self._pages = deque(pages)
        self._forgotten = forgotten

    def covers(self, _: object) -> None:
        return None

    def ahead(self, *_: object) -> None:
        pass

    def replay(
        self, _: Sequence[str], after: int, upto: int, done: Callable[[ReplayPage, Records], None]
    ) -> None:
        through, holes, events = self._pages.popleft()
        at = head(HEAD, forgotten=self._forgotten)
        done(ReplayPage(at=at, through=through, holes=holes), records(events))


def told(log: Log, since: int = 0) -> list[str]:
    """All that a reader of `**` gets from there on."""
    interest = Interests().of(frozenset({Want(Pattern("**"))}))
    past = Past(cast(Hub, log), interest, position(since))
    found: list[str] = []
    while past.position.seq < HEAD:
        for item in past.read(HEAD, lambda: None) or ():
            if isinstance(item, Event):
                found.append(f"{item.topic} {item.seq}")
            else:
                lost = "" if item.lost is None else f" lost={item.lost}"
                found.append(f"gap {item.pattern} {item.after.seq}..{item.before.seq} {item.cause}{lost}")
    return found


def test_from_the_very_beginning_all_that_is_gone_is_counted() -> None:
    log = Log((HEAD, [("a", 12, 5), ("b", 9, 1)], [event("a", 13, 12, nth=6)]))
    assert told(log) == ["gap a 0..13 retention lost=5", "gap b 0..10 retention lost=1", "a 13"]


def test_what_stands_in_a_hole_is_not_counted() -> None:
    log = Log((HEAD, [("a", 12, 5)], [event("a", 3, nth=2), event("a", 13, 12, nth=6)]))
    assert told(log) == ["gap a 0..13 retention lost=4", "a 3", "a 13"]


def test_a_hole_in_which_all_stands_is_none() -> None:
    log = Log((HEAD, [("a", 12, 1)], [event("a", 3, nth=1), event("a", 13, 3, nth=2)]))
    assert told(log) == ["a 3", "a 13"]


def test_from_somewhere_else_it_is_not_known_until_one_has_come() -> None:
    first = (20, [("a", 12, 5), ("b", 15, 7)], [event("a", 13, 12, nth=6)])
    second = (HEAD, [("a", 30, 9), ("b", 30, 9)], [event("a", 31, 30, nth=10)])
    assert told(Log(first, second), since=4) == [
        "gap a 4..13 retention", "gap b 4..16 retention", "a 13",
        "gap a 20..31 retention lost=3", "gap b 20..31 retention", "a 31",
    ]  # fmt: skip


def test_where_a_page_ends_in_a_hole_the_next_one_counts_from_what_is_gone() -> None:
    first = (8, [("a", 20, 9)], [event("a", 8, 7, nth=3)])
    second = (HEAD, [("a", 30, 12)], [event("a", 31, 30, nth=13)])
    assert told(Log(first, second)) == [
        "gap a 0..21 retention",
        "a 8",
        "gap a 20..31 retention lost=3",
        "a 31",
    ]


def test_what_stood_in_a_hole_and_is_newer_than_all_of_it_is_not_counted_with_the_next() -> None:
    """After a restart the log knows the number of the newest that is gone, and its seq only about."""
    first = (15, [("a", 20, 3)], [event("a", 13, 11, nth=4)])
    second = (HEAD, [("a", 30, 6)], [event("a", 31, 30, nth=7)])
    assert told(Log(first, second)) == [
        "gap a 0..21 retention",
        "a 13",
        "gap a 20..31 retention lost=2",
        "a 31",
    ]


def test_what_is_newer_than_the_newest_that_is_gone_is_none_of_what_stands_in_the_hole() -> None:
    stand = [event("a", 5, nth=3), event("a", 12, nth=6), event("a", 14, nth=7)]
    log = Log((HEAD, [("a", 20, 5)], stand))
    assert told(log) == ["gap a 0..21 retention lost=4", "a 5", "a 12", "a 14"]


def test_a_topic_that_may_have_begun_anew_is_not_counted() -> None:
    first: Page = (20, [], [event("a", 16, 12, nth=6)])
    second = (HEAD, [("a", 30, 9)], [event("a", 31, 30, nth=10)])
    expected = ["gap ** 14..18 forgotten", "a 16", "gap a 20..31 retention", "a 31"]
    assert told(Log(first, second, forgotten=17), since=14) == expected
