"""The broker's log, as the hub asks it: few reads for many readers (see `stretches`). Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from broker import control
from broker.control import LastPage, NewestPage, ReplayPage
from broker.errors import ControlError
from gateway.records import Records
from gateway.stretches import NEAR_SEQS, READ_EVENTS, Asker, Move, Stretch, Stretches, Subject

log = logging.getLogger(__name__)

RETRY_S = 1.0
AHEAD_S = 1.0  # whoever has come halfway through a page in that time is near its end soon

Answer = Callable[[Any, Records], None]
Read = Callable[[control.AnyRequest, Answer], None]
Replayed = Callable[[ReplayPage | ControlError, Records], None]
Lasted = Callable[[LastPage | ControlError, Records], None]
Renewed = Callable[[NewestPage | ControlError, Records], None]


class Log(Protocol):
    """Answers come later, never before the call returns."""

    def replay(self, patterns: Sequence[str], after: int, upto: int, done: Replayed) -> None: ...
    def ahead(self, patterns: Sequence[str], after: int) -> None:
        """A replay from there on is to be expected soon."""

    def last(self, patterns: Sequence[str], count: int, upto: int, done: Lasted) -> None: ...
    def newest(self, patterns: Sequence[str], after: int, upto: int, done: Renewed) -> None: ...


class BrokerLog:
    """See `Log`. Each who is told something is so in a turn of its own: it writes 64 KiB of the page."""

    def __init__(
        self,
        read: Read,
        answered: Callable[[], None],
        history_max: int,
        *,
        epoch: Callable[[], int],
        later: Callable[[Callable[[], None]], None],
        wait: Callable[[float, Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        """
        Args:
            read: see ControlLink.read.
            answered: called when readers have been told something.
            history_max: events in all that one `last` brings.
            epoch: the hub's; the log of which seqs are meant.
            later, wait: run a function soon, or in so many seconds; not at once.
            clock: seconds that only run forward.
        """
        self._read, self._answered, self._history_max = read, answered, history_max
        self._epoch, self._later, self._wait, self._clock = epoch, later, wait, clock
        self._stretches = Stretches()
        self._lasts: dict[tuple[Any, ...], list[Answer]] = {}  # questions for the last events, under way

    def replay(self, patterns: Sequence[str], after: int, upto: int, done: Replayed) -> None:
        """Who asks for no stretch wants to know where the log stands now: no kept page knows that."""
        if upto <= after:
            request = control.Replay(id=0, patterns=tuple(patterns), after=after, upto=upto)
            self._ask(request, lambda page, events: self._tell([partial(done, page, events)]))
            return
        self._route(Subject(control.Replay, self._epoch(), tuple(patterns)), Asker(after, upto, done))

    def ahead(self, patterns: Sequence[str], after: int) -> None:
        """Have the next page read while the one before is sent, for whoever comes to its end soon.

        Who takes long for a page would find the next one gone again, and have it read twice.
        """
        subject = Subject(control.Replay, self._epoch(), tuple(patterns))
        if self._stretches.ends_at(subject, after, self._clock(), AHEAD_S):
            self._route(subject, Asker(after, after, _expect_nothing), 0)

    def newest(self, patterns: Sequence[str], after: int, upto: int, done: Renewed) -> None:
        self._route(Subject(control.Newest, self._epoch(), tuple(patterns)), Asker(after, upto, done))

    def last(self, patterns: Sequence[str], count: int, upto: int, done: Lasted) -> None:
        key = (self._epoch(), tuple(patterns), count, upto)
        if key in self._lasts:
            self._lasts[key].append(done)
            return
        self._lasts[key] = [done]
        request = control.Last(id=0, patterns=key[1], count=count, upto=upto, limit=self._history_max)

        def tell(page: Any, events: Records) -> None:
            self._tell([partial(waiting, page, events) for waiting in self._lasts.pop(key)])

        self._ask(request, tell)

    def _route(self, subject: Subject, asker: Asker, near_seqs: int = NEAR_SEQS) -> None:
        found = self._stretches.route(subject, asker, self._clock(), near_seqs)
        if isinstance(found, Stretch):
            self._tell([partial(_hand_on, found, asker)])
        elif found is Move.ASK:
            request = subject.op(id=0, patterns=subject.patterns, after=asker.after, limit=READ_EVENTS)
            self._ask(request, partial(self._take, subject, asker.after))

    def _take(self, subject: Subject, after: int, page: Any, events: Records) -> None:
        if isinstance(page, ControlError):
            askers = self._stretches.fail(subject, after)
            self._tell([partial(asker.done, page, events) for asker in askers])
            return
        stretch = Stretch(after, page, events)
        served, left = self._stretches.take(subject, stretch, self._clock())
        self._tell([partial(_hand_on, stretch, asker) for asker in served])
        for number, asker in enumerate(left):
            # The first gets its own page in any case: so they become fewer each time.
            self._route(subject, asker, NEAR_SEQS if number else 0)

    def _ask(self, request: control.AnyRequest, answer: Answer) -> None:
        def done(page: Any, events: Records) -> None:
            if isinstance(page, ControlError):
                log.info("log unanswered op=%s why=%s", type(request).__name__.lower(), page)
                # Who asked will ask again at once: not before there is some hope.
                self._wait(RETRY_S, partial(answer, page, events))
            else:
                answer(page, events)

        self._read(request, done)

    def _tell(self, due: Sequence[Callable[[], None]]) -> None:
        for each in due:
            self._later(each)
        if due:
            self._later(self._answered)

    def expire(self) -> None:
        """Drop what was kept for others; to be called about once a second."""
        self._stretches.expire(self._clock())


def _expect_nothing(page: Any, events: Records) -> None:
    """What was read ahead is kept for others."""


def _hand_on(stretch: Stretch, asker: Asker) -> None:
    page, events = stretch.part(asker.after, asker.upto)
    asker.done(page, events)
