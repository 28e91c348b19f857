"""A broker's control port as confirmed publishing sees it, in memory, with a log that can be looked at.

Its rules are those of docs/protocol.md, written down a second time: what the real one does is shown by
the tests that run it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Thread
from typing import NamedTuple

import msgspec
import zmq

from broker import control
from broker.control import Answer, Error, Head, Hello, HelloPage, Publish, PublishPage, Run
from broker.wire import unpack_events

EVENTS_MAX = 10_000
LOOK_EVERY_MS = 20  # for the end of the test


class Logged(NamedTuple):
    producer: str
    number: int
    payload: bytes


@dataclass(slots=True)
class PlayedBroker:
    """`ask` it; everything it confirms is in `log` at that moment."""

    payload_max: int = 1 << 20
    trouble: str = ""  # why nothing can be logged just now
    log: list[Logged] = field(default_factory=list)  # seq 1 is its first
    epoch: int = 1
    hellos: int = 0
    passing: set[str] = field(default_factory=set)  # producers that will not come again
    ever: dict[int, list[Logged]] = field(default_factory=lambda: defaultdict(list))  # by epoch
    _incarnations: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    _begun: dict[str, str | None] = field(default_factory=dict)  # the instance of the newest hello
    _serial: count[int] = field(default_factory=lambda: count(1))

    def ask(self, data: bytes, events: bytes = b"") -> bytes:
        """The answer to a request and its frame of events."""
        asked = control.decode_request(data)
        assert isinstance(asked, Hello | Publish)
        found = self._hello(asked) if isinstance(asked, Hello) else self._publish(asked, events)
        if isinstance(found, Error):
            return control.encode(Answer(id=asked.id, error=found))
        return control.encode(Answer(id=asked.id, ok=msgspec.Raw(control.encode(found))))

    def _hello(self, asked: Hello) -> HelloPage | Error:
        if self.trouble:
            return Error(code="unavailable", message=self.trouble)
        if asked.instance and self._begun.get(asked.producer) == asked.instance:
            return self._hello_page(asked.producer)
        self.hellos += 1
        if asked.passing:
            self.passing.add(asked.producer)
        self._begun[asked.producer] = asked.instance
        self._incarnations[asked.producer].append((next(self._serial), len(self.log)))
        return self._hello_page(asked.producer)

    def _hello_page(self, producer: str) -> HelloPage:
        begun, _ = self._incarnations[producer][-1]
        return HelloPage(
            at=self._head(),
            incarnation=begun,
            last=self.last(producer),
            payload_max_bytes=self.payload_max,
        )

    def _publish(self, asked: Publish, data: bytes) -> PublishPage | Error:
        incarnation = max((each for each, _ in self._incarnations[asked.producer]), default=0)
        if asked.incarnation > incarnation:
            return Error(code="unknown_producer", message="say hello")
        if asked.incarnation < incarnation:
            return Error(code="fenced", message="another program uses this id")
        events, last = unpack_events(data, EVENTS_MAX), self.last(asked.producer)
        assert events, "a request without events"
        if asked.first > last + 1:
            return Error(code="out_of_order", message=f"number {asked.first} came where {last + 1} was due")
        new = events[last + 1 - asked.first :]
        if any(len(payload) > self.payload_max for _, payload, _ in new):
            return Error(code="payload_too_large", message=f"at most {self.payload_max} are taken")
        if new and self.trouble:
            return Error(code="unavailable", message=self.trouble)
        self.log += [Logged(asked.producer, last + place, each[1]) for place, each in enumerate(new, 1)]
        self.ever[self.epoch] = list(self.log)
        runs = [
            Run(each.number, seq, 1)
            for seq, each in enumerate(self.log, 1)
            if each.producer == asked.producer and each.number > asked.known
        ]
        return PublishPage(at=self._head(), last=self.last(asked.producer), runs=runs)

    def last(self, producer: str) -> int:
        return max((each.number for each in self.log if each.producer == producer), default=0)

    def lose(self, kept: int) -> None:
        """Power fails, and of the log the first `kept` events are left, with what came before them."""
        self._anew(self.log[:kept])
        for begun in self._incarnations.values():
            begun[:] = [(each, at) for each, at in begun if at <= kept]

    def begin_anew(self) -> None:
        """As a broker that keeps its log in memory does at each start."""
        self._anew([])
        self._incarnations.clear()

    def _anew(self, log: list[Logged]) -> None:
        self.log, self.epoch = log, self.epoch + 1
        self._begun.clear()
        self.ever[self.epoch] = list(log)

    def _head(self) -> Head:
        end = len(self.log)
        return Head(epoch=f"{self.epoch:016x}", head=end, oldest=1, forgotten=0, start=0)


@contextmanager
def control_port(broker: PlayedBroker, address: str = "tcp://127.0.0.1:*") -> Iterator[str]:
    """Its control port, open while the block lasts; the address."""
    stopping = Event()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.LINGER, 0)
        router.bind(address)

        def serve() -> None:
            while not stopping.is_set():
                if router.poll(LOOK_EVERY_MS):
                    asker, *frames = router.recv_multipart()
                    router.send_multipart([asker, broker.ask(*frames)])

        thread = Thread(target=serve, name="played broker")
        thread.start()
        try:
            yield router.get_string(zmq.LAST_ENDPOINT)
        finally:
            stopping.set()
            thread.join()
