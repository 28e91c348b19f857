"""What producers sent and this broker never saw, by the count that `meta` carries. Pure.

A producer counts from 1 and leaves no number out, so a count that skips some says how many did not
arrive: dropped at a high-water mark, or under way when a link broke or a broker was killed. What cannot
be known is kept apart and not called missing:

- Before the first count heard of a producer: in a log that was empty all that is less is missing, else
  it may have gone to the broker before this one, or been heard before its producer was forgotten here.
- After the last one: what was lost there shows with the next event.

On each port events of one producer come in order, but those of a link that broke may be read after
the first of its new link. Its own clock tells such a late one, which is missing no more, from the first
of a program that was started again under the same id.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import nlargest

from broker.control import Missing
from broker.wire import META

PRODUCERS_MAX = 10_000
HOLE_MAX = 1 << 32  # a larger one is no hole: the count is made up
WORST = 10
TOTAL_MAX = (1 << 53) - 1  # as far as every reader of JSON counts
_unpack: Callable[[bytes], tuple[int, int, int, int]] = META.unpack


class Producer:
    """How far one has come."""

    __slots__ = ("begun", "first", "missing", "next", "time_us")

    def __init__(self, first: int, time_us: int) -> None:
        self.next = self.first = first
        self.time_us = time_us  # its clock at its newest count
        self.missing = 0
        self.begun = 1


class Arrivals:
    """The producers heard of late, at most PRODUCERS_MAX: then those longest silent are forgotten."""

    def __init__(self, *, is_first: bool, producers_max: int = PRODUCERS_MAX) -> None:
        """`is_first`: nothing was ever published to this log, so what is not heard now is missing."""
        self.missing = 0  # found missing, ever
        self.late = 0  # of them came after all
        self.unclear = 0  # less than a first count, where nobody knows what became of them
        self.newest = ""  # the producer of which something was last found missing
        self._is_first = is_first
        # Two generations rather than an order: whoever is heard twice in one costs nothing to keep.
        self._recent: dict[int, Producer] = {}
        self._older: dict[int, Producer] = {}
        self._generation_max = max(1, producers_max // 2)
        self._worst: list[tuple[int, Producer]] = []
        self._is_new = False  # there may be others of which more is missing

    def note(self, meta: bytes) -> int:
        """An event with this meta has arrived. Returns its content type."""
        # For every event that has one: 0.25 µs.
        number, count, time_us, content = _unpack(meta)
        producer = self._recent.get(number)
        if producer is not None and producer.next == count:
            producer.next = count + 1
            producer.time_us = time_us
        else:
            self._find(number, count, time_us)
        return content

    def worst(self) -> list[Missing]:
        """Those of which most is missing, up to WORST."""
        if self._is_new:
            self._is_new = False
            known = [*self._recent.items(), *self._older.items()]
            lossy = [(number, each) for number, each in known if each.missing]
            self._worst = nlargest(WORST, lossy, key=lambda pair: pair[1].missing)
        return [
            Missing(
                producer=f"{number:016x}",
                missing=each.missing,
                last=each.next - 1,
                first=each.first,
                begun=each.begun,
            )
            for number, each in self._worst
        ]

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._recent) + len(self._older)

    def _find(self, number: int, count: int, time_us: int) -> None:
        producer = self._recent.get(number)
        if producer is None:
            producer = self._older.pop(number, None)
            if len(self._recent) >= self._generation_max:
                # Whoever is forgotten here begins anew when it comes back, as unclear.
                self._is_first = self._is_first and not self._older
                self._older, self._recent = self._recent, {}
            if producer is None:
                producer = Producer(count, time_us)
                self._begin(number, producer, count)
            self._recent[number] = producer
        if count >= producer.next:
            self._skip(number, producer, count)
        elif time_us <= producer.time_us:
            if producer.missing > 0:
                producer.missing -= 1
                self.late += 1
                self._is_new = True
            return
        else:
            producer.begun += 1
            producer.first = count
            self._begin(number, producer, count)
        producer.next = count + 1
        producer.time_us = time_us

    def _begin(self, number: int, producer: Producer, count: int) -> None:
        """What is less than the first count that is heard."""
        before = count - 1
        if not 0 < before <= HOLE_MAX:
            return
        if self._is_first and producer.begun == 1:
            self._miss(number, producer, before)
        else:
            self.unclear = min(self.unclear + before, TOTAL_MAX)

    def _skip(self, number: int, producer: Producer, count: int) -> None:
        hole = count - producer.next
        if hole > HOLE_MAX:
            producer.first, producer.begun = count, producer.begun + 1
        elif hole:
            self._miss(number, producer, hole)

    def _miss(self, number: int, producer: Producer, hole: int) -> None:
        producer.missing = min(producer.missing + hole, TOTAL_MAX)
        self.missing = min(self.missing + hole, TOTAL_MAX)
        self.newest = f"{number:016x}"
        self._is_new = True
