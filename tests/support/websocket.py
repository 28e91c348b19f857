"""A real WebSocket client of the native protocol: it follows positions, and writes down what came.

It checks as it reads: untagged events come in strictly increasing seq, past events only to a
subscription that asked, every reply to a request. It mends nothing: a second copy of an event is kept
as a second copy, for the test to find.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from broker.topics import Pattern
from broker.wire import Position
from tests.support.waiting import DEADLINE_S, wait_for

MESSAGE_MAX_BYTES = 4 << 20


class Event(NamedTuple):
    """One event as a browser gets it."""

    epoch: int
    topic: str
    seq: int
    nth: int
    data: Any  # of `data`, `text` or `base64`, whichever it has


@dataclass
class Subscription:
    """One pattern, over all connections of the client."""

    pattern: Pattern
    asked: dict[str, Any]  # history or since, as it was asked last
    ok: dict[str, Any] | None = None  # of the newest reply; None while one is awaited
    past: list[Event] = field(default_factory=list)  # what was asked for, until the reply says it is whole
    events: list[Event] = field(default_factory=list)

    def has_had(self, count: int) -> bool:
        return self.ok is not None and len(self.events) >= count


class Client:
    """One browser. Not connected before `connect`."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.gaps: list[dict[str, Any]] = []
        self.notices: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.welcome: dict[str, Any] = {}
        self.position: Position | None = None  # how far this connection has come
        self.close_code: int | None = None
        self.close_reason = ""
        self.beats = 0
        self._last_id = 0
        self._awaited: dict[int, Subscription] = {}
        self._socket: ClientConnection | None = None
        self._open = ExitStack()

    # Its life

    def connect(self, url: str) -> None:
        """Connect, or go on elsewhere: answered subscriptions from their position, others as first asked."""
        self.close()
        opening = connect(
            url.replace("http://", "ws://") + "/ws",
            subprotocols=[Subprotocol("penstock.v1")],
            compression=None,
            proxy=None,
            max_size=MESSAGE_MAX_BYTES,
            ping_interval=None,
            # Whoever left frames unread never sees the answer to its close.
            close_timeout=0.1,
        )
        self._socket = self._open.enter_context(opening)
        for subscription in self.subscriptions.values():
            if subscription.ok is not None:
                subscription.asked = {"since": str(self.position)}
            subscription.past = []
        self._awaited.clear()
        self.welcome, self.close_code = {}, None
        self.read_until(lambda: bool(self.welcome), what="a welcome")
        for subscription in self.subscriptions.values():
            self._ask(subscription)

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What it says

    def subscribe(self, pattern: str, *, awaited: bool = True, **asked: Any) -> Subscription:
        """Follow a pattern; returns when the reply has come, if it is `awaited`."""
        subscription = self.subscriptions[pattern] = Subscription(Pattern(pattern), asked)
        self._ask(subscription)
        if awaited:
            self.read_until(lambda: subscription.ok is not None, what=f"the reply to {pattern}")
        return subscription

    def say(self, text: str | bytes) -> None:
        """A frame as it is."""
        assert self._socket is not None
        self._socket.send(text)

    def _ask(self, subscription: Subscription) -> None:
        self._last_id += 1
        subscription.ok = None
        self._awaited[self._last_id] = subscription
        asked = {"subscribe": subscription.pattern.text, "id": self._last_id, **subscription.asked}
        self.say(json.dumps(asked))

    # What it hears

    def read_until(
        self, fact: Callable[[], object], *, what: str | Callable[[], str], deadline_s: float = DEADLINE_S
    ) -> None:
        """Reads until `fact` is true. Raises AssertionError past the deadline, ConnectionClosed."""
        deadline = time.monotonic() + deadline_s
        while not fact():
            try:
                self.read(deadline - time.monotonic())
            except TimeoutError:
                told = what if isinstance(what, str) else what()
                raise AssertionError(f"not within {deadline_s:g} s: {told}\n{self!r}") from None

    def read_events(self, subscription: Subscription, count: int) -> None:
        """Until it is answered and has had so many events since it was made."""
        self.read_until(lambda: subscription.has_had(count), what=f"{count} events")

    def read_more(self, subscription: Subscription, count: int) -> None:
        """Until it has so many events more than now."""
        self.read_events(subscription, len(subscription.events) + count)

    def read_stale(self, is_stale: bool) -> None:
        """Until the gateway has said whether it hears the broker, and it is so."""
        self.read_until(lambda: self.is_stale is is_stale, what=f"stale: {is_stale}")

    def follow_until(
        self,
        fact: Callable[[], object],
        *,
        url: str,
        what: str | Callable[[], str],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """As `read_until`, but whenever the connection ends it goes on at `url`."""
        deadline = time.monotonic() + deadline_s
        while True:
            try:
                return self.read_until(fact, what=what, deadline_s=deadline - time.monotonic())
            except ConnectionClosed:
                wait_for(lambda: self._reconnects(url), what=f"a connection to {url}")

    def _reconnects(self, url: str) -> bool:
        # Nobody listens, or whoever took the connection was killed in the middle of the handshake.
        with suppress(OSError, EOFError, InvalidMessage, ConnectionClosed):
            self.connect(url)
            return True
        return False

    def read(self, timeout_s: float = DEADLINE_S) -> None:
        """One frame. Raises TimeoutError, ConnectionClosed."""
        assert self._socket is not None
        try:
            frame = self._socket.recv(max(0.0, timeout_s))
        except ConnectionClosed as error:
            self.close_code = error.rcvd.code if error.rcvd else None
            self.close_reason = error.rcvd.reason if error.rcvd else ""
            raise
        assert isinstance(frame, str), "the native protocol is text"
        for line in frame.split("\n"):
            self._take(json.loads(line))

    def _take(self, told: dict[str, Any]) -> None:
        if "topic" in told:
            self._event(told)
        elif "reply" in told:
            self._reply(told)
        elif "gap" in told:
            self._gap(told["gap"])
        elif "at" in told:
            self.position = Position.parse(told["at"])
        elif "welcome" in told:
            self.welcome = told["welcome"]
            self.position = Position.parse(self.welcome["position"])
        elif "notice" in told:
            self.notices.append(told["notice"])
        elif "beat" in told:
            self.beats += 1
        else:
            raise AssertionError(f"nobody knows this object: {told}")

    def _event(self, told: dict[str, Any]) -> None:
        assert self.position is not None
        data = next(told[kind] for kind in ("data", "text", "base64") if kind in told)
        event = Event(self.position.epoch, told["topic"], told["seq"], told["nth"], data)
        if (asker := told.get("history")) is not None:
            self._awaited[asker].past.append(event)
            return
        assert event.seq > self.position.seq, f"{event} after {self.position}"
        self.position = Position(self.position.epoch, event.seq)
        for subscription in self.subscriptions.values():
            if subscription.ok is not None and subscription.pattern.matches(event.topic):
                subscription.events.append(event)

    def _reply(self, told: dict[str, Any]) -> None:
        self.replies.append(told)
        if "error" in told:
            self.errors.append(told["error"])
        subscription = self._awaited.pop(told["reply"], None)
        if subscription is None or "error" in told:
            return
        position = Position.parse(told["ok"]["position"])
        self.position = position
        # The past was read before anybody knew its epoch, if this connection began without a broker.
        subscription.events += [event._replace(epoch=position.epoch) for event in subscription.past]
        subscription.past = []
        subscription.ok = told["ok"]

    def _gap(self, gap: dict[str, Any]) -> None:
        self.gaps.append(gap)
        before = Position.parse(gap["before"])
        if self.position is None or before.epoch != self.position.epoch:
            self.position = Position(before.epoch, before.seq - 1)

    @property
    def is_stale(self) -> bool:
        """By the gateway's newest word on it; not, if it never said one."""
        told = [notice["stale"] for notice in self.notices if notice["code"] == "stale"]
        return told[-1:] == [True]

    def __repr__(self) -> str:
        counts = {pattern: len(each.events) for pattern, each in self.subscriptions.items()}
        return f"Client(at={self.position}, events={counts}, gaps={self.gaps}, errors={self.errors})"


def assert_in_order(events: Iterable[Event]) -> None:
    """Each once, in seq order, and of each topic every one between its first and its last."""
    last_seq = epoch = 0
    last_nth: dict[str, int] = {}
    for event in events:
        if event.epoch != epoch:
            epoch, last_seq, last_nth = event.epoch, 0, {}
        assert event.seq > last_seq, f"{event} after seq {last_seq}"
        before = last_nth.get(event.topic, event.nth - 1)
        assert event.nth == before + 1, f"{event} after nth {before}"
        last_seq, last_nth[event.topic] = event.seq, event.nth


def places(events: Iterable[Event]) -> list[tuple[str, int, int]]:
    """What the log and a client must agree on."""
    return [(event.topic, event.seq, event.nth) for event in events]
