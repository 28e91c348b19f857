"""Whoever has a feed and a control connection to the broker, and the queues that these are here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from broker import control
from broker.control import Head
from broker.errors import ControlTimeout
from tests.model.broker import Wire, system_stamp

if TYPE_CHECKING:
    from tests.model.world import World


class Node(ABC):
    """Whoever has a feed and a control connection to the broker."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.filters: list[bytes] = [b"$broker/beat"]
        self.in_force: list[bytes] = []  # at the broker
        self.commands: deque[tuple[bool, bytes]] = deque()  # subscriptions on their way to the broker
        self.feed: deque[Wire] = deque()
        self.control: deque[tuple[Any, Any]] = deque()  # requests on their way, with what takes the answer
        self.answers: deque[Callable[[], None]] = deque()
        self._barrier = b""
        self._is_connected = False
        self._knows_connected = True

    # upstream.Link

    def set_filter(self, prefix: str, is_on: bool) -> None:
        self._command(is_on, prefix.encode())

    def barrier(self, number: int) -> None:
        if self._barrier:
            self._command(False, self._barrier)
        self._barrier = b"$sync/%b/%d" % (self.name.encode(), number)
        self._command(True, self._barrier)

    # What it makes of it

    @abstractmethod
    def events_of(self, records: bytes) -> Any: ...
    @abstractmethod
    def on_connected(self, now_s: float) -> None: ...
    @abstractmethod
    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None: ...
    @abstractmethod
    def on_marker(self, number: int, at: Head, now_s: float) -> None: ...
    @abstractmethod
    def on_beat(self, at: Head, now_s: float) -> None: ...
    @abstractmethod
    def turn(self) -> None:
        """A step of its own."""

    @abstractmethod
    def tick(self) -> None: ...
    def read_all(self) -> None:  # noqa: B027 - only a program reads by itself
        """What it has for whoever is in it."""

    # Moves of the world

    def connect(self) -> None:
        """libzmq connects and sends all filters again, in its own order."""
        self._is_connected, self._knows_connected = True, False
        self.commands.clear()
        self.in_force = []
        for topic in sorted(self.filters, reverse=self.world.reverse_filters):
            self.commands.append((True, topic))

    def disconnect(self) -> None:
        """The feed breaks: what was on its way is gone, and the broker forgets the filters."""
        self._is_connected = False
        self.feed.clear()
        self.commands.clear()
        self.in_force = []

    def carry_command(self) -> None:
        if not self.commands:
            return
        is_on, topic = self.commands.popleft()
        if not is_on:
            if topic in self.in_force:
                self.in_force.remove(topic)
            return
        is_new = topic not in self.in_force
        self.in_force.append(topic)
        if is_new and topic.startswith(b"$sync/"):
            broker = self.world.broker
            self.send((topic, system_stamp(broker.drops), control.encode(broker.head())))

    def send(self, message: Wire) -> bool:
        """From the broker: False if nobody here wants it."""
        if not (self._is_connected and any(message[0].startswith(topic) for topic in self.in_force)):
            return False
        self.feed.append(message)
        return True

    def deliver(self) -> None:
        """One message of the feed arrives."""
        if self._is_connected and not self._knows_connected:
            self._knows_connected = True
            self.on_connected(self.world.now_s)
        if not self.feed:
            return
        topic, stamp, payload = self.feed.popleft()
        if topic == b"$broker/beat":
            self.on_beat(_head(payload), self.world.now_s)
        elif topic.startswith(b"$sync/"):
            self.on_marker(int(topic.rpartition(b"/")[2]), _head(payload), self.world.now_s)
        else:
            self.on_event(topic, stamp, payload)

    def carry_request(self, place: int) -> None:
        """A request reaches the broker, which answers at once; the answer sets off."""
        if not self.control:
            return
        self.control.rotate(-(place % len(self.control)))
        request, done = self.control.popleft()
        page, records = self.world.broker.answer(request)
        self.answers.append(partial(done, page, self.events_of(records)))

    def carry_answer(self, place: int) -> None:
        if self.answers:
            self.answers.rotate(-(place % len(self.answers)))
            self.answers.popleft()()

    def lose_request(self, place: int) -> None:
        """One that the upstream asked gets lost on its way."""
        lost = [item for item in self.control if not _is_of_hub(item[0])]
        if lost:
            self.control.remove(lost[place % len(lost)])

    def lose_requests(self) -> None:
        """All are lost. The link tells who reads the log so, in time; the upstream asks again by itself."""
        for request, done in self.control:
            if _is_of_hub(request):
                error = ControlTimeout("the broker", 1.0)
                self.answers.append(partial(done, error, self.events_of(b"")))
        self.control.clear()

    def _command(self, is_on: bool, topic: bytes) -> None:
        if is_on:
            self.filters.append(topic)
        elif topic in self.filters:
            self.filters.remove(topic)
        if self._is_connected:
            self.commands.append((is_on, topic))

    @property
    def is_quiet(self) -> bool:
        return not (self.commands or self.feed or self.control or self.answers or not self._knows_connected)


def _is_of_hub(request: Any) -> bool:
    return isinstance(request, control.Last) or bool(request.patterns)


def _head(payload: bytes) -> Head:
    return msgspec.json.decode(payload, type=Head)
