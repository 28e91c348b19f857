"""A hub between a played upstream and log and played sockets, moved step by step by a test."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from broker.control import LastPage, NewestPage, ReplayPage
from broker.errors import ControlTimeout
from broker.gap import Gap
from broker.topics import Pattern
from broker.wire import Position
from gateway.connection import Connection
from gateway.event import Event
from gateway.forms import NATIVE, Form
from gateway.hub import Hub
from gateway.log import Lasted, Renewed, Replayed
from gateway.publishing import Draft, Outcome, Refused, Settled
from gateway.ring import Ring
from tests.support.events import EPOCH, event, head, records

PLENTY = 1 << 30
LIMITS = {"subscriptions": 3, "history": 100}


class Socket(Connection):
    """A connection to a client that takes `room` bytes until it reads again."""

    __slots__ = ("_number", "_sent", "room", "writes")

    def __init__(self, hub: Hub, number: int, room: int = PLENTY, form: Form = NATIVE) -> None:
        super().__init__(hub, form)
        self._number = number
        self._sent = b""
        self.room = room
        self.writes = 0

    def __hash__(self) -> int:
        return self._number  # so that a set of them has the same order in each run

    def write(self, data: bytes | memoryview) -> int:
        taken = min(len(data), self.room)
        self._sent += bytes(data[:taken])
        self.room -= taken
        self.writes += 1
        return taken

    def await_room(self) -> None:
        pass  # `read` pumps

    def read(self, room: int = PLENTY) -> list[str]:
        """Make room, and what was heard since."""
        self.room = room
        self.pump()
        return self.heard()

    def say(self, **fields: Any) -> None:
        self.receive(json.dumps(fields))

    @property
    def has_unread(self) -> bool:
        return bool(self._sent)

    def heard(self) -> list[str]:
        """The objects of the whole frames that came since this was last asked, in short."""
        return [_short(json.loads(line)) for frame in self.frames() for line in frame.split(b"\n")]

    def frames(self) -> Iterator[bytes]:
        """The payloads of the whole frames that came since they were last asked for."""
        while len(self._sent) >= 2:
            size, at = self._sent[1], 2
            if size >= 126:
                at = 4 if size == 126 else 10
                size = int.from_bytes(self._sent[2:at], "big")
            if len(self._sent) < at + size:
                return
            frame, self._sent = self._sent[at : at + size], self._sent[at + size :]
            yield frame


def _short(told: dict[str, Any]) -> str:
    to = f"#{told['history']} " if "history" in told else ""
    if "topic" in told:
        return f"{to}{told['topic']} {told['seq']}"
    if "gap" in told:
        gap = told["gap"]
        lost = f" lost={gap['lost']}" if "lost" in gap else ""
        return f"{to}gap {gap['pattern']} {_seq(gap['after'])}..{_seq(gap['before'])} {gap['cause']}{lost}"
    if "reply" in told:
        number = told["reply"]
        if "error" in told:
            return f"reply {number}: {told['error']['code']}"
        if "position" not in told["ok"]:
            return f"reply {number}"
        marks = [name for name in ("recovered", "truncated", "repeated") if told["ok"].get(name)]
        return " ".join([f"reply {number} at {_seq(told['ok']['position'])}", *marks])
    if "notice" in told:
        return "stale" if told["notice"]["stale"] else "fresh"
    if "at" in told:
        return f"at {_seq(told['at'])}"
    return f"welcome at {_seq(told['welcome']['position'])}"


def _seq(text: str) -> str:
    position = Position.parse(text)
    return str(position.seq) if position.epoch == EPOCH else f"{position.epoch:x}.{position.seq}"


class PlayedLog:
    """Keeps what is published; answers when the test says so."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.epoch = EPOCH
        self.head = 0
        self.gone: dict[str, tuple[int, int]] = {}  # topic -> retention removed its events up to here
        self.asked: list[str] = []
        self._asked: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()  # with both outcomes

    def append(self, made: Event) -> None:
        self.events.append(made)
        self.head = made.seq

    def begin_anew(self, epoch: int) -> None:
        self.epoch, self.head = epoch, 0
        self.events.clear()

    def forget(self, upto: int) -> None:
        """Retention removes what is not beyond this seq."""
        self.gone |= {old.topic: (old.seq, old.nth) for old in self.events if old.seq <= upto}
        self.events = [kept for kept in self.events if kept.seq > upto]

    def replay(self, patterns: Sequence[str], after: int, upto: int, done: Replayed) -> None:
        self.asked.append(f"replay {' '.join(patterns)} after {after} upto {upto}")
        wanted = [Pattern(text) for text in patterns]

        def answer() -> None:
            found = [kept for kept in self._matching(wanted, upto) if kept.seq > after]
            holes = [
                (topic, min(seq, upto), nth if seq <= upto else 0)
                for topic, (seq, nth) in self.gone.items()
                if seq > after and any(pattern.matches(topic) for pattern in wanted)
            ]
            page = ReplayPage(at=head(self.head, epoch=self.epoch), through=upto, holes=holes)
            done(page, records(found))

        self._asked.append((answer, lambda: done(ControlTimeout("the broker", 1.0), records())))

    def ahead(self, patterns: Sequence[str], after: int) -> None:
        pass  # it has no pages

    def last(self, patterns: Sequence[str], count: int, upto: int, done: Lasted) -> None:
        self.asked.append(f"last {count} of {' '.join(patterns)} upto {upto}")

        def answer() -> None:
            by_topic: dict[str, list[Event]] = {}
            for kept in self._matching([Pattern(text) for text in patterns], upto):
                by_topic.setdefault(kept.topic, []).append(kept)
            found = [kept for events in by_topic.values() for kept in events[-count:]]
            found.sort(key=lambda kept: kept.seq)
            done(LastPage(at=head(self.head, epoch=self.epoch)), records(found))

        self._asked.append((answer, lambda: done(ControlTimeout("the broker", 1.0), records())))

    def newest(self, patterns: Sequence[str], after: int, upto: int, done: Renewed) -> None:
        self.asked.append(f"newest of {' '.join(patterns)} after {after} upto {upto}")
        wanted = [Pattern(text) for text in patterns]

        def answer() -> None:
            by_topic = {kept.topic: kept for kept in self._matching(wanted, self.head)}
            found = sorted(by_topic.values(), key=lambda kept: kept.seq)
            page = NewestPage(at=head(self.head, epoch=self.epoch), through=upto)
            done(page, records(kept for kept in found if after < kept.seq <= upto))

        self._asked.append((answer, lambda: done(ControlTimeout("the broker", 1.0), records())))

    @property
    def is_asked(self) -> bool:
        return bool(self._asked)

    def answer(self) -> None:
        """Answer what was asked up to now."""
        for _ in range(len(self._asked)):
            self._asked.popleft()[0]()

    def fail(self) -> None:
        """Let the time for it run out instead."""
        for _ in range(len(self._asked)):
            self._asked.popleft()[1]()

    def _matching(self, patterns: list[Pattern], upto: int) -> list[Event]:
        return [
            kept
            for kept in self.events
            if kept.seq <= upto and any(pattern.matches(kept.topic) for pattern in patterns)
        ]


