"""The one ordered stream out of the broker: live events, and replays where something is missing. Pure.

Each event is offered at most once and in strictly increasing seq. On a hole everything later waits
until the log has filled it; what the log no longer has is offered as a gap in its place. Nothing
behind this reorders or deduplicates.

How a hole shows:
- `prev` of an event is beyond what was seen on its topic;
- `drops` in a stamp has moved: the broker has dropped something for somebody since the last message;
- the feed's connection broke, or beats were missed: whatever came meanwhile;
- a beat's tails name a seq beyond what was seen on a topic: the lost last event of a quiet topic.

A subscription is in force from its barrier's marker on: the head H that the marker carries divides
what comes by replay from what comes live. While the connection is recovering, live messages before
the marker are not looked at: they are at or below H and come by replay.

What waits is a queue of messages in their order of arrival. When it overflows, it is thrown away
and a new barrier asked for, as after a break: the log has it all.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from broker.control import Head, ReplayPage, TailsPage
from broker.gap import Gap, maybe_lost
from broker.wire import BEAT_S, DROPS_MODULO, Position

STALE_AFTER_S = 2.5 * BEAT_S  # with a tick and a flush, less than three
AWAY_S = 1.0
ASK_AGAIN_S = 1.0
MISSED_AFTER_S = 2 * BEAT_S
HELD_MAX_BYTES = 32 << 20
MESSAGE_OVERHEAD_BYTES = 300  # of a held event beside its payload
PREFIXES_MAX = 1_000


class Stamped(Protocol):
    """What the stream asks of an event; what else one has is its maker's."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def nth(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def prev(self) -> int: ...
    @property
    def drops(self) -> int: ...
    @property
    def unlogged(self) -> bool: ...


E = TypeVar("E", bound=Stamped)
E_in = TypeVar("E_in", bound=Stamped, contravariant=True)


class Downstream(Protocol[E_in]):
    """Who takes the stream."""

    def offer(self, event: E_in) -> None: ...
    def offer_gap(self, gap: Gap) -> None: ...
    def advance(self, seq: int) -> None:
        """Everything due up to here has been offered."""

    def change_epoch(self, epoch: int, start: int, seq: int) -> None:
        """The stream goes on in another log, from `seq`; that log's epoch began at `start`."""

    def in_force(self, prefixes: Sequence[str]) -> None:
        """All that is beyond the stream's position now comes live for these."""

    def set_stale(self, is_stale: bool) -> None: ...


class Link(Protocol):
    """How the stream reaches the broker. Nothing here may call back before it returns."""

    def set_filter(self, prefix: str, is_on: bool) -> None:
        """Subscribe or unsubscribe on the feed."""

    def barrier(self, number: int) -> None:
        """Subscribe to the marker of that number, after all filters set so far."""

    def ask_replay(self, number: int, prefixes: Sequence[str], after: int, upto: int) -> None: ...
    def ask_tails(self, number: int, prefixes: Sequence[str], after: int) -> None: ...


@dataclass(slots=True)
class Follow:
    """A prefix that is subscribed to."""

    since: int | None = None  # everything beyond was offered; None before its barrier
    barrier: int | None = None  # number of the first barrier asked for after its filter was set


@dataclass(frozen=True, slots=True)
class Marker:
    number: int
    at: Head


