"""Confirmed publishing: what was asked in one turn of the broker, committed in one piece. No socket.

Requests are taken as they come and answered together, after the commit. Until then what they would
change is staged: if the log cannot be written none of it has happened, and they are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from broker import control
from broker.answers import refusal
from broker.control import Answer, Head, Hello, HelloPage, Publish, PublishPage, Run, Submit, SubmitPage
from broker.errors import CannotCommit, LogError, MalformedFrames
from broker.ingest import maybe_fault
from broker.log import Log
from broker.producers import PRODUCERS_MAX, Producer, joined
from broker.reader import Event
from broker.store import Key
from broker.wire import Position, unpack_events

EVENTS_MAX = 10_000  # in one request

Incoming = tuple[bytes, bytes, int]  # topic, payload, content type


class Refused(Exception):
    """With the code and the words of the answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Waiting(NamedTuple):
    """A request that is answered after the commit."""

    asker: bytes
    asked: control.Publishing
    producer: Producer = Producer()  # of a Hello: as it begins
    key: Key | None = None  # what the log has, or will have, under the key of a Submit
    at: int = 0  # place in the batch of its last event
    is_repeated: bool = False


class Publishing:
    """Not thread-safe. `take` what was asked, then `commit`."""

    def __init__(
        self, log: Log, head: Callable[[], Head], payload_max_bytes: int, clock_us: Callable[[], int]
    ) -> None:
        """`clock_us`: the time of day, in µs."""
        self._log, self._head, self._payload_max_bytes = log, head, payload_max_bytes
        self._clock_us = clock_us
        self._begun: dict[str, str] = {}  # by producer: the instance of its newest hello, if that was said
        self._publishers = log.publishers
        self.size = 0  # bytes of events in the batch
        self.confirmed = 0  # events, since the start
        self.refused: Counter[str] = Counter()  # requests, by code
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        self._batch: list[Incoming] = []
        self._staged: dict[str, Producer] = {}
        self._beginning: dict[str, str] = {}  # as `_begun`
        self._fresh: dict[str, list[tuple[int, int, int]]] = {}  # by producer: first number, place, count
        # Hash, and place in the batch of the last event.
        self._keys: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._waiting: list[Waiting] = []
        self._answers: list[tuple[bytes, bytes]] = []

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to commit or to answer."""
        return bool(self._waiting or self._answers)

    def __len__(self) -> int:
        """Events in the batch."""
        return len(self._batch)

    def take(self, asker: bytes, asked: control.Publishing, data: bytes) -> None:
        """One request; `data` is its frame of events."""
        try:
            match asked:
                case Hello():
                    self._hello(asker, asked)
                case Publish():
                    self._publish(asker, asked, data)
                case Submit():
                    self._submit(asker, asked, data)
        except Refused as refused:
            self._refuse(asker, asked, refused.code, refused.message)

    def _hello(self, asker: bytes, asked: Hello) -> None:
        name, known = asked.producer, self._maybe_producer(asked.producer)
        if known and asked.instance and self._beginning.get(name, self._begun.get(name)) == asked.instance:
            self._waiting.append(Waiting(asker, asked, known))
            return
        before = known or Producer()
        # A log that began anew, or lost its end, knows nothing of the incarnations since; one given twice
        # would confirm the events of one program for those of another. Hence the clock.
        # Where earlier numbers are is nobody's question any more: their asker has gone.
        incarnation = max(before.incarnation + 1, self._clock_us())
        producer = Producer(incarnation, before.last, is_passing=asked.passing)
        self._stage(name, producer)
        self._beginning[name] = asked.instance or ""
        self._waiting.append(Waiting(asker, asked, producer))

    def _publish(self, asker: bytes, asked: Publish, data: bytes) -> None:
        producer = self._maybe_producer(asked.producer)
        if producer is None or asked.incarnation > producer.incarnation:
            # The log has gone back to before that incarnation, or begun anew.
            raise Refused("unknown_producer", f"producer {asked.producer!r} has not said hello to this log")
        if asked.incarnation < producer.incarnation:
            raise Refused(
                "fenced",
                f"producer {asked.producer!r}: incarnation {producer.incarnation} has said hello after "
                f"{asked.incarnation}: another program uses this id",
            )
        events = self._events(data)
        if asked.first > producer.last + 1:
            raise Refused("out_of_order", f"number {asked.first} came where {producer.last + 1} was due")
        new = events[producer.last + 1 - asked.first :]
        self._check(new)
        if new:
            place = len(self._batch)
            self._fresh.setdefault(asked.producer, []).append((producer.last + 1, place, len(new)))
            self._add(new)
            runs = joined(producer.runs, min(asked.known, producer.last))
            self._stage(asked.producer, producer._replace(last=producer.last + len(new), runs=runs))
        self._waiting.append(Waiting(asker, asked))

    def _submit(self, asker: bytes, asked: Submit, data: bytes) -> None:
        events = self._events(data)
        self._check(events)
        if asked.key is None:
            self._add(events)
            self._waiting.append(Waiting(asker, asked, at=len(self._batch) - 1))
            return
        name, digest = (asked.subject, asked.key), blake2b(data, digest_size=16).digest()
        if staged := self._keys.get(name):
            found, at = staged
            logged = None
        else:
            try:
                logged = self._publishers.maybe_key(*name)
            except LogError as error:
                raise Refused("unavailable", str(error)) from error
            found, at = (logged.hash if logged else digest), 0
        if found != digest:
            raise Refused("conflict", f"other events were published under the key {asked.key!r}")
        is_repeated = bool(staged or logged)
        if not is_repeated:
            self._add(events)
            at = len(self._batch) - 1
            self._keys[name] = digest, at
        self._waiting.append(Waiting(asker, asked, key=logged, at=at, is_repeated=is_repeated))

    def _events(self, data: bytes) -> list[Incoming]:
        try:
            events = unpack_events(data, EVENTS_MAX)
        except MalformedFrames as error:
            raise Refused("bad_request", str(error)) from None
        if not events:
            raise Refused("bad_request", "want a second frame with one or more events")
        return events

    def _check(self, events: list[Incoming]) -> None:
        known, payload_max = self._log.known, self._payload_max_bytes
        for place, (topic, payload, _) in enumerate(events, 1):
            if topic not in known and (reason := maybe_fault(topic)):
                shown = topic[:60].decode(errors="backslashreplace")
                raise Refused(reason, f"event {place} of {len(events)}: topic {shown!r}")
            if len(payload) > payload_max:
                size = f"{len(payload)} bytes, at most {payload_max} are taken"
                raise Refused("payload_too_large", f"event {place} of {len(events)}: {size}")

    def _add(self, events: list[Incoming]) -> None:
        self._batch += events
        self.size += sum(len(payload) for _, payload, _ in events)

    def _maybe_producer(self, name: str) -> Producer | None:
        return self._staged.get(name) or self._publishers.producers.get(name)

    def _stage(self, name: str, producer: Producer) -> None:
        self._staged[name] = producer._replace(heard_s=self._log.clock_s)

    def commit(self, now_us: int) -> tuple[list[Event], list[tuple[bytes, bytes]]]:
        """What is to be forwarded, and after that the answers, each with its asker."""
        if not self._waiting:
            answers = self._answers
            self._begin()
            return [], answers
        first_seq, epoch = self._log.next_seq, self._log.epoch
        producers = {name: self._settled(name, each, first_seq) for name, each in self._staged.items()}
        made_s = self._log.clock_s
        keys = {
            name: Key(*name, digest, str(Position(epoch, first_seq + at)), made_s)
            for name, (digest, at) in self._keys.items()
        }
        events: list[Event] = []
        # What changes nothing costs no commit, and is true also while there can be none.
        if producers or self._batch:
            try:
                change = self._publishers.change(producers, list(keys.values()))
                events = self._log.append_confirmed(self._batch, now_us, change)
            except CannotCommit as error:
                for waiting in self._waiting:
                    self._refuse(waiting.asker, waiting.asked, "unavailable", str(error))
                answers = self._answers
                self._begin()
                return [], answers
            self._publishers.committed(producers, list(keys.values()))
            if len(self._begun) > PRODUCERS_MAX:
                self._begun.clear()
            self._begun |= self._beginning
        self.confirmed += len(events)
        head = self._head()
        for waiting in self._waiting:
            page = self._page(waiting, head, first_seq, keys)
            answer = Answer(id=waiting.asked.id, ok=msgspec.Raw(control.encode(page)))
            self._answers.append((waiting.asker, control.encode(answer)))
        answers = self._answers
        self._begin()
        return events, answers

    def _settled(self, name: str, producer: Producer, first_seq: int) -> Producer:
        fresh = self._fresh.get(name, ())
        runs = (Run(first, first_seq + place, count) for first, place, count in fresh)
        return producer._replace(runs=joined((*producer.runs, *runs), 0))

    def _page(
        self, waiting: Waiting, head: Head, first_seq: int, keys: dict[tuple[str, str], Key]
    ) -> HelloPage | PublishPage | SubmitPage:
        asked = waiting.asked
        if isinstance(asked, Submit):
            if asked.key is None:
                position = str(Position(self._log.epoch, first_seq + waiting.at))
            else:
                position = (waiting.key or keys[asked.subject, asked.key]).position
            return SubmitPage(at=head, position=position, repeated=waiting.is_repeated)
        if isinstance(asked, Hello):
            begun = waiting.producer
            return HelloPage(
                at=head,
                incarnation=begun.incarnation,
                last=begun.last,
                payload_max_bytes=self._payload_max_bytes,
            )
        producer = self._publishers.producers[asked.producer]
        runs = list(joined(producer.runs, asked.known))
        return PublishPage(at=head, last=producer.last, runs=runs)

    def _refuse(self, asker: bytes, asked: control.Publishing, code: str, message: str) -> None:
        self.refused[code] += 1
        self._answers.append((asker, refusal(asked.id, code, message)))
