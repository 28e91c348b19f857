"""A backend program that reads events: the real subscription, in the world of queues.

It stores its position now and then, and dies and is started again with what it stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from broker import control
from broker.control import Head
from broker.gap import Gap
from broker.topics import Pattern
from broker.wire import Position, unpack_records
from producer.event import Event
from producer.pending import Pending
from producer.questions import Done
from producer.subscription import Subscription as RealSubscription
from tests.model.client import Client, Hole, Subscription
from tests.model.node import Node
from tests.model.world import World


class Kinds(NamedTuple):
    """What it is made of."""

    subscription: type[RealSubscription] = RealSubscription
    pending: type[Pending] = Pending


class Program(Node):
    """One life of it; `told` is what all lives have been told."""

    def __init__(self, world: World, name: str, told: Told, kinds: Kinds) -> None:
        super().__init__(world, name)
        self.told = told
        since = told.stored
        self.pending = kinds.pending(since, lambda: None)
        self.subscription = kinds.subscription(
            [Pattern(text) for text in told.subscriptions],
            self,
            self.pending,
            since=since,
            history=told.history,
            on_stale=lambda _: None,
        )
        self.subscription.begin(world.now_s)
        self.connect()

    # subscription.Link: filters and barriers are a node's

    def ask(self, request: control.AnyRequest, done: Done) -> None:
        if isinstance(request, control.Replay):
            request = control.Replay(
                id=1, prefixes=request.prefixes, after=request.after, upto=request.upto, limit=3
            )

        self.control.append((request, done))

    # world.Node

    def events_of(self, records: bytes) -> list[Event]:
        return [Event(*each) for each in unpack_records(records)]

    def lose_requests(self) -> None:
        self.control.clear()  # it is told of none

    def on_connected(self, now_s: float) -> None:
        self.subscription.on_connected(now_s)

    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        self.subscription.on_event(topic, stamp, payload)

    def on_marker(self, number: int, at: Head, now_s: float) -> None:
        self.subscription.on_marker(number, at, now_s)
        if self.told.start is None and self.pending.await_begin(0):
            self.told.begin(Position(at.epoch_number, at.head))

    def on_beat(self, at: Head, now_s: float) -> None:
        self.subscription.on_beat(at, now_s)

    def turn(self) -> None:
        self.subscription.turn(self.world.now_s)

    def tick(self) -> None:
        self.subscription.tick(self.world.now_s)
        self.turn()

    # Its own

    def read(self, count: int) -> None:
        for _ in range(count):
            if (item := self.pending.take(0)) is None:
                return
            self.told.take(item)

    def read_all(self) -> None:
        self.read(1_000)

    def store(self) -> None:
        self.told.store(self.pending.position)


class Told(Client):
    """What a program got in all its lives, and what it stored."""

    def __init__(self, patterns: Sequence[str], history: int) -> None:
        super().__init__()
        self.subscriptions = {text: Subscription(0, Pattern(text), {}, is_replied=True) for text in patterns}
        self.history = history
        self.holes: list[Hole] = []
        self.newest: dict[str, Position] = {}
        self.stored: Position | None = None
        self.wrong: list[str] = []
        self.start: Position | None = None  # from here on everything is due
        self._last: Position | None = None  # of this life
        self._seen: set[Position] = set()
        self._stored: tuple[set[Position], list[Hole]] = set(), []  # what was told when it was stored

    def begin(self, start: Position) -> None:
        self.start = start
        for each in self.subscriptions.values():
            each.start = start

    def take(self, item: Event | Gap) -> None:
        if isinstance(item, Gap):
            had = frozenset(self._seen)
            hole = Hole(Pattern(item.pattern), item.after, item.before, item.cause, item.lost, had)
            self.holes.append(hole)
            return
        at = Position(item.epoch, item.seq)
        if at in self._seen:
            self.wrong.append(f"{item} twice")
        if self._last and self._last.epoch == at.epoch and at.seq <= self._last.seq:
            self.wrong.append(f"{item} after {self._last}")
        self._last = at
        self._seen.add(at)
        for each in self.subscriptions.values():
            if each.pattern.matches(item.topic):
                each.seen.add(at)

    def store(self, position: Position | None) -> None:
        """As in one transaction with what was made of the events so far."""
        self.stored = position
        self._stored = set(self._seen), list(self.holes)

    def die(self) -> None:
        """What was not stored is forgotten, and has to come again."""
        self._last = None
        self._seen, self.holes = set(self._stored[0]), list(self._stored[1])
        for text, each in self.subscriptions.items():
            self.subscriptions[text] = replace(each, seen=each.seen & self._seen)
        if self.stored is None:
            self.start = None
