"""The crowd of most benches: browsers that follow one topic each.

Every connection must get every event: all are checked by the event with which their bytes end, a few
of them, others each time, by each number in between, and these tell the latency and the rate.
"""

from __future__ import annotations

import random
import threading
import time
from itertools import islice

from msgspec import Struct

from deploy.load.browsers import AT_ONCE, Browsers, Connect, Done, quantile_ms
from deploy.load.payload import ending, stamped
from deploy.load.program import serve

BEHIND_BYTES = 64  # that may follow the last event: the end of its message, an offset, a ping


class Subscribe(Struct, tag=True):
    """Answered when every connection has its reply."""

    topic: str
    own: bool = False  # each connection a topic of its own below that one


class Read(Struct, tag=True):
    """Answered when every connection got the event numbered `last`, or at the deadline."""

    last: int
    deadline_s: float
    pause_s: float = 0.0  # between two looks at what has come
    watched: int = 10  # connections that are looked at event by event


class Received(Struct):
    complete: int  # connections that got the last event
    lost: int  # connections that the server closed
    missed: int  # numbers that a watched connection lacks or has twice
    mean: float  # events that a watched connection got
    rate: float  # events a second, in the middle half of the time
    ended_ns: int  # the last read, by the monotonic clock
    p50_ms: float  # from the producer's call to a watched connection's read
    p99_ms: float


class Crowd:
    def __init__(self) -> None:
        self._browsers = Browsers()
        self._seen = 0  # number up to which all was read

    def obey(self, request: Connect | Subscribe | Read) -> Struct:
        if isinstance(request, Read):
            return self._read(request)
        started_s = time.monotonic()
        if isinstance(request, Connect):
            self._browsers.connect(request)
        else:
            self._subscribe(request)
        return Done(time.monotonic() - started_s)

    def _subscribe(self, request: Subscribe) -> None:
        step = self._browsers.dialect.subscribe
        if step is None:
            return
        everybody = iter(self._browsers.sockets)
        while some := list(islice(everybody, AT_ONCE)):
            topic = request.topic
            self._browsers.do({fd: step.about(f"{topic}/{fd}" if request.own else topic) for fd in some})

    def _read(self, request: Read) -> Received:
        last = ending(request.last)
        tail_bytes = len(last) + BEHIND_BYTES
        everybody = list(self._browsers.sockets)
        tails = dict.fromkeys(everybody, b"")  # of those that lack the last event
        watched = dict.fromkeys(random.sample(everybody, min(request.watched, len(everybody))), b"")
        numbers: dict[int, list[int]] = {fd: [] for fd in watched}
        counts: dict[int, list[tuple[int, int]]] = {fd: [] for fd in watched}
        late_ns: list[int] = []
        lost = ended_ns = 0
        deadline_s = time.monotonic() + request.deadline_s
        ready, take, buffer = self._browsers.ready, self._browsers.take, self._browsers.buffer
        pause = threading.Event()  # never set: its wait is the pause itself
        while tails and time.monotonic() < deadline_s:
            if request.pause_s:
                pause.wait(request.pause_s)
            came = ready(0.5)
            for fd in came:
                count = take(fd)
                if not count:
                    lost += 1
                    tails.pop(fd, None)
                    continue
                if fd in watched:
                    now_ns = time.monotonic_ns()
                    events, watched[fd] = stamped(watched[fd] + buffer[:count])
                    numbers[fd] += [number for number, _ in events]
                    late_ns += [now_ns - sent_ns for _, sent_ns in events]
                    counts[fd].append((now_ns, len(numbers[fd])))
                if fd in tails:
                    if count >= tail_bytes:
                        tail = bytes(buffer[count - tail_bytes : count])
                    else:
                        tail = (tails[fd] + buffer[:count])[-tail_bytes:]
                    if last in tail:
                        del tails[fd]
                    else:
                        tails[fd] = tail
            ended_ns = time.monotonic_ns() if came else ended_ns
        expected = list(range(self._seen + 1, request.last + 1))
        self._seen = request.last
        late_ns.sort()
        rates = [_middle_rate(each) for each in counts.values()]
        return Received(
            complete=len(everybody) - lost - len(tails),
            lost=lost,
            missed=sum(_difference(expected, got) for got in numbers.values()),
            mean=sum(map(len, numbers.values())) / max(1, len(watched)),
            rate=sum(rates) / max(1, len(rates)),
            ended_ns=ended_ns,
            p50_ms=quantile_ms(late_ns, 0.5),
            p99_ms=quantile_ms(late_ns, 0.99),
        )


def _middle_rate(counts: list[tuple[int, int]]) -> float:
    """Events a second in the middle half of the time, of (when, how many so far).

    Neither how late the first came nor how late the last did is in it.
    """
    if len(counts) < 2:
        return 0.0
    (first_ns, _), (last_ns, _) = counts[0], counts[-1]
    quarter_ns = (last_ns - first_ns) // 4
    middle = [each for each in counts if first_ns + quarter_ns <= each[0] <= last_ns - quarter_ns]
    if len(middle) < 2:
        middle = counts
    (first_ns, before), (last_ns, after) = middle[0], middle[-1]
    return (after - before) / (last_ns - first_ns) * 1e9


def _difference(expected: list[int], got: list[int]) -> int:
    """How many numbers are not in their place, 0 if both are the same."""
    return 0 if expected == got else max(1, len(set(expected) ^ set(got)))


if __name__ == "__main__":
    serve(Connect | Subscribe | Read, Crowd().obey)
