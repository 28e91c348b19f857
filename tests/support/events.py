"""Events and heads of the log, made as tests name them: by topic and seq."""

from __future__ import annotations

from collections.abc import Iterable

from broker.control import Head
from broker.wire import (
    DROPS_MODULO,
    DROPS_SHIFT,
    FLAG_UNLOGGED,
    Content,
    Position,
    pack_records,
    pack_stamp,
)
from gateway.event import Event
from gateway.records import Records

EPOCH = 0x9F3C2A7BE1D04C11
OTHER_EPOCH = 0x1D
TIME_US = 1_790_000_000_000_007


def event(
    topic: str,
    seq: int,
    prev: int = 0,
    *,
    nth: int = 0,
    payload: bytes = b"1",
    content: Content = Content.UNKNOWN,
    drops: int = 0,
    unlogged: bool = False,
    epoch: int = EPOCH,
) -> Event:
    """With no `prev` it is the topic's first one, with one it is its second, unless `nth` is given."""
    flags = drops % DROPS_MODULO << DROPS_SHIFT | content << 1 | (FLAG_UNLOGGED if unlogged else 0)
    stamp = pack_stamp(flags, nth or (2 if prev else 1), epoch, seq, prev, TIME_US)
    return Event(topic.encode(), stamp, payload)


def records(events: Iterable[Event] = ()) -> Records:
    """As the log answers with them."""
    return Records(pack_records((each.topic.encode(), _stamp(each), each.payload) for each in events))


def _stamp(event: Event) -> bytes:
    flags = event.drops << DROPS_SHIFT | event.content << 1 | (FLAG_UNLOGGED if event.unlogged else 0)
    return pack_stamp(flags, event.nth, event.epoch, event.seq, event.prev, event.time_us)


def head(seq: int, *, epoch: int = EPOCH, start: int = 0, forgotten: int = 0, drops: int = 0) -> Head:
    return Head(epoch=f"{epoch:016x}", head=seq, oldest=1, forgotten=forgotten, start=start, drops=drops)


def position(seq: int, epoch: int = EPOCH) -> Position:
    return Position(epoch, seq)
