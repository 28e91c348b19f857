"""Who gets what: cohorts of connections that get byte-identical output, and the flush. Pure.

The stream is offered event by event; each lands, encoded once, in the pending list of the cohorts
that want it. A flush joins a cohort's pending once and sends it to each member once. Between flushes
a member's position is that of the last flush, so a connection needs none of its own while it keeps
up; one that does not leaves its cohort with a position and goes on by ring and log (`connection`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from broker.control import LastPage, ReplayPage
from broker.errors import ControlError
from broker.topics import Pattern, pattern
from broker.wire import Position
from gateway import protocol
from gateway.connection import Connection
from gateway.event import Event, Gap
from gateway.forms import Form
from gateway.ring import Ring
from gateway.trie import PatternTrie, TopicTrie

ROUTES_MAX = 100_000
SENDS_PER_TURN = 16
WILD_MAX = 8

Replayed = Callable[[ReplayPage | ControlError, Sequence[Event]], None]
Lasted = Callable[[LastPage | ControlError, Sequence[Event]], None]


class Log(Protocol):
    """The broker's log, asked through the control port. Answers come later, never before the call returns."""

    def replay(self, patterns: Sequence[str], after: int, upto: int, done: Replayed) -> None: ...
    def last(self, patterns: Sequence[str], count: int, upto: int, done: Lasted) -> None: ...


class Prefixes(Protocol):
    """The upstream, as far as the hub asks it (see `Upstream`)."""

    def follow(self, prefix: str) -> bool: ...
    def settle(self) -> None: ...
    def unfollow(self, prefixes: Sequence[str]) -> None: ...
    def covers(self, prefix: str) -> int | None: ...


class Interest:
    """A set of patterns, shared by all connections that have the same."""

    __slots__ = ("__weakref__", "_cache", "patterns", "texts")

    def __init__(self, patterns: frozenset[Pattern]) -> None:
        self.patterns = patterns
        self.texts = sorted(wanted.text for wanted in patterns)
        self._cache: dict[str, bool] = {}

    def matches(self, topic: str) -> bool:
        if (known := self._cache.get(topic)) is None:
            if len(self._cache) >= ROUTES_MAX:
                self._cache.clear()
            known = self._cache[topic] = any(wanted.matches(topic) for wanted in self.patterns)
        return known


class Cohort:
    """Connections with the same interest and form. `pending` is all they are due since the last flush,
    whether there are any or not: who joins stands at the position of that flush.
    """

    __slots__ = ("before", "flushed_gaps", "form", "gaps", "interest", "members", "pending", "turn")

    def __init__(self, interest: Interest, form: Form) -> None:
        self.interest, self.form = interest, form
        self.members: set[Connection] = set()
        self.pending: list[bytes] = []
        self.gaps: list[bytes] = []  # those among the pending
        self.flushed_gaps: list[bytes] = []  # and among what the last flush sent
        self.turn = 0  # number of the last flush that sent something here
        self.before = Position(0, 0)  # of the members, before that flush


