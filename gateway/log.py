"""The broker's log, as the hub asks it: one read serves all who ask for the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent

from broker import control
from broker.errors import ControlError
from broker.wire import unpack_records
from gateway.event import Event
from gateway.hub import Lasted, Replayed
from gateway.links import ControlLink

log = logging.getLogger(__name__)

RETRY_S = 1.0


class BrokerLog:
    """The broker's log for the hub. One read serves all who ask for the same at the same time."""

    def __init__(self, link: ControlLink, answered: Callable[[], None], history_max: int) -> None:
        """`history_max`: events in all that one `last` brings."""
        self._link = link
        self._answered = answered
        self._history_max = history_max
        self._asking: dict[tuple[Any, ...], list[Any]] = {}

    def replay(self, patterns: Sequence[str], after: int, upto: int, done: Replayed) -> None:
        request = control.Replay(id=0, patterns=tuple(patterns), after=after, upto=upto)
        self._ask((request.patterns, after, upto), request, done)

    def newest(
        self,
        patterns: Sequence[str],
        after: int,
        upto: int,
        done: Callable[[control.NewestPage | ControlError, Sequence[Event]], None],
    ) -> None:
        request = control.Newest(id=0, patterns=tuple(patterns), after=after, upto=upto)
        self._ask((request.patterns, after, upto, "newest"), request, done)

    def last(self, patterns: Sequence[str], count: int, upto: int, done: Lasted) -> None:
        limit = self._history_max
        request = control.Last(id=0, patterns=tuple(patterns), count=count, upto=upto, limit=limit)
        self._ask((request.patterns, count, upto, "last"), request, done)

    def _ask(self, key: tuple[Any, ...], request: control.AnyRequest, done: Any) -> None:
        if key in self._asking:
            self._asking[key].append(done)
            return
        self._asking[key] = [done]

        def answer(page: Any, records: bytes) -> None:
            if isinstance(page, ControlError):
                log.info("log unanswered op=%s why=%s", type(request).__name__.lower(), page)
                # Who asked will ask again at once: not before there is some hope.
                gevent.get_hub().loop.timer(RETRY_S).start(tell, page, ())
            else:
                tell(page, list(events_of(records)))

        def tell(page: Any, events: Sequence[Event]) -> None:
            for waiting in self._asking.pop(key):
                waiting(page, events)
            self._answered()

        self._link.ask(request, answer)


def events_of(records: bytes) -> Iterator[Event]:
    for topic, stamp, payload in unpack_records(records):
        yield Event(topic, stamp, payload)
