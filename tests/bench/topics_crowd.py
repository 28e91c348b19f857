"""The crowd of the bench of many topics: browsers that follow ten each, and now and then another instead.

Every connection is looked at event by event: it must get all of the topics that it follows throughout,
in order. What comes of those that are exchanged meanwhile is counted and not judged.
"""

from __future__ import annotations

import random
import threading
import time
from itertools import islice

from msgspec import Struct

from deploy.load.browsers import Browsers, Connect, Done, quantile_ms
from deploy.load.payload import spread, stamped
from deploy.load.program import serve

AT_ONCE = 1_000  # subscriptions on their way


class Follow(Struct, tag=True):
    """Answered when all of it is in force."""

    topic: str
    topics: int  # below that one
    each: int  # of every connection, at random


class Read(Struct, tag=True):
    """Answered when every connection has all that it is due, or at the deadline."""

    first: int
    last: int  # no events if that is below the first
    changes: int  # topics that are exchanged, each by another connection
    over_s: float  # spread over so long
    deadline_s: float
    pause_s: float


class Received(Struct):
    deliveries: int
    lacking: int  # connections that lack an event, have one twice, or not in order
    lost: int  # connections that the server closed
    ended_ns: int  # the last read, by the monotonic clock
    p50_ms: float
    p99_ms: float


class TopicsCrowd:
    def __init__(self) -> None:
        self._browsers = Browsers()
        self._random = random.Random(20)  # the same for every server
        self._asked: Follow
        self._topics: dict[int, list[int]] = {}  # of each connection; the id is the place
        self._ids: dict[int, int] = {}  # the last one that was used
        self._changing: list[int] = []  # connections whose turn it has yet to be

    def obey(self, request: Connect | Follow | Read) -> Struct:
        if isinstance(request, Read):
            return self._read(request)
        started_s = time.monotonic()
        if isinstance(request, Connect):
            self._browsers.connect(request)
        else:
            self._follow(request)
        return Done(time.monotonic() - started_s)

    def _follow(self, request: Follow) -> None:
        step = self._browsers.dialect.subscribe
        assert step is not None
        self._asked = request
        for fd in self._browsers.sockets:
            self._topics[fd] = self._random.sample(range(request.topics), request.each)
            self._ids[fd] = request.each
        for place in range(request.each):
            everybody = iter(self._browsers.sockets)
            while some := list(islice(everybody, AT_ONCE)):
                self._browsers.do(
                    {fd: step.about(self._name(self._topics[fd][place]), place + 1) for fd in some}
                )
        self._changing = list(self._browsers.sockets)

    def _name(self, number: int) -> str:
        return f"{self._asked.topic}/{number}"

    def _read(self, request: Read) -> Received:
        changing, self._changing = self._changing[: request.changes], self._changing[request.changes :]
        due = self._due(request, set(changing))
        left = sum(map(len, due.values()))
        got: dict[int, list[int]] = {fd: [] for fd in due}
        steady = {fd: set(self._topics[fd][:-1]) for fd in changing}
        rests = dict.fromkeys(due, b"")
        late_ns: list[int] = []
        lost = deliveries = changed = ended_ns = 0
        started_s = time.monotonic()
        browsers, buffer, pause = self._browsers, self._browsers.buffer, threading.Event()
        while (left or changed < len(changing)) and time.monotonic() - started_s < request.deadline_s:
            pause.wait(request.pause_s)
            now_s = time.monotonic() - started_s
            while changed < min(len(changing), int(now_s / request.over_s * len(changing)) + 1):
                self._exchange(changing[changed])
                changed += 1
            for fd in browsers.ready(request.pause_s):
                if not (count := browsers.take(fd)):
                    lost += 1
                    continue
                now_ns = time.monotonic_ns()
                events, rests[fd] = stamped(rests[fd] + buffer[:count])
                if not events:
                    continue  # replies, or the beginning of an event
                deliveries += len(events)
                late_ns += [now_ns - sent_ns for _, sent_ns in events]
                numbers = [number for number, _ in events]
                if fd in steady:
                    numbers = [each for each in numbers if spread(each, self._asked.topics) in steady[fd]]
                got[fd] += numbers
                left -= len(numbers)
                ended_ns = now_ns
        late_ns.sort()
        return Received(
            deliveries=deliveries,
            lacking=sum(due[fd] != got[fd] for fd in due),
            lost=lost,
            ended_ns=ended_ns,
            p50_ms=quantile_ms(late_ns, 0.5),
            p99_ms=quantile_ms(late_ns, 0.99),
        )

    def _due(self, request: Read, changing: set[int]) -> dict[int, list[int]]:
        """The numbers that each connection must get: of its topics, of all but the last if that changes."""
        of_topic: dict[int, list[int]] = {}
        for number in range(request.first, request.last + 1):
            of_topic.setdefault(spread(number, self._asked.topics), []).append(number)
        due = {}
        for fd, topics in self._topics.items():
            kept = topics[:-1] if fd in changing else topics
            due[fd] = sorted(number for topic in kept for number in of_topic.get(topic, ()))
        return due

    def _exchange(self, fd: int) -> None:
        """The last topic of this connection for another one."""
        dialect, topics = self._browsers.dialect, self._topics[fd]
        assert dialect.subscribe is not None and dialect.unsubscribe is not None
        if fd not in self._browsers.sockets:
            return
        self._browsers.say(fd, dialect.unsubscribe.about(self._name(topics.pop()), self._ids[fd]))
        while (wanted := self._random.randrange(self._asked.topics)) in topics:
            pass
        topics.append(wanted)
        self._ids[fd] += 1
        self._browsers.say(fd, dialect.subscribe.about(self._name(wanted), self._ids[fd]))


if __name__ == "__main__":
    serve(Connect | Follow | Read, TopicsCrowd().obey)
