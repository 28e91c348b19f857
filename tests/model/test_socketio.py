"""Clients of Socket.IO at two gateways of one log, at random: whoever goes on has missed nothing.

They break off at any step, with words on their way, known to the gateway or not, and come back here or
there, where the events are not yet that have been seen elsewhere; the log lets some go. Every event comes
once and in order to who is told that nothing is missing. Who is told that it is new begins anew.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import pytest

from broker.topics import Pattern
from broker.wire import Position
from gateway import connection, past
from gateway.event import Event
from gateway.socketio import polling
from tests.support.flow import Flow
from tests.support.socketio import Browser, Played, PlayedKeeping

TOPICS = ("a", "b/x", "b/y")
PATTERNS = ("a", "b/*", "**")
STEPS = 150


class Page(Browser):
    """It wants some patterns, asks for them whenever it is new, and checks what it is sent."""

    def __init__(self, world: World, at: Played, delivery: str) -> None:
        super().__init__(at)
        self.world, self.delivery = world, delivery
        self.wanted: set[str] = set()
        self.since: dict[str, int] = {}  # of each pattern that it has
        self.last: dict[str, int] = {}  # seq of each topic that it has had, or knows to be gone
        self.newest = 0
        # The newest seq of each topic. Of newest values that of a connection: elsewhere they may be older
        # for a moment.
        self.order: dict[str, int] = {}
        self.asked: dict[int, tuple[str, str]] = {}

    def come(self, at: Played) -> None:
        # What was not answered on the connection before, nobody has heard, as far as it knows.
        self.asked.clear()
        self.is_reading = True
        self.connect(at, rests=False)

    def want(self, name: str, pattern: str) -> None:
        if name == "subscribe":
            self.wanted.add(pattern)
        else:
            self.wanted.discard(pattern)
        if self.client is not None and self.client.is_greeted and not self.client.has_ended:
            self._request(name, pattern)

    def _request(self, name: str, pattern: str) -> None:
        self._id += 1
        self.asked[self._id] = name, pattern
        options = [{"delivery": self.delivery}] if name == "subscribe" else []
        self.emit(name, pattern, *options, id=self._id)

    def _take(self, packet: str) -> None:
        known = len(self.recovered)
        super()._take(packet)
        if len(self.recovered) > known:
            self.at.flow.later.append(self._came)
            if self.delivery != "all":
                self.order.clear()
            if not self.recovered[-1]:
                self.since.clear()
                self.last.clear()
                self.order.clear()
                self.newest = 0
        elif packet.startswith("43"):
            id = int(packet[2:].partition("[")[0])
            self._answer(*self.asked.pop(id), self.acks[id])

    def _came(self) -> None:
        """As a page does: what it wants and does not have it asks for, and the other way round."""
        if self.client is None or self.client.has_ended:
            return
        for pattern in sorted(self.wanted - self.since.keys()):
            self._request("subscribe", pattern)
        for pattern in sorted(self.since.keys() - self.wanted):
            self._request("unsubscribe", pattern)

    def _answer(self, name: str, pattern: str, answer: Any) -> None:
        if name == "unsubscribe":
            assert "ok" in answer or answer["error"]["code"] == "not_subscribed"
            self.since.pop(pattern, None)
            return
        at = Position.parse(answer["ok"]["position"]).seq
        self.since[pattern] = at
        self.newest = max(self.newest, at)

    def _hear(self, args: list[Any]) -> None:
        super()._hear(args)
        name, told = args[:2]
        if name == "event":
            self._check(told["topic"], told["seq"])
        elif name == "gap":
            before = Position.parse(told["before"]).seq
            for topic in TOPICS:
                if Pattern(told["pattern"]).matches(topic):
                    self.last[topic] = max(self.last.get(topic, 0), before - 1)

    def _check(self, topic: str, seq: int) -> None:
        if self.delivery == "all":
            assert seq > self.newest, f"{topic} {seq} after {self.newest}"
            self.newest = seq
            lacking = self.world.seqs(topic, self.had(topic), seq - 1)
            assert not lacking, f"{topic} {lacking} before {seq}"
        assert seq > self.order.get(topic, 0), f"{topic} {seq} again"
        self.order[topic] = seq
        self.last[topic] = max(seq, self.last.get(topic, 0))

    def had(self, topic: str) -> int:
        """Up to where it is owed nothing more."""
        since = [at for pattern, at in self.since.items() if Pattern(pattern).matches(topic)]
        return max(self.last.get(topic, 0), min(since, default=1 << 60))

    def assert_whole(self) -> None:
        assert self.since.keys() == self.wanted
        for topic in TOPICS:
            lacking = self.world.seqs(topic, self.had(topic), self.world.log.head)
            assert not lacking, f"{topic} {lacking} at the end"


class World:
    """Two gateways, one log, and pages between them."""

    def __init__(self, chosen: Random) -> None:
        self.chosen = chosen
        self.flows = [Flow(ring_bytes=chosen.choice((1, 40, 1 << 20))) for _ in range(2)]
        log = self.log = self.flows[0].log
        self.flows[1].log = self.flows[1].hub.log = log
        self.gateways = [Played(flow, PlayedKeeping(flow)) for flow in self.flows]
        self.gateways[1].keeping.values = self.gateways[0].keeping.values
        for gateway, other in (self.gateways, self.gateways[::-1]):
            gateway.feeds._tell_others = other.feeds.part
        self.coming: list[deque[Event]] = [deque(), deque()]  # what each has yet to hear
        self.all: list[tuple[str, int]] = []
        self.pages = [
            Page(self, self.gateways[number % 2], delivery)
            for number, delivery in enumerate(("all", "all", "latest"))
        ]

    def seqs(self, topic: str, after: int, upto: int) -> list[int]:
        return [seq for known, seq in self.all if known == topic and after < seq <= upto]

    def step(self) -> None:
        chosen = self.chosen
        page, number = chosen.choice(self.pages), chosen.randrange(2)
        move = chosen.choices(
            ("publish", "hear", "run", "rest", "break", "come", "want", "pause", "read", "forget", "pass"),
            (30, 20, 40, 8, 6, 12, 6, 3, 6, 2, 3),
        )[0]
        if move == "publish":
            self.publish(*chosen.choices(TOPICS, k=chosen.randint(1, 4)))
        elif move == "hear":
            self.hear(number, chosen.randint(1, 6))
        elif move == "run":
            self.run(self.flows[number])
        elif move == "rest":
            self.flows[number].rest()
        elif move == "break":
            page.break_off(is_known=chosen.random() < 0.5)
        elif move == "come":
            if page.is_closed:
                page.come(self.gateways[number])
        elif move == "want":
            page.want(chosen.choice(("subscribe", "subscribe", "unsubscribe")), chosen.choice(PATTERNS))
        elif move == "pause":
            page.is_reading = False
        elif move == "read":
            page.read()
        elif move == "forget":
            # The last event of each topic stays, as in every log.
            last = [max(self.seqs(topic, 0, self.log.head), default=self.log.head) for topic in TOPICS]
            self.log.forget(min(self.log.head - chosen.randint(0, 10), min(last) - 1))
        else:
            self.flows[number].pass_time(chosen.choice((1, 61)))

    def publish(self, *topics: str) -> None:
        for topic in topics:
            self.flows[0].publish(topic, is_heard=False)
            made = self.log.events[-1]
            self.all.append((topic, made.seq))
            for coming in self.coming:
                coming.append(made)

    def hear(self, number: int, count: int) -> None:
        coming = self.coming[number]
        for _ in range(min(count, len(coming))):
            self.flows[number].hear_of(coming.popleft())

    def run(self, flow: Flow) -> None:
        """One of the things that happen by themselves."""
        chances = []
        if flow.later:
            chances.append(lambda: flow.later.popleft()())
        if flow.fresh:
            chances.append(flow.force)
        if flow.log.is_asked:
            chances.append(flow.log.answer)
        if flow.hub.is_dirty:
            chances.append(flow.flush)
        if chances:
            self.chosen.choice(chances)()

    def end(self) -> None:
        """All is heard, all are back, and all have all."""
        for _ in range(6):
            for number, flow in enumerate(self.flows):
                self.hear(number, 1 << 30)
                flow.rest()
                flow.pass_time(2)
                flow.rest()
            for page in self.pages:
                page.read()
                if page.is_closed:
                    page.come(self.gateways[0])
            for flow in self.flows:
                flow.rest()
        for page in self.pages:
            page.assert_whole()


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a past takes several polls, and they may break off in its middle."""
    monkeypatch.setattr(past, "PAGE_EVENTS", 3)
    monkeypatch.setattr(connection, "STEPS_PER_PUMP", 2)
    monkeypatch.setattr(polling, "TAKE_BYTES", 400)


@pytest.mark.parametrize("seed", range(150))
def test_whoever_goes_on_has_missed_nothing(seed: int) -> None:
    world = World(Random(seed))
    for page in world.pages:
        page.want("subscribe", world.chosen.choice(PATTERNS))
        page.come(page.at)
    for _ in range(STEPS):
        world.step()
    world.end()


def test_they_do_go_on() -> None:
    """Or the rest would show nothing."""
    back = [0, 0]
    for seed in range(30):
        world = World(Random(seed))
        for page in world.pages:
            page.want("subscribe", "**")
            page.come(page.at)
        for _ in range(STEPS):
            world.step()
        for page in world.pages:
            back[0] += page.recovered[1:].count(True)
            back[1] += page.recovered[1:].count(False)
    assert back[0] > 30
    assert back[1] > 3