class Hub:
    """Not thread-safe. Nothing in it waits; only `flush` gives way to others, and says where."""

    def __init__(
        self,
        ring: Ring,
        log: Log,
        later: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        *,
        limits: dict[str, int],
        name: str = "",
        linger_s: float = 60.0,
    ) -> None:
        """
        Args:
            later: runs a function soon, not at once.
            clock: the time of day in seconds.
            limits: `subscriptions` of a connection, `history` of a subscribe; told to clients.
            linger_s: how long a prefix is followed that nobody needs any more.
        """
        self.ring, self.log, self.later, self.clock = ring, log, later, clock
        self.name, self.limits = name, limits
        self.upstream: Prefixes  # set once by whoever joins the two
        self.epoch = 0
        self.start = 0  # where that epoch began
        self.seen = 0  # seq of the stream
        self.flushed = 0  # seq of the members
        self.flushed_epoch = 0  # differs from `epoch` until the flush after a change
        self.turn = 0  # number of the last flush
        self.is_stale = True
        self.connections: set[Connection] = set()
        self.counts = {"events": 0, "deliveries": 0, "sends": 0, "slow": 0, "gaps": 0}
        self._cohorts: dict[tuple[frozenset[Pattern], Form], Cohort] = {}
        self._interests: WeakValueDictionary[frozenset[Pattern], Interest] = WeakValueDictionary()
        self._everyone: Interest = self.interest(frozenset())  # of new connections
        self._patterns: PatternTrie[Cohort] = PatternTrie()
        self._routes: dict[str, tuple[Cohort, ...]] = {}
        self._topics = TopicTrie()
        self._dirty: dict[Cohort, None] = {}
        self._behind: set[Connection] = set()  # those in no cohort
        self._users: dict[str, int] = {}  # prefix -> how many subscriptions need it
        self._unused: dict[str, float] = {}  # prefix -> since when nobody does
        self._forced: list[str] = []
        self._await_force: dict[str, set[Connection]] = {}
        self._after_flush: dict[Callable[[], None], None] = {}
        self._linger_s = linger_s

    # The stream (see upstream.Downstream)

    def offer(self, event: Event) -> None:
        self.seen = event.seq
        self.ring.append(event)
        self.counts["events"] += 1
        for cohort in self.cohorts(event.topic):
            cohort.pending.append(cohort.form.encode(event))
            self._dirty[cohort] = None

    def offer_gap(self, gap: Gap) -> None:
        self.counts["gaps"] += 1
        last = Position(gap.before.epoch, gap.before.seq - 1)
        if last.epoch == self.epoch:
            self.ring.raise_floor(last.seq)
        concerned = pattern(gap.pattern)
        cohorts = self.cohorts(gap.pattern) if concerned.is_literal else self._cohorts.values()
        is_new_log = gap.after.epoch != last.epoch
        for cohort in cohorts:
            # A new log concerns those too who have yet to subscribe: they count positions in it.
            if cohort.form.gap and (cohort.interest.patterns or is_new_log):
                told = cohort.form.gap(gap)
                cohort.pending.append(told)
                if not is_new_log:  # that one shows in the position of whoever leaves meanwhile
                    cohort.gaps.append(told)
                self._dirty[cohort] = None
        if not is_new_log:
            # Who is on the way through the past will find the hole there, unless it is past its begin.
            for connection in list(self._behind):
                if connection.has_passed(gap.after) and not (
                    concerned.is_literal and not connection.interest.matches(gap.pattern)
                ):
                    connection.tell_gap(gap)

    def advance(self, seq: int) -> None:
        self.seen = seq
        if not self._dirty and self.flushed_epoch == self.epoch:
            self.flushed = seq

    def change_epoch(self, epoch: int, start: int, seq: int) -> None:
        was_unknown = self.epoch == 0
        self.epoch, self.start, self.seen = epoch, start, seq
        self.ring.clear(seq)
        if was_unknown:
            # Who came before the broker was heard was welcomed at no position. Nothing can be pending.
            self.flushed, self.flushed_epoch = seq, epoch
            for connection in list(self.connections):
                if connection.form.is_native:
                    connection.tell(protocol.at(Position(epoch, seq)))
        for connection in self._behind:
            self.after_flush(connection.pump)

    def in_force(self, prefixes: Sequence[str]) -> None:
        self._forced += prefixes

    def set_stale(self, is_stale: bool) -> None:
        self.is_stale = is_stale
        told = protocol.notice("stale", stale=is_stale)
        for connection in list(self.connections):
            connection.notify(told)

    # The flush

    @property
    def is_dirty(self) -> bool:
        return bool(
            self._dirty
            or self._forced
            or (self._after_flush and self.flushed != self.seen)
            or self.flushed_epoch != self.epoch
        )

    def flush(self) -> Iterator[None]:
        """Send what is pending. Yields now and then, so that the caller can let others run; whoever
        joins or leaves a cohort meanwhile is accounted for. One flush at a time.
        """
        dirty, self._dirty = self._dirty, {}
        before = self.position
        self.flushed, self.flushed_epoch = self.seen, self.epoch
        self.turn += 1
        turn = self.turn
        due: list[tuple[Cohort, list[bytes]]] = []
        for cohort in dirty:
            cohort.turn, cohort.before = turn, before
            due.append((cohort, cohort.pending))
            cohort.pending = []
            cohort.flushed_gaps, cohort.gaps = cohort.gaps, []
        sends = 0
        for cohort, pending in due:
            if not cohort.members:
                continue
            frames = cohort.form.finish(pending)
            size, before_sends = len(frames), sends
            for connection in list(cohort.members):
                # It may have left, or left and come back, while this gave way to it.
                if connection.cohort is not cohort or connection.turn >= turn:
                    continue
                connection.turn = turn
                if (sent := connection.write(frames)) < size:
                    self.counts["slow"] += 1
                    connection.fall_behind(frames, sent)
                sends += 1
                if not sends % SENDS_PER_TURN:
                    yield
            self.counts["deliveries"] += (sends - before_sends) * len(pending)
        self.counts["sends"] += sends
        awaited, self._after_flush = self._after_flush, {}
        for call in awaited:
            call()
        forced, self._forced = self._forced, []
        for prefix in forced:
            for connection in self._await_force.pop(prefix, ()):
                connection.pump()

    def after_flush(self, call: Callable[[], None]) -> None:
        """Call once, after the next flush that moves the members' position."""
        self._after_flush[call] = None

    # Connections

    def add(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._behind.add(connection)
        connection.start()

    def remove(self, connection: Connection) -> None:
        """Forget it. May be called twice."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        for wanted in set(connection.claims()):
            self.release(wanted)
        if connection.cohort is not None:
            self.leave(connection)
        self._behind.discard(connection)
        self._after_flush.pop(connection.pump, None)
        if connection.behind and (cut := connection.behind.cut):
            for wanted in cut.wanted.patterns:
                self._await_force.get(wanted.prefix, set()).discard(connection)
        connection.behind = None

    def interest(self, patterns: frozenset[Pattern]) -> Interest:
        if (found := self._interests.get(patterns)) is None:
            found = self._interests[patterns] = Interest(patterns)
        return found

    def join(self, connection: Connection) -> bool:
        """Into the live flow, from the position of the last flush on. False: only after the next."""
        key = (connection.interest.patterns, connection.form)
        if (cohort := self._cohorts.get(key)) is None:
            pending: list[bytes] = []
            if self.seen != self.flushed:
                if self.ring.floor > self.flushed:
                    return False  # there was a gap meanwhile, or more than the ring holds
                for event in self.ring.after(self.flushed, self.seen, 1 << 60):
                    if connection.interest.matches(event.topic):
                        pending.append(connection.form.encode(event))
            cohort = self._cohorts[key] = Cohort(connection.interest, connection.form)
            cohort.pending = pending
            if pending:
                self._dirty[cohort] = None
            for wanted in cohort.interest.patterns:
                self._patterns.add(wanted, cohort)
            self._reroute(cohort.interest.patterns)
        cohort.members.add(connection)
        connection.cohort, connection.turn = cohort, self.turn
        self._behind.discard(connection)
        return True

    def leave(self, connection: Connection) -> tuple[Position, list[bytes]]:
        """Out of the live flow. The position up to which everything due was sent to it, and the gaps
        that were offered but have not been sent: from that position they need not show again.
        """
        cohort = connection.cohort
        assert cohort is not None
        connection.cohort = None
        cohort.members.discard(connection)
        self._behind.add(connection)
        if connection.turn >= cohort.turn:
            return self.position, list(cohort.gaps)
        return cohort.before, cohort.flushed_gaps + cohort.gaps

    def cohorts(self, topic: str) -> tuple[Cohort, ...]:
        """Those that want the topic. A subscription's change touches only the topics it matches."""
        if (found := self._routes.get(topic)) is None:
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
                self._topics.clear()
            found = self._routes[topic] = tuple(self._patterns.match(topic))
            self._topics.add(topic)
        return found

    def _reroute(self, patterns: Collection[Pattern]) -> None:
        wild = [wanted for wanted in patterns if not wanted.is_literal]
        if len(wild) > WILD_MAX:
            # To find what so many match costs more than to find anew what comes.
            self._routes.clear()
            self._topics.clear()
            return
        for wanted in wild:
            for topic in list(self._topics.matching(wanted)):
                self._routes.pop(topic, None)
        for wanted in patterns:
            if wanted.is_literal:
                self._routes.pop(wanted.text, None)

    @property
    def position(self) -> Position:
        """Of the members of all cohorts."""
        return Position(self.flushed_epoch, self.flushed)

    # What is needed from upstream

    def claim(self, wanted: Pattern) -> None:
        """One subscription more that needs what this pattern begins with."""
        prefix = wanted.prefix
        self._users[prefix] = self._users.get(prefix, 0) + 1
        self._unused.pop(prefix, None)
        if not self.upstream.follow(prefix):
            self.later(self.upstream.settle)  # one barrier for all that come in the same turn

    def announce(self, wanted: Pattern) -> None:
        """It is about to be claimed: one barrier does for all that come in the same turn."""
        if wanted.prefix not in self._users:
            self.claim(wanted)
            self.release(wanted)

    def release(self, wanted: Pattern) -> None:
        prefix = wanted.prefix
        self._users[prefix] -= 1
        if not self._users[prefix]:
            del self._users[prefix]
            self._unused[prefix] = self.clock()

    def await_force(self, prefix: str, connection: Connection) -> None:
        """Pump the connection when the prefix is in force."""
        self._await_force.setdefault(prefix, set()).add(connection)

    def covers(self, interest: Interest) -> int | None:
        """The seq beyond which ring and stream have everything of it, None if they do not."""
        floor = self.ring.floor
        for wanted in interest.patterns:
            since = self.upstream.covers(wanted.prefix)
            if since is None:
                return None
            floor = max(floor, since)
        return floor

    def expire(self) -> None:
        """Drop what nobody needs any more; to be called about once a second."""
        deadline = self.clock() - self._linger_s
        if gone := [prefix for prefix, since in self._unused.items() if since <= deadline]:
            for prefix in gone:
                del self._unused[prefix]
                self._await_force.pop(prefix, None)
            self.upstream.unfollow(gone)
        for key, cohort in [item for item in self._cohorts.items() if not item[1].members]:
            del self._cohorts[key]
            self._dirty.pop(cohort, None)
            for wanted in cohort.interest.patterns:
                self._patterns.discard(wanted, cohort)
            self._reroute(cohort.interest.patterns)
