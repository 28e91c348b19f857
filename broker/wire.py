"""Events and ZeroMQ frames: the one place that knows the layout. Pure.

Ingest (producers to broker):  [topic, payload] | [topic, payload, meta] | [payload]
Feed (broker to subscribers):  [topic, stamp, payload]
Records (replies of control):  for each event  >HI topic bytes, payload bytes; stamp; topic; payload
Events (requests of control):  for each event  >HIB topic bytes, payload bytes, content type; topic; payload

stamp, 40 bytes, >BBHIQQQq:  version 1, flags, nth (high 16 bits, low 32 bits), epoch, seq, prev, time µs
    flags: bit 0 unlogged, bits 1-2 content type, bits 3-7 drops (see below)
meta, 25 bytes, >QQqB:  producer (hash of its id), its own count, its clock in µs, content type

`drops` is the broker's count, modulo 32, of moments at which the feed's high-water mark made it drop
a message for some subscriber. A subscriber that sees the number change has perhaps missed something
since the message before, and asks the log before it goes on; without it, the lost last event of a
quiet topic is found a beat later, when later events of other topics are already out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from broker.errors import BadPosition, MalformedFrames

VERSION = 1
STAMP = Struct(">BBHIQQQq")
META = Struct(">QQqB")
RECORD = Struct(">HI40s")
EVENT = Struct(">HIB")
_WHOLE = Struct(">HIBBHIQQQq")  # RECORD and STAMP in one
MAX_PAYLOAD_BYTES = 1 << 20

FLAG_UNLOGGED = 1
DROPS_SHIFT = 3
DROPS_MODULO = 32

BEAT_TOPIC = b"$broker/beat"
DEMAND_TOPIC = b"$broker/demand"
SYNC_PREFIX = b"$sync/"
BEAT_S = 1.0


Record = tuple[bytes, int, int, int, int, int, int, bytes]  # topic; what pack_stamp takes; payload


class Content(IntEnum):
    """What a payload is, as its producer says."""

    UNKNOWN = 0
    JSON = 1
    TEXT = 2
    BINARY = 3


class Stamp(NamedTuple):
    flags: int
    nth: int  # the topic's own count, 1 for its first event
    epoch: int  # u64, identity of the log
    seq: int  # place in the log, 1 for the first event of all
    prev: int  # seq of the event before it on the same topic; what retention forgot for a first one
    time_us: int  # µs since the Unix epoch, the broker's clock

    @property
    def drops(self) -> int:
        return self.flags >> DROPS_SHIFT

    @property
    def content(self) -> Content:
        return Content((self.flags >> 1) & 3)

    @property
    def is_unlogged(self) -> bool:
        return bool(self.flags & FLAG_UNLOGGED)


def pack_stamp(flags: int, nth: int, epoch: int, seq: int, prev: int, time_us: int) -> bytes:
    return STAMP.pack(VERSION, flags, nth >> 32, nth & 0xFFFFFFFF, epoch, seq, prev, time_us)


def unpack_stamp(data: bytes) -> Stamp:
    """Raises MalformedFrames: not 40 bytes, or of another version."""
    if len(data) != STAMP.size:
        raise MalformedFrames("bad_stamp", f"{len(data)} bytes, want {STAMP.size}")
    version, flags, high, low, epoch, seq, prev, time_us = STAMP.unpack(data)
    if version != VERSION:
        raise MalformedFrames("bad_stamp", f"version {version}, want {VERSION}")
    return Stamp(flags, high << 32 | low, epoch, seq, prev, time_us)


def pack_meta(producer: int, count: int, time_us: int, content: Content) -> bytes:
    return META.pack(producer, count, time_us, content)


def producer_hash(producer_id: str) -> int:
    """The 64 bits that stand for a producer's id in `meta`."""
    return int.from_bytes(blake2b(producer_id.encode(), digest_size=8).digest(), "big")


def pack_records(events: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """One frame out of many (topic, stamp, payload)."""
    parts: list[bytes] = []
    for topic, stamp, payload in events:
        parts += (RECORD.pack(len(topic), len(payload), stamp), topic, payload)
    return b"".join(parts)


def unpack_records(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(topic, stamp, payload) of each event in a frame of records.

    Raises MalformedFrames: the frame ends in the middle of an event.
    """
    at, end = 0, len(data)
    while at < end:
        if at + RECORD.size > end:
            raise MalformedFrames("bad_records", f"{end - at} bytes left, no whole header")
        topic_bytes, payload_bytes, stamp = RECORD.unpack_from(data, at)
        at += RECORD.size
        middle = at + topic_bytes
        after = middle + payload_bytes
        if after > end:
            raise MalformedFrames("bad_records", f"{end - at} bytes left of {after - at}")
        yield data[at:middle], stamp, data[middle:after]
        at = after


def read_records(data: bytes) -> list[Record]:
    """As `unpack_records`, with the stamps unpacked: for who reads many and needs no stamps (0.6 µs each).

    Raises MalformedFrames, also for a stamp of another version.
    """
    at, end, size, unpack = 0, len(data), _WHOLE.size, _WHOLE.unpack_from
    found: list[Record] = []
    while at < end:
        if at + size > end:
            raise MalformedFrames("bad_records", f"{end - at} bytes left, no whole header")
        topic_bytes, payload_bytes, version, flags, high, low, epoch, seq, prev, time_us = unpack(data, at)
        if version != VERSION:
            raise MalformedFrames("bad_stamp", f"version {version}, want {VERSION}")
        middle = at + size + topic_bytes
        after = middle + payload_bytes
        if after > end:
            raise MalformedFrames("bad_records", f"{end - at} bytes left of {after - at}")
        topic = data[at + size : middle]
        found.append((topic, flags, high << 32 | low, epoch, seq, prev, time_us, data[middle:after]))
        at = after
    return found


def pack_event(topic: bytes, payload: bytes, content: int) -> bytes:
    """One event as a producer hands it over; several are one frame, one after the other."""
    return EVENT.pack(len(topic), len(payload), content) + topic + payload


def unpack_events(data: bytes, limit: int) -> list[tuple[bytes, bytes, int]]:
    """(topic, payload, content type) of each event in a frame of events.

    Raises MalformedFrames: more than `limit` events, the frame ends in the middle of one, or a content
        type is none.
    """
    at, end, size, unpack = 0, len(data), EVENT.size, EVENT.unpack_from
    found: list[tuple[bytes, bytes, int]] = []
    while at < end:
        if at + size > end:
            raise MalformedFrames("bad_events", f"{end - at} bytes left, no whole header")
        topic_bytes, payload_bytes, content = unpack(data, at)
        middle = at + size + topic_bytes
        after = middle + payload_bytes
        if after > end:
            raise MalformedFrames("bad_events", f"{end - at} bytes left of {after - at}")
        if content > Content.BINARY:
            raise MalformedFrames("bad_events", f"content type {content}, want 0 to 3")
        found.append((data[at + size : middle], data[middle:after], content))
        at = after
        if len(found) > limit:
            raise MalformedFrames("bad_events", f"more than {limit} events in one frame")
    return found


_POSITION = re.compile(r"([0-9a-f]{16})\.(0|[1-9][0-9]{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a log. Its text is `epoch.seq`: JavaScript's numbers stop at 2**53, so the epoch is hex."""

    epoch: int
    seq: int  # 0 for "nothing seen"

    def __str__(self) -> str:
        return f"{self.epoch:016x}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Raises BadPosition."""
        if not (match := _POSITION.fullmatch(text)) or int(match[2]) >= 1 << 64:
            raise BadPosition(text)
        return cls(int(match[1], 16), int(match[2]))
