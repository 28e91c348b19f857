"""Whether anybody listens: the prefixes that the feed's subscribers ask for, as the broker tells them. Pure.

The broker tells each change on the feed (`$broker/demand`), and all of it when asked (`demand`). What
is told between a barrier's marker and the answer is put on top of the answer: a change tells how its
prefix is from then on, so one that the answer has in it already does no harm.

Where it is not known, everything counts as watched: to publish what nobody wants costs little, not to
publish what somebody waits for is a loss. It is not known before the answer, after a break, a missed
beat, a drop or a change of the log, while the broker is silent, and in the first seconds after a
connect: the broker may have started just now, and its subscribers be about to come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from broker import control
from broker.control import PREFIXES_MAX, DemandPage, Head
from broker.topics import Pattern
from broker.upstream import ASK_AGAIN_S, MISSED_AFTER_S, STALE_AFTER_S
from broker.wire import DEMAND_TOPIC, DROPS_MODULO, unpack_stamp
from producer.questions import Done

SETTLE_S = 5.0  # after a connect; a gateway comes back within one second, or four where its host had vanished
PATIENCE_S = 1.0  # so long nobody is told that it is not known: most often it is known again at once
REFRESH_S = 10.0  # where the answer did not hold them all

Told = Callable[[bool], None]


class Link(Protocol):
    """How it reaches the broker: see `feed.Feed`."""

    def set_filter(self, prefix: bytes, is_on: bool) -> None: ...
    def barrier(self, number: int) -> None: ...
    def ask(self, request: control.AnyRequest, done: Done) -> None: ...


class Change(msgspec.Struct, frozen=True):
    """A prefix got its first subscriber, or lost its last."""

    prefix: str
    wanted: bool


_read_change = msgspec.json.Decoder(Change).decode


class Prefixes:
    """Those that are asked for. One thread may change it while others look."""

    def __init__(self, texts: Sequence[str], *, is_whole: bool) -> None:
        self.is_whole = is_whole  # otherwise there are more than these
        self._texts = set(texts)
        self._counts = Counter(map(_bytes, self._texts))
        self._measure()

    def change(self, text: str, wanted: bool) -> None:
        if wanted == (text in self._texts):
            return
        prefix = _bytes(text)
        if wanted:
            self._texts.add(text)
            self._counts[prefix] += 1
        else:
            self._texts.remove(text)
            self._counts[prefix] -= 1
            if not self._counts[prefix]:
                del self._counts[prefix]
        self._measure()

    def cover(self, topic: bytes) -> bool:
        """Whether one of them is a prefix of the topic."""
        return not self.is_whole or any(topic[:size] in self._counts for size in self._sizes)

    def meet(self, pattern: Pattern) -> bool:
        """Whether one of them may be a prefix of a topic that matches."""
        start = pattern.prefix.encode()
        if self.cover(start):
            return True
        return not pattern.is_literal and any(prefix.startswith(start) for prefix in self._counts)

    def _measure(self) -> None:
        # A topic is compared with what is as long as one of them, not with each of ten thousand.
        self._sizes = tuple({len(prefix) for prefix in self._counts})


def _bytes(text: str) -> bytes:
    """A prefix need not end where a character does. What is no text comes escaped, and is cut off here:
    so it covers more, never less.
    """
    return text.partition("\\x")[0].encode()


class _Interest:
    """Somebody who wants to be told."""

    def __init__(self, pattern: Pattern, told: Told) -> None:
        self.pattern, self.told = pattern, told
        self.last: bool | None = None


class Demand:
    """See `feed.Listener` for who calls what. Other threads: `is_watched`, `tell`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._answered: Prefixes | None = None  # with all changes since
        self._settled_s: float | None = None  # None: no connect was seen yet
        self._is_settled = False
        self._number = 0  # of the newest barrier
        self._is_in_force = False  # its marker has come
        self._changes: list[Change] | None = None  # told before the answer; None: no answer is awaited
        self._asked_s = 0.0
        self._epoch = ""
        self._drops = 0
        self._heard_s = 0.0
        self._beat_s: float | None = None
        self._unknown_s = 0.0  # since when it is not known
        self._interests: tuple[_Interest, ...] = ()
        self._is_news = False  # somebody may have to be told

    @property
    def _known(self) -> Prefixes | None:
        return self._answered if self._is_settled else None

    def is_watched(self, topic: str) -> bool:
        known = self._known
        return known is None or known.cover(topic.encode())

    def tell(self, pattern: Pattern, told: Told) -> Callable[[], None]:
        """See that `told` is called with whether anything that matches is watched: once it is known, and when
        it changes. Returns what ends that.
        """
        interest = _Interest(pattern, told)
        self._interests += (interest,)
        self._is_news = True

        def end() -> None:
            self._interests = tuple(each for each in self._interests if each is not interest)

        return end

    # feed.Listener

    def begin(self, now_s: float) -> None:
        """Before anything else."""
        self._unknown_s = now_s
        self._link.set_filter(DEMAND_TOPIC, True)

    def on_connected(self, now_s: float) -> None:
        self._begin_anew(now_s)
        self._is_settled, self._settled_s = False, now_s + SETTLE_S

    def on_marker(self, number: int, at: Head, now_s: float) -> None:
        self._heard_s = now_s
        if number != self._number or self._is_in_force:
            return
        self._is_in_force = True
        self._epoch, self._drops = at.epoch, at.drops % DROPS_MODULO
        self._changes = []
        self._ask(now_s)

    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        if topic != DEMAND_TOPIC or not self._is_in_force:
            return
        change = _read_change(payload)
        if unpack_stamp(stamp).drops != self._drops:
            self._begin_anew(self._heard_s)
        elif self._changes is not None:
            self._changes.append(change)
        elif self._answered is not None:
            self._answered.change(change.prefix, change.wanted)
            self._is_news = True

    def on_beat(self, at: Head, now_s: float) -> None:
        has_missed = self._beat_s is not None and now_s - self._beat_s > MISSED_AFTER_S
        self._beat_s = self._heard_s = now_s
        has_lost = at.epoch != self._epoch or at.drops % DROPS_MODULO != self._drops
        if has_missed or (self._is_in_force and has_lost):
            self._begin_anew(now_s)

    def tick(self, now_s: float) -> None:
        if self._settled_s is not None and not self._is_settled and now_s >= self._settled_s:
            self._is_settled = self._is_news = True
        if self._is_in_force and now_s - self._heard_s > STALE_AFTER_S:
            self._forget(now_s)  # the beat that ends the silence was missed: it begins anew
        waited_s = now_s - self._asked_s
        if self._changes is not None:
            if waited_s > ASK_AGAIN_S:
                self._ask(now_s)
        elif not self._is_in_force:
            if self._settled_s is not None and waited_s > ASK_AGAIN_S:
                self._begin_anew(now_s)
        elif self._answered is not None and not self._answered.is_whole and waited_s > REFRESH_S:
            self._begin_anew(now_s)
        if self._known is None:
            self._is_news = True  # when patience ends

    def turn(self, now_s: float) -> None:
        known = self._known
        if not self._is_news or (known is None and now_s - self._unknown_s < PATIENCE_S):
            return
        self._is_news = False
        for interest in self._interests:
            is_watched = known is None or known.meet(interest.pattern)
            if is_watched != interest.last:
                interest.last = is_watched
                interest.told(is_watched)

    def on_end(self, error: BaseException | None) -> None:
        self._answered = None

    # Small moves

    def _begin_anew(self, now_s: float) -> None:
        self._forget(now_s)
        self._number += 1
        self._asked_s = now_s
        self._link.barrier(self._number)

    def _forget(self, now_s: float) -> None:
        if self._known is not None:
            self._unknown_s = now_s
        self._answered = self._changes = None
        self._is_in_force = False

    def _ask(self, now_s: float) -> None:
        self._asked_s = now_s
        number = self._number

        def done(page: DemandPage, _: object) -> None:
            if number != self._number or self._changes is None:
                return
            answered = Prefixes(page.prefixes, is_whole=len(page.prefixes) < PREFIXES_MAX)
            for change in self._changes:
                answered.change(change.prefix, change.wanted)
            self._answered, self._changes = answered, None
            self._is_news = True

        self._link.ask(control.Demand(id=0), done)
