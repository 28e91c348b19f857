"""A gateway without its sockets: the real upstream, ring, hub and connections, or one that lacks a rule."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from broker import control
from broker.control import Head
from broker.upstream import Upstream
from gateway.connection import Connection
from gateway.event import Event
from gateway.hub import Hub
from gateway.log import BrokerLog
from gateway.records import Records
from gateway.ring import Ring
from tests.model.client import Client
from tests.model.node import Node
from tests.support.flow import PlayedPublishing

if TYPE_CHECKING:
    from tests.model.world import World

LIMITS = {"subscriptions": 100, "history": 100}


class Unruly(Upstream[Event]):
    """The upstream without one of its rules."""

    def __init__(self, downstream: Any, link: Any, rules: frozenset[int]) -> None:
        super().__init__(downstream, link)
        self._rules = rules

    def _beat(self, at: Head) -> None:
        if 1 in self._rules:
            super()._beat(at)

    def follow(self, prefix: str) -> bool:
        in_force = super().follow(prefix)
        if 2 not in self._rules and self.epoch and not in_force:
            self._fresh.pop(prefix, None)
            self._follows[prefix].since = self.seen
            self._down.in_force([prefix])
            return True
        return in_force

    def on_connected(self, now_s: float) -> None:
        if 3 in self._rules or self.epoch == 0:
            super().on_connected(now_s)

    def on_beat(self, at: Head, now_s: float) -> None:
        if 3 not in self._rules:
            self._beat_s = now_s  # a missed beat would bring the barrier that this rule is about
        super().on_beat(at, now_s)

    def _event(self, event: Event) -> None:
        if 4 not in self._rules and self.epoch == event.epoch and event.seq > self.seen:
            if self._last_on(event.topic)[0] is not None:
                self._offer(event)  # runs on past the hole; what fills it later comes as a duplicate
            return
        if 5 not in self._rules:
            self._drops = event.drops  # the broker's count of drops would find the hole first
        super()._event(event)

    def _lacks(self, event: Event) -> bool | None:
        if 5 not in self._rules:
            return None if self._last_on(event.topic)[0] is None else event.prev > self.seen
        return super()._lacks(event)


class Candid(Hub):
    """The hub that asks its ring about what it never followed."""

    def covers(self, interest: Any) -> int | None:
        return 0


class Socket(Connection):
    """A connection to a client that takes `room` bytes until it reads."""

    __slots__ = ("client", "is_open", "number", "room", "sent")

    def __init__(self, hub: Hub, client: Client, room: int, number: int) -> None:
        super().__init__(hub, client.form)
        self.number = number
        self.client, self.room, self.is_open = client, room, True
        self.sent = b""

    def __hash__(self) -> int:
        return self.number  # so that sets have the same order in each run

    def write(self, data: bytes | memoryview) -> int:
        taken = min(len(data), self.room)
        self.sent += bytes(data[:taken])
        self.room -= taken
        return taken

    def await_room(self) -> None:
        pass  # the world pumps whoever read

    def read(self, room: int) -> None:
        """The client takes what was sent, and makes room for more."""
        sent, self.sent = self.sent, b""
        self.client.receive(sent)
        self.room = room
        self.pump()


class Gateway(Node):
    """A gateway with its hub."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        rules = world.rules
        self.later: deque[Callable[[], None]] = deque()
        self.log = BrokerLog(
            self.read_log,
            lambda: None,
            LIMITS["history"],
            epoch=lambda: self.hub.epoch,
            later=self.later.append,
            wait=lambda seconds, call: self.later.append(call),
            clock=lambda: world.now_s,
        )
        hub_class = Hub if 12 in rules else Candid
        self.hub = hub_class(
            Ring(world.ring_bytes), self.log, self.later.append, lambda: world.now_s,
            publishing=PlayedPublishing(), limits=LIMITS, linger_s=3,
        )  # fmt: skip
        self.upstream = Unruly(self.hub, self, rules)
        self.hub.needs.upstream = self.upstream
        self.flushing: Any = None
        self.connect()

    # upstream.Link

    def ask_replay(self, number: int, prefixes: Sequence[str], after: int, upto: int) -> None:
        request = control.Replay(id=1, prefixes=tuple(prefixes), after=after, upto=upto, limit=3)
        self.control.append((request, lambda page, events: self.upstream.on_replay(number, page, events)))

    def ask_tails(self, number: int, prefixes: Sequence[str], after: int) -> None:
        request = control.Tails(id=1, prefixes=tuple(prefixes), after=after)
        self.control.append((request, lambda page, events: self.upstream.on_tails(number, page)))

    def read_log(self, request: Any, done: Any) -> None:
        """For the hub, through the real BrokerLog; in pages small enough for there to be many."""
        limit = request.limit if isinstance(request, control.Last) else 2
        self.control.append((msgspec.structs.replace(request, limit=limit), done))

    def events_of(self, records: bytes) -> Records:
        return Records(records)

    def on_connected(self, now_s: float) -> None:
        self.upstream.on_connected(now_s)

    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        self.upstream.on_event(Event(topic, stamp, payload))

    def on_marker(self, number: int, at: Head, now_s: float) -> None:
        self.upstream.on_marker(number, at, now_s)

    def on_beat(self, at: Head, now_s: float) -> None:
        self.upstream.on_beat(at, now_s)

    def turn(self) -> None:
        """A step of the gateway's loop: callbacks, then a piece of a flush."""
        for _ in range(len(self.later)):
            self.later.popleft()()
        if self.flushing is None and (self.hub.is_dirty or self.hub.seen != self.hub.flushed):
            self.flushing = self.hub.flush()
        if self.flushing is not None:
            try:
                next(self.flushing)
            except StopIteration:
                self.flushing = None

    def tick(self) -> None:
        self.upstream.tick(self.world.now_s)
        self.hub.expire()
        self.log.expire()

    @property
    def is_quiet(self) -> bool:
        return super().is_quiet and not (self.later or self.flushing or self.hub.is_dirty)
