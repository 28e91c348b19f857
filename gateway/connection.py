"""One browser: in the live flow, or on its way back to it through the past. Pure.

Live, a connection is a member of a cohort and has no state of its own. It leaves the flow with a
position when its socket takes less than was offered, or when a command changes what it gets, and
then asks itself, each time the socket has room: what is next? First the rest of the last frame, then
what it has to be told, then the commands that wait, then the events after its position, a page at a
time. At the position of the last flush it joins the flow again. So a slow reader costs a position and
a page, never a queue.

A subscribe is one cut: at position G everything due up to G has been sent; then comes the past of the
new pattern up to G, tagged; then the reply; then everything of the larger set from G on.

A publish is answered when the broker has, and commands behind it do not wait for that (see `publishes`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from broker.gap import Gap
from broker.topics import Pattern
from broker.wire import Position
from gateway import protocol
from gateway.behind import Behind
from gateway.cut import Cut
from gateway.event import Event
from gateway.forms import Form, gap_object, natives, tag, tagged
from gateway.interest import Interest, Wants
from gateway.past import Found, Newest, Past
from gateway.protocol import Beat, Command, Ping, Publish, Refusal, Subscribe, Unsubscribe
from gateway.publishes import Publishes
from gateway.publishing import Outcome
from gateway.records import Records

if TYPE_CHECKING:
    from gateway.cohort import Cohort
    from gateway.hub import Hub

COMMANDS_MAX = 64  # waiting; beyond that the client's next frames wait in its socket
STEPS_PER_PUMP = 32
# What a pump writes before others have their turn: a page of small events, which takes half a millisecond.
PUMP_BYTES = 48 << 10


class Connection(ABC):
    """The shell adds the socket: `write` and `await_room`."""

    __slots__ = ("__weakref__", "behind", "cohort", "form", "hub", "interest", "publishes", "turn")

    def __init__(self, hub: Hub, form: Form) -> None:
        self.hub = hub
        self.form = form
        self.interest: Interest = hub.interest(frozenset())
        self.cohort: Cohort | None = None  # None: out of the live flow
        self.turn = 0  # number of the last flush it has had its share of
        self.behind: Behind | None = None
        self.publishes: Publishes | None = None  # once it has published

    @abstractmethod
    def write(self, data: bytes | memoryview) -> int:
        """Offer bytes to the socket. How many it took, at once; all of them if the peer is gone."""

    @abstractmethod
    def await_room(self) -> None:
        """See that `pump` is called when the socket takes bytes again."""

    def takes_more(self) -> bool:
        """Whether it keeps up, as far as can be seen: asked before the newest values are sent, that would
        be old when they are read. If not, `pump` is called again.
        """
        return True

    def want_beat(self, is_wanted: bool) -> None:  # noqa: B027 - only a shell with a clock can
        """See that the client is sent `protocol.BEAT` now and then, whatever else it is sent."""

    def send_away(self, wait_s: float) -> None:  # noqa: B027 - a shell without a socket stays
        """Ask it to come back after that time, and end."""

    def note_sent(self, size: int) -> None:  # noqa: B027 - no duty of a shell without a kernel
        """So many bytes of such values were sent."""

    # Called by the hub and the shell

    def start(self) -> None:
        """Into the flow at the position of the last flush, where that can be joined just now."""
        hub, behind = self.hub, self._work()
        self._stand(behind, hub.position, hub.position)
        if self.form.is_native:
            behind.told.append(protocol.welcome(hub.position, hub.name, hub.limits))
        if self.form.told and hub.is_stale:
            behind.told.append(self.form.told("notice", protocol.notice("stale", stale=True), None))
        if behind.unsent is not None and behind.told:
            # The head of an answer: it goes out with the first words. Over loopback a write is 30 µs.
            behind.unsent = memoryview(bytes(behind.unsent) + (self._next(behind) or b""))
        self.pump()

    def receive(self, text: str) -> None:
        """A frame from the client."""
        behind = self._work()
        behind.frames.append(protocol.commands(text, self.hub.limits["history"]))
        self._read(behind)
        # Once for all of them: between two, the connection would join the flow only to leave it again.
        self.pump()

    def _read(self, behind: Behind) -> None:
        """The next commands of its frames. Not all: a thousand of them take ten milliseconds, and a few
        clients that send such frames would hold everybody up.
        """
        commands, limits = behind.commands, self.hub.limits
        while behind.frames and len(commands) < COMMANDS_MAX:
            for command in islice(behind.frames[0], COMMANDS_MAX - len(commands)):
                # Not for what will be refused: that must cost the broker nothing.
                has_room = len(self.interest.wants) + len(commands) < limits["subscriptions"]
                if has_room and isinstance(command, Subscribe):
                    for wanted in command.patterns:
                        self.hub.needs.announce(wanted)
                commands.append(command)
            if len(commands) < COMMANDS_MAX:
                del behind.frames[0]

    def command(self, command: Command) -> None:
        self._work().commands.append(command)
        self.pump()

    @property
    def is_at_rest(self) -> bool:
        """It has been sent and answered everything that it was due up to the last flush."""
        return self.behind is None

    @property
    def is_full(self) -> bool:
        """More commands wait than should: read no more from the client for now."""
        behind = self.behind
        return behind is not None and len(behind.commands) + len(self.publishes or ()) >= COMMANDS_MAX

    def tell(self, told: bytes) -> None:
        """Send an object that has no place in the order of events."""
        self._work().told.append(told)
        self.pump()

    def interpose(self, control: bytes) -> None:
        """Send this frame between two others."""
        self._work().control = control
        self.pump()

    def notify(self, notice: bytes) -> None:
        if self.form.told:
            self.tell(self.form.told("notice", notice, None))

    def call_slow(self) -> None:
        """It has been behind for a while: it is told once, and when it has caught up."""
        behind = self.behind
        if behind is not None and behind.past is not None and not behind.is_slow:
            behind.is_slow = True
            self._note_slow(behind, is_slow=True)

    def _note_slow(self, behind: Behind, *, is_slow: bool) -> None:
        if self.form.told:
            behind.told.append(self.form.told("notice", protocol.notice("slow", slow=is_slow), None))

    def tell_gap(self, gap: Gap) -> None:
        self._note_gap(gap)
        if self.form.gap:
            self.tell(self.form.gap(gap))

    def _note_gap(self, gap: Gap) -> None:
        self.hub.losses.note(gap, self.hub.clock(), clients=1 if self.form.gap else 0)

    def has_passed(self, position: Position) -> bool:
        """Out of the flow, and beyond that place."""
        past = self.behind and self.behind.past
        return bool(past and past.position.epoch == position.epoch and past.position.seq > position.seq)

    def fall_behind(
        self,
        unsent: memoryview | None,
        position: Position,
        settled: Position,
        owed: frozenset[str] | None,
        told: list[bytes],
    ) -> None:
        """The socket took only a part of a flush; see Hub.leave for the others.

        Args:
            unsent: the rest of the frame that it took a part of.
        """
        behind = self._work()
        self._stand(behind, position, settled, owed)
        behind.told.extend(told)
        behind.unsent = unsent
        self.await_room()

    def claims(self) -> Iterable[Pattern]:
        """The patterns it is counted for at the hub."""
        for wanted in self.interest.wants:
            yield wanted.pattern
        if self.behind and (cut := self.behind.cut):
            yield from cut.claimed

    def pump(self) -> None:
        """Send what is due, as far as the socket takes it."""
        behind = self.behind
        if behind is None:
            return
        written = 0
        for _ in range(STEPS_PER_PUMP):
            if behind.unsent is not None:
                if sent := self.write(behind.unsent):
                    behind.looks = 0
                    written += sent
                if sent < len(behind.unsent):
                    behind.unsent = behind.unsent[sent:]
                    if self.cohort is not None:
                        self._leave(behind)  # a flush must not write into the middle of a frame
                    self.await_room()
                    return
                behind.unsent = None
                if written >= PUMP_BYTES:
                    break
            data = self._next(behind)
            if data is None:
                is_busy = self.publishes is not None and self.publishes.is_busy
                if self.cohort is not None and not (behind.commands or behind.cut or is_busy):
                    self.behind = None
                return
            if data:
                behind.unsent = memoryview(data)
        self.hub.later(self.pump)

    # What is next

    def _next(self, behind: Behind) -> bytes | None:
        """The next bytes; b"" for none, but ask again; None for nothing until something happens."""
        if behind.control:
            control, behind.control = behind.control, None
            return control
        if behind.told:
            told = list(behind.told)
            behind.told.clear()
            return self.form.finish(told)
        if (cut := behind.cut) is not None:
            if cut.epoch != self.hub.epoch:
                cut.restart()
            if cut.at or self._place(behind, cut):
                # What leaving the flow has still to tell comes before a reply that moves on.
                return b"" if behind.told else self._answer(behind, cut)
        elif behind.commands:
            command = behind.commands.popleft()
            self._read(behind)
            return self._obey(behind, command)
        return self._catch_up(behind, behind.past) if behind.past else None

    def _obey(self, behind: Behind, command: Command) -> bytes | None:
        if isinstance(command, Subscribe):
            limit = self.hub.limits["subscriptions"]
            if len(self.interest.wants) + len(self.interest.lacking(command.patterns)) > limit:
                message = f"more than {limit} subscriptions on a connection"
                return self._say(protocol.refused(Refusal(command.id, "limit", message)))
            behind.cut = Cut(self.hub, command, self.pump)
            return b""
        if isinstance(command, Publish):
            if self.publishes is None:
                self.publishes = Publishes(self.hub.publishing, self._tell_outcome, self.pump)
            self.publishes.add(command)
            return b""
        if isinstance(command, Ping):
            return self._say(protocol.ok(command.id, time=round(self.hub.clock(), 6)))
        if isinstance(command, Beat):
            self.want_beat(command.is_wanted)
            return self._say(protocol.ok(command.id))
        if isinstance(command, Refusal):
            return self._say(protocol.refused(command))
        return self._unsubscribe(behind, command)

    def _unsubscribe(self, behind: Behind, command: Unsubscribe) -> bytes | None:
        if not self.interest.has(command.pattern):
            message = f"{command.pattern.text!r} is not subscribed"
            return self._say(protocol.refused(Refusal(command.id, "not_subscribed", message)))
        position = self._leave(behind).position
        if behind.told or self._owes(behind, position):
            behind.commands.appendleft(command)
            return b"" if behind.told else self._settle(behind, position)
        self._set_interest(behind, position, self.interest.without(command.pattern))
        self.hub.needs.release(command.pattern)
        return self._say(protocol.ok(command.id), position)

    def _catch_up(self, behind: Behind, past: Past) -> bytes | None:
        """The next page of what is due after the position; joins the flow where there is none."""
        hub = self.hub
        if hub.flushed_epoch != hub.epoch:
            hub.after_flush(self.pump)  # the old log's last events are still to go out
            return None
        if past.position.epoch != hub.epoch:
            start = Position(hub.epoch, hub.start)
            was = past.position
            if behind.newest is not None:
                was = min(was, behind.newest.position)  # what it owes of the old log is gone with it, too
            self._stand(behind, start, start)
            if was.epoch == 0:
                return b""  # it came before any log was known
            return self._encode([Gap("**", was, Position(hub.epoch, hub.start + 1), "epoch")])
        is_behind = past.position.seq < hub.flushed
        if self._owes(behind, hub.position) and (behind.is_newest_next or not is_behind):
            behind.is_newest_next = False
            if (page := self._settle(behind, hub.position)) is not None:
                return page
            if not is_behind:
                if self.interest.collects:
                    hub.after_flush(self.pump)  # what it wants in full does not wait for that
                return None
        behind.is_newest_next = True
        if is_behind:
            items = past.read(hub.flushed, self.pump)
            return None if items is None else self._encode(items)
        if not hub.join(self):
            hub.after_flush(self.pump)
            return None
        behind.past = behind.newest = None
        if behind.is_slow:
            behind.is_slow = False
            self._note_slow(behind, is_slow=False)
        return b""

    def _owes(self, behind: Behind, position: Position) -> bool:
        """Something up to there of what is not wanted in full."""
        newest = behind.newest
        return bool(newest and newest.position.epoch == self.hub.epoch and newest.position.seq < position.seq)

    def _settle(self, behind: Behind, position: Position) -> bytes | None:
        """The next page of that. None: the log was asked."""
        newest = behind.newest
        assert newest
        if not self.takes_more():
            return None
        if (items := newest.read(position.seq, self.pump)) is None:
            return None
        objects = self.form.objects(items)
        if self.form.told and objects:
            objects.append(self.form.told("at", protocol.at(newest.position), newest.position))
        frames = self.form.finish(objects)
        self.note_sent(len(frames))
        return frames

    # A subscribe

    def _place(self, behind: Behind, cut: Cut) -> bool:
        """Bring the connection to the place of the cut. False: the flow goes on, for it is further on."""
        hub = self.hub
        if not cut.claimed:
            cut.claimed = self.interest.lacking(cut.wanted.patterns)
            for wanted in cut.claimed:
                hub.needs.claim(wanted)
        for wanted in cut.wanted.patterns:
            in_force = hub.needs.await_force(wanted, self)
            if in_force is None:
                return False
            cut.not_before = max(cut.not_before, in_force)
        if hub.flushed_epoch != hub.epoch or hub.flushed < cut.not_before:
            hub.after_flush(self.pump)
            return False
        position = self._leave(behind).position
        if position.epoch != hub.epoch or position.seq < cut.not_before:
            return False  # first the old set, up to there
        cut.at = position
        return True

    def _answer(self, behind: Behind, cut: Cut) -> bytes | None:
        """The past that was asked for, then the reply. None: the log was asked, all stands still."""
        assert cut.at
        if self._owes(behind, cut.at):
            return self._settle(behind, cut.at)
        if not cut.is_read:
            page = cut.read()
            return None if page is None else self._encode_past(page, cut.wanted)
        behind.cut = None
        self._set_interest(behind, cut.at, self.interest.with_(cut.wanted.wants))
        fields: dict[str, object] = {"position": str(cut.at), "recovered": cut.is_recovered}
        if cut.is_truncated:
            fields["truncated"] = True
        return self._say(protocol.ok(cut.wanted.id, **fields), cut.at)

    def _encode_past(self, page: Found, wanted: Subscribe) -> bytes:
        """Of what this asked for."""
        if wanted.history and isinstance(page, Records) and not self.form.is_native:
            return self.form.finish([self.form.past(event, wanted.id) for event in page])
        return self._encode(page, wanted.id)

    # Small moves

    def _encode(self, items: Iterable[Event | Gap], subscription: int | None = None) -> bytes:
        """Frames for the wire. What a subscribe asked for by `since` bears its id, where there can be
        others beside it.
        """
        return self.form.finish(self._objects(items, subscription))

    def _objects(self, items: Iterable[Event | Gap], subscription: int | None) -> list[bytes]:
        if isinstance(items, Records) and self.form.is_native:
            return natives(items) if subscription is None else tag(natives(items), subscription)
        objects = []
        for item in items:
            if isinstance(item, Gap):
                self._note_gap(item)
                if subscription is not None and self.form.is_native:
                    objects.append(gap_object(item, subscription))
                elif self.form.gap:
                    objects.append(self.form.gap(item))
            elif subscription is not None and self.form.is_native:
                objects.append(tagged(item, subscription))
            else:
                objects.append(self.form.encode(item))
        return objects

    def _say(self, reply: bytes, at: Position | None = None) -> bytes:
        """A reply; `at` is the position that it brings the client to."""
        return self.form.finish([self.form.told("reply", reply, at)]) if self.form.told else b""

    def _tell_outcome(self, publish: Publish, outcome: Outcome) -> None:
        if self.form.told:
            reply = protocol.outcome(publish.id, outcome)
            self._work().told.append(self.form.told("reply", reply, None))

    def _work(self) -> Behind:
        if self.behind is None:
            self.behind = Behind()
        return self.behind

    def _leave(self, behind: Behind) -> Past:
        """Out of the flow, if it is in it."""
        if self.cohort is not None:
            position, settled, owed, told = self.hub.leave(self)
            self._stand(behind, position, settled, owed)
            behind.told.extend(told)
        assert behind.past
        return behind.past

    def _stand(
        self,
        behind: Behind,
        position: Position,
        settled: Position,
        owed: frozenset[str] | None = None,
    ) -> None:
        """Out of the flow: everything due up to `position` was sent, and up to `settled` of what is not
        wanted in full; of what came between these only `owed` was not, None for all.
        """
        behind.past = Past(self.hub, self.interest, position)
        behind.newest = None
        if self.interest.conflates:
            behind.newest = Newest(self.hub, self.interest, settled, owed, position.seq)

    def _set_interest(self, behind: Behind, position: Position, wants: Wants) -> None:
        self.interest = self.hub.interest(wants)
        self.form = self.form.of(self.interest)
        self._stand(behind, position, position)
