"""Which cohorts want a topic, and how much of it: found once, until a subscription changes. Pure."""

from __future__ import annotations

from collections.abc import Collection

from broker.topics import Pattern
from gateway.cohort import Cohort, Lane
from gateway.delivery import ALL
from gateway.trie import PatternTrie, TopicTrie

ROUTES_MAX = 100_000
WILD_MAX = 8

Route = tuple[tuple[Cohort, ...], tuple[Lane, ...]]  # who wants all of it, and where else it goes


class Routes:
    """A subscription's change touches only the topics that it matches."""

    def __init__(self) -> None:
        self._patterns: PatternTrie[Cohort] = PatternTrie()
        self._known: dict[str, Route] = {}
        self._topics = TopicTrie()

    def of(self, topic: str) -> Route:
        return self._known.get(topic) or self._find(topic)

    def add(self, cohort: Cohort) -> None:
        for wanted in cohort.interest.wants:
            self._patterns.add(wanted.pattern, cohort)
        self._forget([wanted.pattern for wanted in cohort.interest.wants])

    def discard(self, cohort: Cohort) -> None:
        for wanted in cohort.interest.wants:
            self._patterns.discard(wanted.pattern, cohort)
        self._forget([wanted.pattern for wanted in cohort.interest.wants])

    def _find(self, topic: str) -> Route:
        if len(self._known) >= ROUTES_MAX:
            self._known.clear()
            self._topics.clear()
        full: list[Cohort] = []
        lanes: list[Lane] = []
        for cohort in self._patterns.match(topic):
            wished = cohort.interest.delivery(topic) if cohort.interest.conflates else ALL
            if wished == ALL:
                full.append(cohort)
            elif wished is not None:
                lanes.append(cohort.lane(wished))
        found = self._known[topic] = tuple(full), tuple(lanes)
        self._topics.add(topic)
        return found

    def _forget(self, patterns: Collection[Pattern]) -> None:
        wild = [wanted for wanted in patterns if not wanted.is_literal]
        if len(wild) > WILD_MAX:
            # To find what so many match costs more than to find anew what comes.
            self._known.clear()
            self._topics.clear()
            return
        for wanted in wild:
            for topic in list(self._topics.matching(wanted)):
                self._known.pop(topic, None)
        for wanted in patterns:
            if wanted.is_literal:
                self._known.pop(wanted.text, None)