class Upstream(Generic[E]):
    """Not thread-safe; `now_s` is any clock that does not jump."""

    def __init__(self, downstream: Downstream[E], link: Link) -> None:
        self._down = downstream
        self._link = link
        self.epoch = 0  # 0 until the broker was heard
        self.seen = 0  # everything due up to here has been offered
        self.is_stale = True
        self._resumes = False  # at a position that no marker has borne out yet
        self._drops = 0
        self._follows: dict[str, Follow] = {}
        self._fresh: dict[str, Follow] = {}  # those among them that are not in force yet
        self._last: dict[str, tuple[int, int]] = {}  # topic -> seq and nth of the last one offered
        self._held: deque[E | Marker | Head] = deque()
        self._held_bytes = 0
        self._fill_upto: int | None = None  # a hole is being filled up to here
        self._recovery: int | None = 0  # number of the barrier before which nothing that comes is looked at
        self._number = 0
        self._barrier_s: float | None = None  # when a barrier was last asked for, None if none is awaited
        self._replay: int | None = None  # number of the replay asked for
        self._replay_s = 0.0
        self._tails: tuple[int, int] | None = None  # number, and the head it was asked at
        self._tails_s = 0.0
        self._reconciled = 0  # tails are known to agree up to here
        self._forgotten = 0  # what is forgotten up to here was told
        self._heard_s: float | None = None  # when a beat or marker last came
        self._beat_s: float | None = None
        self._now_s = 0.0
        self._ticked_s: float | None = None

    # Wishes

    def follow(self, prefix: str) -> bool:
        """Want what begins with `prefix`. True if it is in force, else `in_force` will be called.

        Call `settle` after a batch of these.
        """
        if (follow := self._follows.get(prefix)) is None:
            follow = self._follows[prefix] = self._fresh[prefix] = Follow()
            self._link.set_filter(prefix, True)
        return follow.since is not None

    def settle(self) -> None:
        """Ask for one barrier for all that was followed since the last."""
        if self._recovery != 0 and any(follow.barrier is None for follow in self._fresh.values()):
            self._ask_barrier()

    def resume(self, position: Position) -> None:
        """Go on behind `position`, as if all up to there had been offered of what is followed so far.

        Only before the broker was heard. A position of another log is a gap `epoch`, one that this log
        never came to a gap `future`.
        """
        self._resumes = True
        self.epoch, self.seen, self._reconciled = position.epoch, position.seq, position.seq
        for follow in self._fresh.values():
            follow.since = position.seq
        self._fresh.clear()

    def unfollow(self, prefixes: Sequence[str]) -> None:
        """Want no more of what begins with any of these."""
        topics: Collection[str] = prefixes
        for prefix in prefixes:
            if self._follows.pop(prefix, None):
                self._fresh.pop(prefix, None)
                self._link.set_filter(prefix, False)
                if prefix == "" or prefix.endswith("/"):
                    topics = list(self._last)  # it stood for any number of them
        # What comes on these from now on is not ours to miss.
        for topic in topics:
            if topic in self._last and self._since(topic) is None:
                del self._last[topic]

    def covers(self, prefix: str) -> int | None:
        """From which seq on everything with this prefix was offered, None if it is not."""
        follow = self._follows.get(prefix)
        return None if follow is None else follow.since

    # The feed, in its order

    def on_connected(self, now_s: float) -> None:
        """The feed's connection stands (again); its filters were sent before this."""
        self._now_s = now_s
        self._recover()

    def on_event(self, event: E) -> None:
        if self._recovery is not None:
            return
        if self._fill_upto is not None:
            self._hold(event, len(event.payload))
        else:
            self._event(event)

    def on_marker(self, number: int, at: Head, now_s: float) -> None:
        self._hear(now_s)
        if self._recovery is not None and (self._recovery == 0 or number < self._recovery):
            return
        if self._fill_upto is not None:
            self._hold(Marker(number, at))
        else:
            self._marker(Marker(number, at))

    def on_beat(self, at: Head, now_s: float) -> None:
        missed = self._beat_s is not None and now_s - self._beat_s > MISSED_AFTER_S
        self._beat_s = now_s
        self._hear(now_s)
        if missed and self._recovery is None:
            self._recover()
        if self._recovery is not None:
            return
        if self._fill_upto is not None:
            self._hold(at)
        else:
            self._beat(at)

    def tick(self, now_s: float) -> None:
        """To be called a few times a second: notices silence, asks again for what was not answered."""
        self._now_s = now_s
        away_s = 0.0 if self._ticked_s is None else now_s - self._ticked_s
        self._ticked_s = now_s
        if away_s > AWAY_S and self._heard_s is not None:
            # This process stood still, not the broker: what it said meanwhile has yet to be read.
            self._heard_s += away_s
        if not self.is_stale and self._heard_s is not None and now_s - self._heard_s > STALE_AFTER_S:
            self.is_stale = True
            self._down.set_stale(True)
        if self._barrier_s is not None and now_s - self._barrier_s > ASK_AGAIN_S:
            self._ask_barrier()
        if self._fill_upto is not None and now_s - self._replay_s > ASK_AGAIN_S:
            self._ask_replay()
        if self._tails and now_s - self._tails_s > ASK_AGAIN_S:
            self._tails = None  # the next beat asks

    # Answers of the control port, in any order

    def on_replay(self, number: int, page: ReplayPage, events: Iterable[E]) -> None:
        if number != self._replay or self._fill_upto is None:
            return
        self._replay = None
        if page.at.epoch_number != self.epoch:
            self._recover()  # the marker brings the new epoch
            return
        after = self.seen
        forgotten = min(page.at.forgotten, self._fill_upto)
        if forgotten > max(after, self._forgotten):
            # Whole topics may have gone with what we lack of them, and their names with them.
            self._forgotten = forgotten
            self._gap("**", after, forgotten + 1, "forgotten")
        for first, last in page.damaged:
            self._gap("**", max(after, first - 1), last + 1, "damaged")
        # All holes go before the page: who breaks off in its middle has been told of them.
        found = list(events)
        self._tell_holes(page, found)
        for event in found:
            seen, seen_nth = self._last_on(event.topic)
            if event.seq > self.seen and seen is not None:
                if event.prev > seen and event.nth > 1:
                    self._tell_late(event, seen, seen_nth, after, page.at.forgotten)
                self._offer(event)
                if event.seq < seen:
                    # It stands in a hole, most of which is gone, and may be newer than all of that.
                    self._last[event.topic] = (seen, seen_nth and max(seen_nth, event.nth))
        self._advance(max(self.seen, min(page.through, self._fill_upto)))
        if self.seen >= self._fill_upto:
            self._fill_upto = None
            self._release()
        elif self.seen > after:
            self._ask_replay()  # else the log is not so far yet: `tick` asks again

    def _tell_holes(self, page: ReplayPage, events: Sequence[E]) -> None:
        if not page.holes:
            return
        upto = {topic: nth for topic, _, nth in page.holes}
        # Retention takes whole chunks: of what is older than the newest that is gone, some may stand. By
        # their numbers: after a restart the log knows that of the newest, and of its seq only a bound.
        kept = Counter(
            event.topic
            for event in events
            if event.nth <= upto.get(event.topic, 0) and event.seq > (self._last_on(event.topic)[0] or 0)
        )
        for topic, seq, nth in page.holes:
            seen, seen_nth = self._last_on(topic)
            if seen is None or seq <= seen:
                continue
            stand = kept[topic] if seq <= page.through else None
            lost = maybe_lost(seen, seen_nth, nth, page.at.forgotten, stand)
            if lost != 0:
                self._gap(topic, seen, seq + 1, "retention", lost)
                self._last[topic] = (seq, nth)

    def _tell_late(self, event: E, seen: int, seen_nth: int, after: int, forgotten: int) -> None:
        """What the topic lacks before an event of a page that begins at `after`, and is not in that page.

        It came before what is out already, so no replay can bring it: the counter in the stamps, which
        would have stopped us in time, had gone round.
        """
        lost = maybe_lost(seen, seen_nth, event.nth - 1, forgotten)
        if seen >= after or (lost == 1 and event.prev > after):
            return  # it is in the page that something is not there: as damaged, that was told
        self._gap(event.topic, seen, min(event.prev, after) + 1, "late", None if event.prev > after else lost)

    def on_tails(self, number: int, page: TailsPage) -> None:
        if self._tails is None or number != self._tails[0]:
            return
        head = self._tails[1]
        self._tails = None
        if self._recovery is not None or page.at.epoch_number != self.epoch:
            return
        upto = min(head, page.through)
        lacks_ahead = False
        for topic, seq, nth in page.tails:
            if seq > upto:
                continue  # newer than the beat: on its way, or its successor's prev will tell
            last, last_nth = self._last_on(topic)
            if last is None or seq <= last:
                continue
            if seq > self.seen:
                lacks_ahead = True
            else:
                # Later events of other topics are out already: it cannot be offered in order.
                self._gap(topic, last, seq + 1, "late", maybe_lost(last, last_nth, nth, page.at.forgotten))
                self._last[topic] = (seq, nth)
        if lacks_ahead:
            if self._fill_upto is None:
                self._fill(upto)
            return
        # Also of a topic that was forgotten since, with what we lack of it. What is ahead a replay tells.
        forgotten = min(page.at.forgotten, upto if self._fill_upto is None else self.seen)
        if forgotten > max(self._reconciled, self._forgotten):
            self._gap("**", self._reconciled, forgotten + 1, "forgotten")
            self._forgotten = forgotten
        self._reconciled = max(self._reconciled, upto)
        if self._fill_upto is None:
            self._advance(max(self.seen, upto))

    # Moves

    def _event(self, event: E) -> None:
        if event.epoch != self.epoch:
            self._recover()
            return
        if event.seq <= self.seen:
            return
        if event.drops != self._drops % DROPS_MODULO:
            self._drops = event.drops
            if event.seq - 1 > self.seen:
                self._fill(event.seq - 1, event)
                return
        lacks = self._lacks(event)
        if lacks is None:
            return  # not in force yet
        if lacks and not event.unlogged:
            self._fill(event.seq)
            return
        if lacks:  # it is in no log, so no replay leads up to it
            self._gap(event.topic, self._last_on(event.topic)[0] or 0, event.prev + 1, "late")
        self._offer(event)

    def _marker(self, marker: Marker) -> None:
        at = marker.at
        if self._recovery is not None:
            self._recovery = None
            self._drops = at.drops
            if at.epoch_number != self.epoch:
                self._change_epoch(at)
            elif self._resumes and at.head < self.seen:
                self._step_back(at)
            self._resumes = False
            if all(follow.barrier and follow.barrier <= marker.number for follow in self._fresh.values()):
                self._barrier_s = None  # however long the log takes, no other is needed
            if at.head > self.seen:
                self._fill(at.head, marker)
                return
        elif at.epoch_number != self.epoch:
            self._recover()
            return
        elif at.drops % DROPS_MODULO != self._drops % DROPS_MODULO:
            self._drops = at.drops
            if at.head > self.seen:
                self._fill(at.head, marker)
                return
        come = [
            prefix
            for prefix, follow in self._fresh.items()
            if follow.barrier is not None and follow.barrier <= marker.number
        ]
        for prefix in come:
            self._fresh.pop(prefix).since = at.head
        if not self._fresh:
            self._barrier_s = None
        self._advance(max(self.seen, at.head))
        if come:
            self._down.in_force(come)

    def _beat(self, at: Head) -> None:
        if at.epoch_number != self.epoch:
            self._recover()
            return
        if at.drops % DROPS_MODULO != self._drops % DROPS_MODULO:
            self._drops = at.drops
            if at.head > self.seen:
                self._fill(at.head, at)
                return
        if self._tails is None and at.head > self._reconciled and (prefixes := self._prefixes()):
            self._number += 1
            self._tails, self._tails_s = (self._number, at.head), self._now_s
            self._link.ask_tails(self._number, prefixes, self._reconciled)

    def _hear(self, now_s: float) -> None:
        self._now_s = self._heard_s = now_s
        if self.is_stale:
            self.is_stale = False
            self._down.set_stale(False)

    def _change_epoch(self, at: Head) -> None:
        is_first = self.epoch == 0 and not self._resumes
        old = Position(self.epoch, self.seen)
        self.epoch = at.epoch_number
        # Of a new epoch everything is replayed: what was published since it began is ours.
        self.seen = self._reconciled = at.head if is_first else at.start
        self._forgotten = 0
        self._tails = None
        self._last.clear()
        for follow in self._follows.values():
            if follow.since is not None:
                follow.since = at.start
        self._down.change_epoch(self.epoch, at.start, self.seen)
        if not is_first:
            self._down.offer_gap(Gap("**", old, Position(self.epoch, at.start + 1), "epoch"))

    def _step_back(self, at: Head) -> None:
        """To where the log is: nobody was ever as far as the position that we were to go on from."""
        self._gap("**", self.seen, at.head + 1, "future")
        self.seen = self._reconciled = at.head
        for follow in self._follows.values():
            if follow.since is not None:
                follow.since = at.head

    def _recover(self) -> None:
        """Look at nothing that comes before the marker of a new barrier."""
        self._fill_upto = self._replay = self._tails = None
        self._held.clear()
        self._held_bytes = 0
        self._ask_barrier()
        self._recovery = self._number

    def _fill(self, upto: int, *then: E | Marker | Head) -> None:
        """Hold everything until the log has told what is up to `upto`, then go on with `then`."""
        for message in reversed(then):
            self._held.appendleft(message)
        if not self._prefixes():
            self._advance(upto)  # nothing is followed yet, so nothing is missing
            self._release()
            return
        self._fill_upto = upto
        self._ask_replay()

    def _release(self) -> None:
        while self._held and self._fill_upto is None and self._recovery is None:
            message = self._held.popleft()
            if isinstance(message, Marker):
                self._marker(message)
            elif isinstance(message, Head):
                self._beat(message)
            else:
                self._event(message)
        if not self._held:
            self._held_bytes = 0

    def _hold(self, message: E | Marker | Head, size: int = 0) -> None:
        self._held_bytes += size + MESSAGE_OVERHEAD_BYTES
        if self._held_bytes > HELD_MAX_BYTES:
            self._recover()
            return
        self._held.append(message)

    def _offer(self, event: E) -> None:
        self._last[event.topic] = (event.seq, event.nth)
        self.seen = event.seq
        self._down.offer(event)

    def _gap(self, pattern: str, after: int, before: int, cause: str, lost: int | None = None) -> None:
        epoch = self.epoch
        self._down.offer_gap(Gap(pattern, Position(epoch, after), Position(epoch, before), cause, lost))

    def _advance(self, seq: int) -> None:
        self.seen = seq
        self._down.advance(seq)

    def _lacks(self, event: E) -> bool | None:
        """Whether something before this event, on its topic, was not seen. None: not ours to see."""
        last, _ = self._last_on(event.topic)
        if last is None:
            return None
        if event.nth == 1:
            # Its prev is what the log has forgotten, no event of the topic; up to `seen` we missed nothing.
            return event.prev > self.seen
        return event.prev > last

    def _last_on(self, topic: str) -> tuple[int | None, int]:
        """Seq and nth last seen on a topic; from where it is followed, and 0, if none; None: not followed."""
        if last := self._last.get(topic):
            return last
        return self._since(topic), 0

    def _since(self, topic: str) -> int | None:
        """From where on a topic is followed: the earliest of its prefixes in force."""
        earliest: int | None = None
        end = 0
        while True:
            follow = self._follows.get(topic[:end])
            if follow and follow.since is not None and (earliest is None or follow.since < earliest):
                earliest = follow.since
            if end == len(topic):
                return earliest
            # Patterns begin with whole segments or are whole topics: no other prefix can be followed.
            end = topic.find("/", end) + 1 or len(topic)

    def _prefixes(self) -> list[str]:
        """What is in force, as it is asked of the log; everything where the list would be long."""
        found = [prefix for prefix, follow in self._follows.items() if follow.since is not None]
        return [""] if "" in found or len(found) > PREFIXES_MAX else found

    def _ask_barrier(self) -> None:
        self._number += 1
        self._barrier_s = self._now_s
        for follow in self._fresh.values():
            if follow.barrier is None:
                follow.barrier = self._number
        self._link.barrier(self._number)

    def _ask_replay(self) -> None:
        assert self._fill_upto is not None
        self._number += 1
        self._replay, self._replay_s = self._number, self._now_s
        self._link.ask_replay(self._number, self._prefixes(), self.seen, self._fill_upto)
