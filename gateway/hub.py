"""Who gets what: the stream into cohorts, and the flush. Pure.

The stream is offered event by event; each lands in the pending list of the cohorts that want it. A
flush encodes and joins a cohort's pending once and sends it to each member once. Between flushes a
member's position is that of the last flush, so a connection needs none of its own while it keeps up;
one that does not leaves its cohort with a position and goes on by ring and log (`connection`).

Of topics of which a cohort wants less than all, the newest event waits in a lane until the lane is
due. What is pending there, or not, gives a second position, that of `{"at"}` (see `Cohort.settled`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from broker.gap import Gap
from broker.topics import pattern
from broker.wire import Position
from gateway import protocol
from gateway.cohort import NOWHERE, Cohort, Lane, Lanes, is_had, left_to_tell, position_after
from gateway.connection import Connection
from gateway.delivery import ALL, Delivery
from gateway.event import Event, Item, Notice
from gateway.forms import Form
from gateway.interest import Interest, Interests, Wants
from gateway.log import Log
from gateway.losses import Losses
from gateway.needs import Needs
from gateway.parts import Parts
from gateway.publishing import Publishing
from gateway.ring import Ring
from gateway.routes import Route, Routes

SENDS_PER_TURN = 16
PATTERNS_PER_TURN = 4_000  # of cohorts that are let go: 2 ms
COUNTED = ("events", "deliveries", "sends", "slow", "stalled", "unheard", "flooding")
AT_S = 1.0  # between two positions told to those who want less than all


class Hub:
    """Not thread-safe. Nothing in it waits; only `flush` gives way to others, and says where."""

    def __init__(
        self,
        ring: Ring,
        log: Log,
        later: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        *,
        publishing: Publishing,
        limits: dict[str, int],
        name: str = "",
        linger_s: float = 60.0,
    ) -> None:
        """
        Args:
            later: runs a function soon, not at once.
            clock: the time of day in seconds.
            publishing: for clients that publish.
            limits: `subscriptions` of a connection, `history` of a subscribe; told to clients.
            linger_s: how long a prefix is followed that nobody needs any more.
        """
        self.ring, self.log, self.later, self.clock = ring, log, later, clock
        self.name, self.limits, self.publishing = name, limits, publishing
        self.needs = Needs(later, clock, linger_s)
        self.epoch = 0
        self.start = 0  # where that epoch began
        self.seen = 0  # seq of the stream
        self.flushed = 0  # seq of the members
        self.flushed_epoch = 0  # differs from `epoch` until the flush after a change
        self.turn = 0  # number of the last flush
        self.is_stale = True
        self.connections: set[Connection] = set()
        self.counts = dict.fromkeys(COUNTED, 0)
        self.losses = Losses()
        self._interests = Interests()
        self._everyone: Interest = self.interest(frozenset())  # of new connections
        self._cohorts: dict[tuple[Interest, Form], Cohort] = {}
        self._empty: dict[Cohort, None] = {}  # those without members
        self._going: list[Cohort] = []  # those that had none for a second
        self._conflating: dict[Cohort, None] = {}  # those with lanes
        self._routes = Routes()
        self._dirty: dict[Cohort, None] = {}
        self._slots = {each: each.slot(clock()) for each in Delivery}
        self._waiting: dict[Delivery, dict[Cohort, None]] = {}  # with lanes that are not due yet
        # Of the flush under way: cohorts it has not come to, the one it is at, and where it began.
        self._due: dict[Cohort, None] = {}
        self._sending: Cohort | None = None
        self._before = Position(0, 0)
        self._behind: set[Connection] = set()  # those in no cohort
        self._after_flush: dict[Callable[[], None], None] = {}

    # The stream (see upstream.Downstream)

    def offer(self, event: Event) -> None:
        self.seen = event.seq
        self.ring.append(event)
        self.counts["events"] += 1
        full, lanes = route = self._routes.of(event.topic)
        if self._due:
            self._begin(route)
        dirty = self._dirty
        for cohort in full:
            cohort.pending.append(event)
            dirty[cohort] = None
        for lane in lanes:
            self._keep(lane, event)

    def offer_gap(self, gap: Gap) -> None:
        last = Position(gap.before.epoch, gap.before.seq - 1)
        if last.epoch == self.epoch:
            self.ring.raise_floor(last.seq)
        concerned = pattern(gap.pattern)
        is_new_log = gap.after.epoch != last.epoch
        if concerned.is_literal:
            cohorts = dict.fromkeys(_cohorts(self._routes.of(gap.pattern)))
        else:
            # A new log concerns those too who have yet to subscribe: they count positions in it.
            everybody = self._cohorts.values()
            cohorts = dict.fromkeys(each for each in everybody if each.interest.wants or is_new_log)
        self._tell(cohorts, gap)
        clients = sum(len(cohort.members) for cohort in cohorts if cohort.form.gap)
        self.losses.note(gap, self.clock(), clients=clients, where="stream")
        if not is_new_log:
            # Who is on the way through the past will find the hole there, unless it is past its begin.
            for connection in list(self._behind):
                if connection.has_passed(gap.after) and not (
                    concerned.is_literal and connection.interest.delivery(gap.pattern) is None
                ):
                    connection.tell_gap(gap)

    def advance(self, seq: int) -> None:
        self.seen = seq
        # Not past those who wait for the next flush: there would be none for them.
        if not self._dirty and not self._after_flush and self.flushed_epoch == self.epoch:
            self.flushed = seq

    def change_epoch(self, epoch: int, start: int, seq: int) -> None:
        was_unknown = self.epoch == 0
        # What is kept back has no epoch of its own where it is sent: it goes before the new one is told.
        for cohort in self._conflating:
            assert cohort.lanes
            for lane in cohort.lanes.by_delivery.values():
                if lane.pending:
                    cohort.pending += lane.take(self._slots)
                    self._dirty[cohort] = None
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
        self.needs.in_force(prefixes)

    def set_stale(self, is_stale: bool) -> None:
        self.is_stale = is_stale
        told = protocol.notice("stale", stale=is_stale)
        self._tell(dict.fromkeys(self._cohorts.values()), Notice(told))
        for connection in list(self._behind):
            connection.notify(told)

    def _tell(self, cohorts: dict[Cohort, None], item: Item) -> None:
        for cohort in cohorts:
            if cohort.form.told is None:
                continue
            if cohort in self._due:
                cohort.begin(self._slots)
            cohort.pending.append(item)
            self._dirty[cohort] = None

    def _keep(self, lane: Lane, event: Event) -> None:
        """Until the lane is due."""
        lane.pending[event.topic] = event
        if lane.is_due(self._slots):
            self._dirty[lane.cohort] = None
        else:
            self._waiting.setdefault(lane.delivery, {})[lane.cohort] = None

    def _begin(self, route: Route) -> None:
        """What is offered to them now is not for the flush under way, which has not come to them yet."""
        for cohort in _cohorts(route):
            if cohort in self._due:
                cohort.begin(self._slots)

    # The flush

    @property
    def is_dirty(self) -> bool:
        return bool(
            self._dirty
            or self.needs.has_woken
            or (self._after_flush and self.flushed != self.seen)
            or self.flushed_epoch != self.epoch
            or (self._waiting and self.due_in_s() == 0)
        )

    def due_in_s(self) -> float | None:
        """Until something that is kept back may be sent; None: nothing is."""
        now_s = self.clock()
        return min(
            (
                each.due_in_s(now_s) if each.slot(now_s) == self._slots[each] else 0.0
                for each in self._waiting
            ),
            default=None,
        )

    def flush(self) -> Iterator[None]:
        """Send what is pending. Yields now and then, so that the caller can let others run; whoever
        joins or leaves a cohort meanwhile is accounted for. One flush at a time.
        """
        now_s = self.clock()
        before, self._slots = self._slots, {each: each.slot(now_s) for each in Delivery}
        for each in list(self._waiting):
            if self._slots[each] != before[each]:
                self._dirty |= self._waiting.pop(each)
        self._due, self._dirty = self._dirty, {}
        self._before = self.position
        self.flushed, self.flushed_epoch = self.seen, self.epoch
        self.turn += 1
        turn, sends, deliveries = self.turn, 0, 0
        due = self._due
        singles: dict[tuple[Form, Item], bytes] = {}  # what one event alone becomes
        while due:
            cohort, _ = due.popitem()
            members = cohort.members
            if len(members) == len(cohort.pending) == 1 and not cohort.lanes and cohort.flushing is None:
                # One event to one connection, which is all there is where nobody shares a topic: 2 µs less.
                (connection,) = members
                (item,) = items = cohort.pending
                cohort.pending = []
                if connection.turn == turn:
                    continue
                connection.turn = turn
                key = (cohort.form, item)
                if (frames := singles.get(key)) is None:
                    frames = singles[key] = cohort.form.finish(cohort.form.objects(items))
                if (sent := connection.write(frames)) < len(frames):
                    rest = Parts(cohort.form, cohort.form.objects(items))
                    self._drop_behind(connection, items, rest, sent)
                deliveries += 1
                sends += 1
                if not sends % SENDS_PER_TURN:
                    yield
                continue
            items = cohort.begin(self._slots)
            self._sending = cohort
            objects = self._objects(cohort, items, now_s) if members else []
            if frames := cohort.form.finish(objects):
                size, count, parts = len(frames), len(items), Parts(cohort.form, objects)
                newcomers = cohort.lanes.newcomers if cohort.lanes else {}
                for connection in list(members):
                    # It may have left, or left and come back, while this gave way to it.
                    if connection.cohort is not cohort or connection.turn == turn:
                        continue
                    connection.turn = turn
                    if newcomers and connection in newcomers:
                        self._send_rest(connection, items, newcomers[connection])
                    elif cohort.lanes and not connection.takes_more():
                        self._drop_behind(connection, items, parts, 0)
                        continue
                    elif (sent := connection.write(frames)) < size:
                        self._drop_behind(connection, items, parts, sent)
                    elif cohort.lanes:
                        connection.note_sent(size)
                    deliveries += count
                    sends += 1
                    if not sends % SENDS_PER_TURN:
                        yield
            cohort.flushing = self._sending = None
            if cohort.lanes:
                self._await_lanes(cohort, cohort.lanes)
        self.counts["sends"] += sends
        self.counts["deliveries"] += deliveries
        awaited, self._after_flush = self._after_flush, {}
        for place, call in enumerate(awaited, 1):
            call()
            if not place % SENDS_PER_TURN:
                yield
        for place, connection in enumerate(self.needs.woken(), 1):
            connection.pump()
            if not place % SENDS_PER_TURN:
                yield

    def _objects(self, cohort: Cohort, items: list[Item], now_s: float) -> list[bytes]:
        objects = cohort.form.objects(items)
        if cohort.lanes:
            objects += self._at(cohort, cohort.lanes, now_s)
        return objects

    def _send_rest(self, connection: Connection, items: list[Item], had: Position) -> None:
        """To a member that had everything up to that seq when it joined."""
        own = [item for item in items if not _is_had(item, had)]
        objects = connection.form.objects(own)
        frames = connection.form.finish(objects)
        if (sent := connection.write(frames)) < len(frames):
            self._drop_behind(connection, own, Parts(connection.form, objects), sent)

    def _at(self, cohort: Cohort, lanes: Lanes, now_s: float) -> list[bytes]:
        """Where its members are with what they do not want in full, if it is time to say so."""
        if cohort.form.told is None or now_s - lanes.told_s < AT_S:
            return []
        position = cohort.settled(self.position, ())
        if position == lanes.told:
            return []
        lanes.told, lanes.told_s = position, now_s
        return [cohort.form.told("at", protocol.at(position), position)]

    def _await_lanes(self, cohort: Cohort, lanes: Lanes) -> None:
        """What is still kept back after a flush."""
        for lane in lanes.by_delivery.values():
            if lane.pending:
                self._waiting.setdefault(lane.delivery, {})[cohort] = None
        lanes.forget_newcomers()

    def _drop_behind(self, connection: Connection, items: list[Item], parts: Parts, sent: int) -> None:
        """Its socket took only so many bytes: it leaves with the rest of one frame."""
        cohort = connection.cohort
        assert cohort
        self.counts["slow"] += not cohort.form.waits_to_be_asked
        done, unsent = parts.after(sent)
        position = self.position if done >= len(items) else position_after(self._before, items[:done])
        left = [*items[done:], *cohort.pending]
        told = connection.form.objects(left_to_tell(left))
        settled, owed = cohort.settled(position, left), cohort.owed(left)
        self._take_out(connection, cohort)
        connection.fall_behind(unsent, position, settled, owed, told)

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
            self.needs.release(wanted)
        if connection.cohort is not None:
            self.leave(connection)
        self._behind.discard(connection)
        self._after_flush.pop(connection.pump, None)
        if connection.behind and (cut := connection.behind.cut):
            for wanted in cut.wanted.patterns:
                self.needs.forget(wanted, connection)
        if connection.publishes is not None:
            connection.publishes.drop()
        connection.behind = None

    def interest(self, wants: Wants) -> Interest:
        return self._interests.of(wants)

    def join(self, connection: Connection) -> bool:
        """Into the live flow, from the position of the last flush on. False: only after the next."""
        key = (connection.interest, connection.form)
        if (cohort := self._cohorts.get(key)) is None:
            if self.seen != self.flushed and self.ring.floor > self.flushed:
                return False  # there was a gap meanwhile, or more than the ring holds
            cohort = self._cohorts[key] = Cohort(connection.interest, connection.form, self.clock())
            if cohort.lanes:
                self._conflating[cohort] = None
            self._routes.add(cohort)
            self._catch_up(cohort)
        elif cohort in self._due:
            cohort.begin(self._slots)
        self._empty.pop(cohort, None)
        cohort.members.add(connection)
        connection.cohort, connection.turn = cohort, self.turn
        if cohort.lanes and any(cohort.lanes.pending()):
            cohort.lanes.newcomers[connection] = self.position
        self._behind.discard(connection)
        return True

    def _catch_up(self, cohort: Cohort) -> None:
        """A new one is due what came since the last flush."""
        if self.seen == self.flushed:
            return
        for event in self.ring.after(self.flushed, self.seen, 1 << 60):
            if (wished := cohort.interest.delivery(event.topic)) == ALL:
                cohort.pending.append(event)
                self._dirty[cohort] = None
            elif wished is not None:
                self._keep(cohort.lane(wished), event)

    def leave(
        self, connection: Connection
    ) -> tuple[Position, Position, frozenset[str] | None, list[bytes]]:
        """Out of the live flow. The position up to which everything due was sent to it, that before
        which nothing is owed of what it does not want in full, the topics of what is (see Cohort.owed), and
        what was offered that will not show from there.
        """
        cohort = connection.cohort
        assert cohort is not None
        # Has the flush under way still to come to it?
        is_waiting = connection.turn != self.turn and (cohort in self._due or cohort is self._sending)
        unsent = [*(cohort.flushing or ()), *cohort.pending] if is_waiting else cohort.pending
        position = self._before if is_waiting else self.position
        beyond = cohort.lanes.newcomers.get(connection, NOWHERE) if cohort.lanes else NOWHERE
        settled, owed = cohort.settled(position, unsent, beyond), cohort.owed(unsent, beyond)
        told = connection.form.objects(left_to_tell(unsent))
        self._take_out(connection, cohort)
        return position, settled, owed, told

    def _take_out(self, connection: Connection, cohort: Cohort) -> None:
        connection.cohort = None
        cohort.members.discard(connection)
        if not cohort.members:
            self._empty[cohort] = None
        if cohort.lanes:
            cohort.lanes.newcomers.pop(connection, None)
        self._behind.add(connection)

    @property
    def position(self) -> Position:
        """Of the members of all cohorts."""
        return Position(self.flushed_epoch, self.flushed)

    def covers(self, interest: Interest) -> int | None:
        """The seq beyond which ring and stream have everything of it, None if they do not."""
        since = self.needs.covers(interest)
        return None if since is None else max(self.ring.floor, since)

    def expire(self) -> None:
        """Drop what nobody needs any more; to be called about once a second."""
        self.needs.expire()
        self._going.extend(self._empty)
        self._empty = {}
        self._let_go()
        self._tell_positions()

    def _let_go(self) -> None:
        """Some of the cohorts that were empty. One client that subscribes to more and more leaves a thousand
        a second behind, of up to a thousand patterns each: 200 ms of work.
        """
        patterns = 0
        while self._going and patterns < PATTERNS_PER_TURN:
            cohort = self._going.pop()
            key = cohort.interest, cohort.form
            if cohort.members or self._cohorts.get(key) is not cohort:
                continue  # somebody has come, or it was let go before
            patterns += len(cohort.interest.wants)
            del self._cohorts[key]
            self._empty.pop(cohort, None)
            self._dirty.pop(cohort, None)
            self._conflating.pop(cohort, None)
            self._routes.discard(cohort)
        if self._going:
            self.later(self._let_go)

    def _tell_positions(self) -> None:
        """Those who want less than all hear where they are, though nothing may come for them."""
        now_s = self.clock()
        for cohort in self._conflating:
            lanes = cohort.lanes
            assert lanes
            is_time = cohort.members and now_s - lanes.told_s >= AT_S
            if is_time and cohort.settled(self.position, cohort.pending) != lanes.told:
                self._dirty[cohort] = None


def _cohorts(route: Route) -> Iterator[Cohort]:
    full, lanes = route
    return chain(full, (lane.cohort for lane in lanes))


def _is_had(item: Item, upto: Position) -> bool:
    """By who had everything up to there when it joined."""
    return type(item) is Event and item.is_bare and is_had(item, upto)
