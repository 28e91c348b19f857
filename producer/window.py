"""What a publisher was given and the log has not confirmed, and what to ask the broker next. Pure.

Events get their numbers when the broker has said how far the log is with this producer (hello), and
are confirmed by the answers to what was sent under these numbers (publish). What is lost on the way
is sent again: everything from the first event that is not confirmed (go back n), one request first.

A hello confirms nothing. It is said when nothing of the window can be in the log: at the start, and
when the log has gone back to before the window (it began anew, or lost its end with the power). So
if another program published under this id in between, none of its events is taken for one of ours,
and what is given new numbers is in the log under no old one.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from broker.control import Hello, HelloPage, Publish, PublishPage
from broker.errors import ControlError, Fenced, LogLost, PayloadTooLarge, PenstockError
from broker.wire import EVENT, Position

REQUEST_EVENTS = 2_000
REQUEST_BYTES = 256 * 1024  # a larger event goes alone
# Every broker reads so much, and says itself what it does not take. A larger request than it reads costs
# the link, each time.
READ_BYTES = 8 << 20
IN_FLIGHT_MAX = 16
HELD_MAX_BYTES = 64 << 20

TIMEOUT_S, TIMEOUT_MAX_S = 5.0, 60.0
PAUSE_S, PAUSE_MAX_S = 0.05, 1.0

# What is wrong with an event stays wrong; every other refusal may pass.
FOR_GOOD = frozenset({"bad_topic", "system_topic", "payload_too_large", "bad_request"})


class Batch:
    """Events that are asked for together, and what has become of them.

    Who was given a place in it may look it up later: its events are let go when they are settled.
    """

    __slots__ = ("count", "failed", "failure", "notes", "parts", "placed", "settled", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []  # each an event as `broker.wire.pack_event` gives it
        self.count = 0
        self.size = 0  # bytes
        self.settled = 0  # of the first so many it is known what has become of them
        self.placed: list[tuple[int, int, int, int]] = []  # place, how many, epoch, seq of the first
        self.failed: dict[int, PenstockError] = {}  # by place: refused for good
        self.failure: PenstockError | None = None  # of all that nothing else is said of
        self.notes: list[tuple[int, object]] = []  # by place: what is handed back once it is settled

    def maybe_position(self, place: int) -> Position | None:
        """Where it is in the log; None if it is not, or the broker does not know any more."""
        for first, count, epoch, seq in self.placed:
            if first <= place < first + count:
                return Position(epoch, seq + place - first)
        return None

    def is_settled(self, place: int) -> bool:
        return place < self.settled or self.failure is not None

    def maybe_error(self, place: int) -> PenstockError | None:
        """Why it will not be confirmed."""
        if place in self.failed:
            return self.failed[place]
        return self.failure if place >= self.settled else None


class Sending(NamedTuple):
    """A request; the frame of events is `parts`, joined."""

    request: Hello | Publish
    parts: list[bytes]


class Flight(NamedTuple):
    """A request without its answer."""

    first: int
    last: int
    deadline_s: float


class Window:
    """Not thread-safe. Times are seconds of one clock.

    Whoever has a link says so (`on_link`), sends what is `due`, hands over what is answered (`on_hello`,
    `on_published`, `on_refused`) and calls `tick` at `next_s`. After each of these, and after `put`, more
    may be due.
    """

    def __init__(
        self,
        producer: str,
        held_max: int,
        held_max_bytes: int = HELD_MAX_BYTES,
        *,
        instance: str,
        passing: bool = False,
        numbered: bool = False,
    ) -> None:
        """
        Args:
            instance: nobody else's, also not that of this producer's next start.
            passing: it has no next start.
            numbered: an event's number means something to who gave it: rather fail than change one.
        """
        self._producer, self._instance, self._numbered = producer, instance, numbered
        self._passing = passing
        self._hellos = 0  # that were answered
        self._held_max, self._held_max_bytes = held_max, held_max_bytes
        self.is_full = False  # or at its end: nothing more is to be put; asked for each event
        self.taken = 0  # events, ever
        self.held = 0  # of them not settled
        self._held_bytes = 0
        self.dropped = 0  # refused for good
        self.refusal: ControlError | None = None  # of the newest of them
        self.lost = 0  # confirmed events that the log has lost since
        self.failure: PenstockError | None = None  # nothing is sent any more
        self.given_up = 0  # events that were held then
        self.why = ""  # nothing is confirmed just now; empty if nothing is known to be wrong
        self.notes: list[tuple[Batch, int, object]] = []  # of events settled since somebody took them
        self._open = Batch()  # takes more; the newest
        self._batches = deque([self._open])
        self._last_id = 0
        self._is_linked = False
        self._incarnation: int | None = None
        self._begun_id = 0  # of the hello that began it
        self._epoch = ""  # of the log that answered it
        self._payload_max_bytes = 0  # that the broker takes, as it said then; 0: it did not
        self._hello: tuple[int, float] | None = None  # id and deadline of one without its answer
        self._base = 0  # number of the first event not settled
        self._cursor = 0  # batches before this one are sent
        self._next = 0  # number of the first event beyond them
        self._sent = 0  # largest number ever sent in this incarnation
        self._flights: dict[int, Flight] = {}
        self._limit = 1  # requests in flight
        self._singly = 0  # up to this number events go one by one: one of them is refused for good
        self._paused_until_s: float | None = None
        self._pause_s, self._timeout_s = PAUSE_S, TIMEOUT_S

    @property
    def last(self) -> int | None:
        """How many events of this producer are in the log; None before the hello."""
        return None if self._incarnation is None else self._base - 1

    @property
    def has_room(self) -> bool:
        """A quarter is free: whoever waits for room is not woken for each event of it."""
        return self.held * 4 <= self._held_max * 3 and self._held_bytes * 4 <= self._held_max_bytes * 3

    def put(self, part: bytes, note: object = None) -> tuple[Batch, int]:
        """Take an event, packed; its batch and its place there. `note`, if any, appears in `notes`."""
        batch, size = self._open, len(part)
        place = batch.count
        if place and (place == REQUEST_EVENTS or batch.size + size > REQUEST_BYTES):
            batch = self._seal()
            place = 0
        batch.parts.append(part)
        batch.count = place + 1
        batch.size += size
        if note is not None:
            batch.notes.append((place, note))
        self.taken += 1
        self.held += 1
        self._held_bytes += size
        if self.held >= self._held_max or self._held_bytes >= self._held_max_bytes:
            self.is_full = True
        return batch, place

    def _seal(self) -> Batch:
        self._open = Batch()
        self._batches.append(self._open)
        return self._open

    @property
    def is_due(self) -> bool:
        """Whether something is to be sent now. While an answer is awaited, a batch fills up first."""
        if not self._is_linked or self.failure or len(self._flights) >= self._limit:
            return False
        if self._paused_until_s is not None:
            return False
        if self._incarnation is None:
            return self._hello is None
        if self._cursor and self._is_next_too_large:
            return False  # its turn comes when all before it is confirmed
        return self._cursor < len(self._batches) - 1 or bool(self._open.count and not self._flights)

    def due(self, now_s: float) -> list[Sending]:
        """What to send now, in this order. It counts as sent."""
        found: list[Sending] = []
        while self.is_due:
            if self._incarnation is not None and self._is_next_too_large:
                self._refuse_next()
            else:
                found.append(self._sending(now_s))
        return found

    @property
    def _is_next_too_large(self) -> bool:
        """Whether it would cost the link, and be refused if it did not."""
        batch = self._batches[self._cursor]  # one that is so large goes alone
        return batch.size > READ_BYTES and 0 < self._payload_max_bytes < _payload_bytes(batch.parts[0])

    def _refuse_next(self) -> None:
        # Neither it nor anything behind it was sent: its number is free.
        size = _payload_bytes(self._batches[0].parts[0])
        refused = PayloadTooLarge(size, self._payload_max_bytes)
        self._drop(ControlError(refused.reason, refused.detail))

    def _sending(self, now_s: float) -> Sending:
        self._last_id += 1
        if self._incarnation is None:
            self._hello = self._last_id, now_s + self._timeout_s
            # The same until one is answered: it begins one incarnation, however often and late it comes.
            instance = f"{self._instance}.{self._hellos}"
            hello = Hello(id=self._last_id, producer=self._producer, instance=instance, passing=self._passing)
            return Sending(hello, [])
        batch, first = self._batches[self._cursor], self._next
        parts = batch.parts[batch.settled :] if batch.settled else batch.parts
        if first <= self._singly:
            # The cursor stays: the limit is one, and its answer moves what is settled.
            parts = parts[:1]
        else:
            if batch is self._open:
                self._seal()
            self._cursor += 1
            self._next += len(parts)
        last = first + len(parts) - 1
        self._sent = max(self._sent, last)
        self._flights[self._last_id] = Flight(first, last, now_s + self._timeout_s)
        request = Publish(
            id=self._last_id,
            producer=self._producer,
            incarnation=self._incarnation,
            first=first,
            known=self._base - 1,
        )
        return Sending(request, parts)

    @property
    def next_s(self) -> float | None:
        """When `tick` is to be called; None: not before something happens."""
        if not self._is_linked or self.failure:
            return None
        times = [self._paused_until_s, self._deadline_s]
        return min((each for each in times if each is not None), default=None)

    @property
    def _deadline_s(self) -> float | None:
        """Of the request that has waited longest for its answer."""
        if self._hello:
            return self._hello[1]
        return next(iter(self._flights.values())).deadline_s if self._flights else None

    def tick(self, now_s: float) -> None:
        """End a pause; give up requests whose answer is late, to send them again."""
        if self._paused_until_s is not None and now_s >= self._paused_until_s:
            self._paused_until_s = None
        if (deadline_s := self._deadline_s) is not None and now_s >= deadline_s:
            self.why = f"the broker has not answered for {self._timeout_s:g} s"
            self._timeout_s = min(self._timeout_s * 2, TIMEOUT_MAX_S)
            self._go_back()

    def on_link(self) -> None:
        """There is a link to the broker, another one than before: what was sent may be lost."""
        self._is_linked = True
        self.why = ""
        self._paused_until_s = None
        self._go_back()

    def on_link_lost(self, why: str) -> None:
        self._is_linked = False
        self.why = why
        self._go_back()

    def on_unsent(self, now_s: float) -> None:
        """The link took no more of what was due."""
        self._go_back()
        self._pause(now_s)

    def is_hello(self, id: int) -> bool:
        """Whether an answer with that id is for `on_hello`."""
        return self._hello is not None and self._hello[0] == id

    def on_hello(self, id: int, page: HelloPage) -> None:
        if not self.is_hello(id) or self.failure:
            # Of a hello before the newest one: the incarnation that this began is over.
            return
        self._hello = None
        self._hellos += 1
        if self._begun_id and page.last != (had := self._base - 1):
            if self._numbered:
                self.fail(LogLost(self._producer, had, page.last))
                return
            if page.at.epoch != self._epoch:  # else it has forgotten the producer, and not its events
                self.lost += max(had - page.last, 0)
        self._incarnation, self._begun_id, self._epoch = page.incarnation, id, page.at.epoch
        self._payload_max_bytes = page.payload_max_bytes
        self._base, self._sent, self._singly = page.last + 1, page.last, 0
        self._well()
        self._go_back()

    def on_published(self, id: int, page: PublishPage, now_s: float) -> None:
        # The answer to a request that was given up is as true, if it is of this incarnation.
        if self._incarnation is None or id < self._begun_id or self.failure:
            return
        if page.last > self._sent:
            self.fail(Fenced(self._producer, "numbers were used that were not sent from here"))
            return
        asked = self._flights.pop(id, None)
        self._confirm(page)
        if asked and asked.last > page.last:
            self._go_back()
            self._pause(now_s)
            return
        self._flights = {id: each for id, each in self._flights.items() if each.first >= self._base}
        self._well()
        self._limit = 1 if self._base <= self._singly else IN_FLIGHT_MAX

    def on_refused(self, id: int, code: str, message: str, now_s: float) -> None:
        if self.failure:
            return
        if self.is_hello(id):
            self.why = message
            self._go_back()
            self._pause(now_s)
            return
        if (asked := self._flights.get(id)) is None:
            return  # behind one that was refused before it, or given up
        is_first = asked.first == self._base
        if code == "fenced":
            self.fail(Fenced(self._producer, message))
        elif code == "unknown_producer" or (code == "out_of_order" and is_first):
            self._incarnation = None
            self._go_back()
        elif code == "out_of_order":
            self._go_back()
        elif code not in FOR_GOOD:
            self.why = message
            self._go_back()
            self._pause(now_s)
        elif is_first and asked.last == asked.first:
            self._drop(ControlError(code, message))
            # Nothing that was sent under the old numbers may be taken for the new ones.
            self._incarnation = None
            self._go_back()
        else:
            self._singly = max(self._singly, asked.last)
            self._go_back()

    def fail(self, error: PenstockError) -> None:
        """Nothing is sent or confirmed any more; whatever is held fails with `error`."""
        self.failure = error
        self.is_full = True
        self._flights.clear()
        self._hello = None
        for batch in self._batches:
            batch.failure = error
            self._hand_back(batch, batch.count)
            batch.parts = []
        self._batches = deque([self._open])
        self.given_up += self.held
        self.held = self._held_bytes = 0

    def _drop(self, error: ControlError) -> None:
        """The first event is refused for good, and those behind it get other numbers."""
        if self._numbered:
            self.fail(error)
            return
        batch = self._batches[0]
        batch.failed[batch.settled] = error
        self.dropped += 1
        self.refusal = error
        self._settle(1)

    def _confirm(self, page: PublishPage) -> None:
        epoch = page.at.epoch_number
        while self._base <= page.last:
            batch, base = self._batches[0], self._base
            count = min(batch.count - batch.settled, page.last - base + 1)
            for run in page.runs:
                first, end = max(run.first, base), min(run.first + run.count, base + count)
                if first < end:
                    place = batch.settled + first - base
                    batch.placed.append((place, end - first, epoch, run.seq + first - run.first))
            self._base += count
            self._settle(count)
        self._next = max(self._next, self._base)

    def _settle(self, count: int) -> None:
        """The first `count` events of the first batch, which has so many."""
        batch = self._batches[0]
        before, batch.settled = batch.settled, batch.settled + count
        self.held -= count
        is_whole = count == batch.count
        self._held_bytes -= batch.size if is_whole else sum(map(len, batch.parts[before : batch.settled]))
        self.is_full = self.held >= self._held_max or self._held_bytes >= self._held_max_bytes
        self._hand_back(batch, batch.settled)
        if batch.settled == batch.count:
            if batch is self._open:
                self._seal()
            self._batches.popleft()
            self._cursor = max(self._cursor - 1, 0)
            batch.parts = []

    def _hand_back(self, batch: Batch, upto: int) -> None:
        while batch.notes and batch.notes[0][0] < upto:
            self.notes.append((batch, *batch.notes.pop(0)))

    def _go_back(self) -> None:
        """Everything that is not confirmed is sent again, and one request of it first."""
        self._flights.clear()
        self._hello = None
        self._cursor, self._next, self._limit = 0, self._base, 1

    def _pause(self, now_s: float) -> None:
        self._paused_until_s = now_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)

    def _well(self) -> None:
        self.why = ""
        self._pause_s, self._timeout_s = PAUSE_S, TIMEOUT_S


def _payload_bytes(part: bytes) -> int:
    """Of an event, packed."""
    return int(EVENT.unpack_from(part)[1])
