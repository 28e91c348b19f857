"""Control requests to answers. No socket: bytes in, bytes out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from broker import control
from broker.control import (
    Answer,
    Demand,
    DemandPage,
    Error,
    Head,
    Keep,
    Kept,
    KeptPage,
    Last,
    LastPage,
    Newest,
    NewestPage,
    Replay,
    ReplayPage,
    Status,
    StatusPage,
    Tails,
    TailsPage,
    Topic,
    Topics,
    TopicsPage,
)
from broker.errors import BadPattern, PayloadTooLarge, PenstockError
from broker.log import Log
from broker.selector import Selector
from broker.wire import pack_records

log = logging.getLogger(__name__)

SELECTORS_MAX = 32


class _OnlyId(msgspec.Struct):
    id: control.Id = 0


_maybe_id = msgspec.json.Decoder(_OnlyId).decode


class Answers:
    """Answers requests about a log. Every request gets one answer, whatever is in it."""

    def __init__(
        self,
        log: Log,
        head: Callable[[], Head],
        prefixes: Callable[[], list[str]],
        status: Callable[[], StatusPage],
    ) -> None:
        self._log, self._head, self._prefixes, self._status = log, head, prefixes, status
        # Gateways ask for the same sets over and over; a selector remembers what it found.
        self._selectors: OrderedDict[tuple[tuple[str, ...], tuple[str, ...]], Selector] = OrderedDict()

    def answer(self, asked: control.AnyRequest) -> list[bytes]:
        """The frames of the answer: JSON, and records where events were asked for."""
        try:
            page, *records = self._page(asked)
        except BadPattern as error:
            return [refusal(asked.id, "bad_request", str(error))]
        except PayloadTooLarge as error:
            return [refusal(asked.id, "limit", error.detail)]
        except PenstockError as error:
            log.error("refused op=%s why=%s", type(asked).__name__.lower(), error)
            return [refusal(asked.id, "unavailable", str(error))]
        return [control.encode(Answer(id=asked.id, ok=msgspec.Raw(control.encode(page)))), *records]

    def _page(self, asked: Any) -> tuple[Any, ...]:
        match asked:
            case Replay():
                select = self._selector(asked.patterns, asked.prefixes)
                events, through, damaged = self._log.replay(select, asked.after, asked.upto, asked.limit)
                holes = self._log.holes(select, asked.after, asked.upto)
                page = ReplayPage(at=self._head(), through=through, damaged=damaged, holes=holes)
                return page, pack_records(events)
            case Newest():
                select = self._selector(asked.patterns, asked.prefixes)
                events, through, damaged = self._log.newest(select, asked.after, asked.upto, asked.limit)
                return NewestPage(at=self._head(), through=through, damaged=damaged), pack_records(events)
            case Last():
                events, truncated, damaged = self._log.last(
                    self._selector(asked.patterns, ()), asked.count, asked.upto, asked.limit
                )
                return LastPage(at=self._head(), truncated=truncated, damaged=damaged), pack_records(events)
            case Tails():
                tails, through = self._log.tails(self._selector(asked.patterns, asked.prefixes), asked.after)
                return (TailsPage(at=self._head(), tails=tails, through=through),)
            case Topics():
                found, more = self._log.topics(
                    self._selector(asked.patterns, ()), asked.after.encode(), asked.limit
                )
                topics = [
                    Topic(topic=tail.name.decode(), seq=tail.seq, nth=tail.nth, time=tail.time_us / 1e6)
                    for tail in found
                ]
                return (TopicsPage(at=self._head(), topics=topics, more=more),)
            case Demand():
                return (DemandPage(at=self._head(), prefixes=self._prefixes()),)
            case Status():
                return (self._status(),)
            case Keep():
                # A commit of its own: there are few, and it costs as much as a small batch of events.
                value = self._log.kept.keep(asked.name, asked.value.encode())
                return (KeptPage(at=self._head(), value=value.decode()),)
            case Kept():
                kept = self._log.kept.maybe(asked.name)
                return (KeptPage(at=self._head(), value=None if kept is None else kept.decode()),)
        raise AssertionError(f"no answer to {asked!r}")

    def _selector(self, patterns: tuple[str, ...], prefixes: tuple[str, ...]) -> Selector:
        key = patterns, prefixes
        selector = self._selectors.get(key)
        if selector is None:
            selector = self._selectors[key] = Selector(patterns, prefixes)
            if len(self._selectors) > SELECTORS_MAX:
                self._selectors.popitem(last=False)
        else:
            self._selectors.move_to_end(key)
        return selector


def read(request: bytes) -> Any:
    """A request as one of `control.AnyRequest`, or as bytes the refusal of one that is none."""
    try:
        return control.decode_request(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refusal(_id_of(request), "bad_request", str(error))


def _id_of(request: bytes) -> int:
    try:
        return _maybe_id(request).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def refusal(request_id: int, code: str, message: str) -> bytes:
    return control.encode(Answer(id=request_id, error=Error(code=code, message=message)))
