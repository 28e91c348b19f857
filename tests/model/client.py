"""A browser as the protocol describes it: it follows positions and writes down what it got."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from broker.topics import Pattern
from broker.wire import Position
from gateway.forms import NATIVE
from gateway.protocol import Subscribe


@dataclass
class Hole:
    pattern: Pattern
    after: Position
    before: Position
    cause: str
    lost: int | None
    had: frozenset[Position]  # all that the client had when it was told
    is_of_all: bool = True  # of what it wants in full


@dataclass
class Subscription:
    id: int
    pattern: Pattern
    asked: dict[str, Any]  # history or since, as it was asked last
    start: Position | None = None  # of the first reply: from here on everything is due
    delivery: Any = "all"
    is_replied: bool = False
    got: list[Position] = field(default_factory=list)
    seen: set[Position] = field(default_factory=set)


class Disorder(AssertionError):
    """The server broke the protocol."""


class Client:
    """Parses frames; the world moves the bytes."""

    form = NATIVE

    def __init__(self, is_strict: bool = True, history_moves: bool = False) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.holes: list[Hole] = []
        self.position: Position | None = None  # G
        self.settled: Position | None = None  # where it is with what it does not want in full
        self.newest: dict[str, Position] = {}  # of each topic, as shown
        self.epoch = 0
        self.buffer = b""
        self.outbox: list[str | Subscribe] = []
        self.is_stale = False
        self._ids = 0
        self._shown: dict[str, int] = {}  # of each topic, on this connection, in this epoch
        self._is_strict = is_strict  # tell disorder, too; else only what is lacking at the end
        self._history_moves = history_moves  # the mistake that LOSSES 6 is about

    # What the world does

    def subscribe(self, text: str, history: int = 0, delivery: Any = "all") -> None:
        self._ids += 1
        asked = {"history": history} if history else {}
        made = Subscription(self._ids, Pattern(text), asked, delivery=delivery)
        self.subscriptions[text] = made
        self._ask(made)

    def unsubscribe(self, text: str) -> None:
        if self.subscriptions.pop(text, None):
            self._ids += 1
            self.outbox.append(json.dumps({"unsubscribe": text, "id": self._ids}))

    def reconnect(self) -> None:
        """On a new connection: what was answered goes on from G, the rest is asked as before."""
        self.buffer = b""
        self.outbox = []
        for subscription in self.subscriptions.values():
            if subscription.is_replied or (self._history_moves and subscription.start and self.position):
                place = self.position if subscription.delivery == "all" else self.settled
                assert place
                subscription.asked = {"since": str(place)}
            subscription.is_replied = False
            self._ids += 1
            subscription.id = self._ids
            self._ask(subscription)
        self.position = self.settled = None
        self._shown.clear()

    def receive(self, data: bytes) -> None:
        self.buffer += data
        while (frame := self._frame()) is not None:
            for line in frame.split("\n"):
                self._object(json.loads(line))

    # Within

    def _complain(self, what: str) -> None:
        if self._is_strict:
            raise Disorder(what)

    def _ask(self, subscription: Subscription) -> None:
        fields = {"subscribe": subscription.pattern.text, "id": subscription.id, **subscription.asked}
        if subscription.delivery != "all":
            fields["delivery"] = subscription.delivery
        self.outbox.append(json.dumps(fields))

    def _frame(self) -> str | None:
        data = self.buffer
        if len(data) < 2:
            return None
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
        if len(data) < at + size:
            return None
        if data[0] != 0x81:
            raise Disorder(f"not a whole text frame: {data[:4]!r}")
        self.buffer = data[at + size :]
        return data[at : at + size].decode()

    def _object(self, told: dict[str, Any]) -> None:
        if "welcome" in told:
            self.epoch = Position.parse(told["welcome"]["position"]).epoch
        elif "reply" in told:
            self._reply(told)
        elif "gap" in told:
            self._gap(told["gap"], "history" in told)
        elif "at" in told:
            self._at(Position.parse(told["at"]))
        elif "notice" in told:
            self.is_stale = told["notice"]["stale"]
        elif "history" in told:
            self._past(told)
        elif "prev" in told:
            self._event(told)
        else:
            self._value(told)

    def _reply(self, told: dict[str, Any]) -> None:
        for subscription in self.subscriptions.values():
            if subscription.id == told["reply"] and "ok" in told:
                position = Position.parse(told["ok"]["position"])
                if self.position and self.position.epoch == position.epoch and position < self.position:
                    self._complain(f"the reply goes back from {self.position} to {position}")
                subscription.is_replied = True
                subscription.start = subscription.start or position
                if not (self._history_moves and self.position and position < self.position):
                    self.position = position
                self.settled = position
                self.epoch = position.epoch

    def _at(self, position: Position) -> None:
        """Of a connection that came before the broker was heard, or of what is not wanted in full."""
        if self.settled is None:
            self.position, self.epoch = position, position.epoch
        elif position.epoch == self.settled.epoch and position < self.settled:
            self._complain(f"goes back from {self.settled} to {position}")
        self.settled = position

    def _gap(self, gap: dict[str, Any], is_tagged: bool) -> None:
        hole = self._note_hole(gap, is_tagged=is_tagged)
        if is_tagged:
            return
        if hole.before.epoch != self.epoch and gap["cause"] == "epoch":
            self.epoch = hole.before.epoch
            self.position = self.settled = Position(hole.before.epoch, hole.before.seq - 1)
            self._shown.clear()

    def _note_hole(self, gap: dict[str, Any], *, is_tagged: bool = False) -> Hole:
        after, before = Position.parse(gap["after"]), Position.parse(gap["before"])
        had = frozenset(at for each in self.subscriptions.values() for at in each.seen)
        is_of_all = all(
            each.delivery == "all"
            for each in self.subscriptions.values()
            if each.pattern.matches(gap["pattern"])
        )
        hole = Hole(Pattern(gap["pattern"]), after, before, gap["cause"], gap.get("lost"), had, is_of_all)
        # Of a topic that it wants no more, or has just asked for, it writes down no events, and cannot say
        # how many are missing.
        wanted = (each for each in self.subscriptions.values() if each.pattern.matches(gap["pattern"]))
        if hole.lost is None or is_tagged or any(each.is_replied for each in wanted):
            self.holes.append(hole)
        return hole

    def _past(self, told: dict[str, Any]) -> None:
        for subscription in self.subscriptions.values():
            if subscription.id == told["history"]:
                at = Position(self.epoch, told["seq"])
                self._show(told["topic"], at)
                if at not in subscription.seen:  # asked twice after a break, so perhaps had already
                    subscription.seen.add(at)
                    subscription.got.append(at)
                if self._history_moves and (self.position is None or at.seq > self.position.seq):
                    self.position = at

    def _event(self, told: dict[str, Any]) -> None:
        at = Position(self.epoch, told["seq"])
        if self.position and at.seq <= self.position.seq:
            self._complain(f"{told['topic']} at {at}, but {self.position} was told before")
        self.position = at
        self._show(told["topic"], at)
        for subscription in self.subscriptions.values():
            if subscription.is_replied and subscription.pattern.matches(told["topic"]):
                if at in subscription.seen:
                    self._complain(f"{told['topic']} at {at} twice for {subscription.pattern.text}")
                subscription.seen.add(at)
                subscription.got.append(at)

    def _value(self, told: dict[str, Any]) -> None:
        """Of a topic that is not wanted in full."""
        at = Position(self.epoch, told["seq"])
        if at.seq <= self._shown.get(told["topic"], 0):
            self._complain(f"{told['topic']} at {at} is not newer than what was shown")
        self._shown[told["topic"]] = at.seq
        self._show(told["topic"], at)

    def _show(self, topic: str, at: Position) -> None:
        before = self.newest.get(topic)
        if before is None or before.epoch != at.epoch or before < at:
            self.newest[topic] = at