class PlayedPublishing:
    """Keeps what is published; what becomes of it the test says."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.refused: Refused | None = None  # what is answered at once
        self._settled: deque[Settled] = deque()

    def submit(self, draft: Draft, settled: Settled) -> Refused | None:
        if self.refused is None:
            self.drafts.append(draft)
            self._settled.append(settled)
        return self.refused

    @property
    def topics(self) -> list[str]:
        return [draft.topic for draft in self.drafts]

    def settle(self, outcome: Outcome) -> None:
        """Of the oldest that waits."""
        self._settled.popleft()(outcome)


class Flow:
    """The hub, and what is around it. Nothing moves by itself but in `rest`."""

    def __init__(self, *, ring_bytes: int = PLENTY, is_heard: bool = True) -> None:
        """
        Args:
            is_heard: the broker is, and its log is empty. Else see `hear`.
        """
        self.now_s = 1_000.0
        self.later: deque[Callable[[], None]] = deque()
        self.log = PlayedLog()
        self.publishing = PlayedPublishing()
        self.hub = Hub(
            Ring(ring_bytes),
            self.log,
            self.later.append,
            lambda: self.now_s,
            publishing=self.publishing,
            limits=LIMITS,
            linger_s=60,
        )
        self.hub.needs.upstream = self
        self.since: dict[str, int] = {}  # prefixes in force
        self.fresh: list[str] = []  # prefixes that await their barrier
        self._newest: dict[str, Event] = {}
        self._sockets = 0
        if is_heard:
            self.hear()

    def hear(self) -> None:
        """The broker's first marker."""
        self.hub.set_stale(False)
        self.hub.change_epoch(EPOCH, 0, self.log.head)
        self.hub.advance(self.log.head)

    # hub.Prefixes

    def follow(self, prefix: str) -> bool:
        if prefix not in self.since and prefix not in self.fresh:
            self.fresh.append(prefix)
        return prefix in self.since

    def settle(self) -> None:
        pass  # `force` brings the marker

    def unfollow(self, prefixes: Sequence[str]) -> None:
        for prefix in prefixes:
            self.since.pop(prefix, None)
            if prefix in self.fresh:
                self.fresh.remove(prefix)

    def covers(self, prefix: str) -> int | None:
        return self.since.get(prefix)

    # Moves

    def connect(self, *patterns: str, room: int = PLENTY, form: Form = NATIVE) -> Socket:
        """A connection that has its subscriptions and has read all replies."""
        self._sockets += 1
        socket = Socket(self.hub, self._sockets, form=form)
        self.hub.add(socket)
        for number, pattern in enumerate(patterns):
            socket.say(subscribe=pattern, id=900 + number)
            self.rest()
        if patterns:
            list(socket.frames())
        socket.room = room
        return socket

    def publish(self, *topics: str, payload: bytes = b"1", is_heard: bool = True) -> None:
        """One event each. They are in the log, and here at once if they are followed and heard."""
        for topic in topics:
            before = self._newest.get(topic)
            made = event(
                topic,
                self.log.head + 1,
                before.seq if before else 0,
                nth=before.nth + 1 if before else 1,
                payload=payload,
            )
            self._newest[topic] = made
            self.log.append(made)
            if is_heard:
                self.hear_of(made)

    def hear_of(self, made: Event) -> None:
        if any(made.topic.startswith(prefix) for prefix in self.since):
            self.hub.offer(made)
        else:
            self.hub.advance(made.seq)

    def lose(self, gap: Gap) -> None:
        """Upstream found out that something cannot be had."""
        self.hub.offer_gap(gap)

    def force(self) -> None:
        """The marker of a barrier for all that was followed."""
        if self.fresh:
            come, self.fresh = self.fresh, []
            self.since |= dict.fromkeys(come, self.hub.seen)
            self.hub.in_force(come)

    def flush(self) -> None:
        for _ in self.hub.flush():
            pass

    def rest(self) -> None:
        """Until nothing happens by itself any more."""
        while self.later or self.fresh or self.log.is_asked or self.hub.is_dirty:
            for _ in range(len(self.later)):
                self.later.popleft()()
            self.force()
            self.log.answer()
            if self.hub.is_dirty:
                self.flush()

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.hub.expire()
