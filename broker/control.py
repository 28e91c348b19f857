"""Requests and answers of the control port (ROUTER, 5557), as values. Pure.

A request is one frame, a JSON object with `op` and `id`; the answer is a JSON object with the same
`id` and `ok` or `error`, followed by one frame of records (see `broker.wire`) where events are asked
for. Each request has one answer and no memory on the broker's side: a requester that hears nothing
asks again. Epochs are 16 hex digits, seqs are integers.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Id = Annotated[int, Meta(ge=0, lt=1 << 53)]
Seq = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Names = Annotated[tuple[str, ...], Meta(max_length=10_000)]

PAGE_EVENTS = 2_000
PAGE_BYTES = 512 * 1024
TAILS_LIMIT = 10_000


class Head(Struct, frozen=True, kw_only=True):
    """Where the log stands: in every beat, marker and answer."""

    epoch: str  # 16 hex digits
    head: Seq  # newest seq
    oldest: Seq  # oldest seq kept, head + 1 when nothing is
    forgotten: Seq  # largest seq lost with a topic that was forgotten whole
    trimmed: Seq = 0  # largest seq that retention removed, or may have: before it, topics may have holes
    start: Seq  # the head at which this epoch began
    drops: int = 0  # messages dropped on the feed at its high-water mark, since the broker's start

    @property
    def epoch_number(self) -> int:
        return int(self.epoch, 16)


class Request(Struct, frozen=True, kw_only=True, tag_field="op", forbid_unknown_fields=True):
    id: Id


class Replay(Request, frozen=True, kw_only=True, tag="replay"):
    """One page, in seq order, of events with after < seq <= upto that match.

    Patterns are compared whole; prefixes (what is subscribed upstream) are prefixes of bytes.
    Answer: ReplayPage and records. An event larger than a page's bytes comes alone.
    """

    patterns: Names = ()
    prefixes: Names = ()
    after: Seq
    upto: Seq | None = None  # the head if not given
    limit: Annotated[int, Meta(ge=1, le=PAGE_EVENTS)] = PAGE_EVENTS


class Newest(Request, frozen=True, kw_only=True, tag="newest"):
    """One page, oldest first, of the newest event of each matching topic that changed after `after`.

    Topics whose newest event is beyond `upto` are left out: whoever follows the feed from there gets
    it live. Patterns and prefixes as in Replay. Answer: NewestPage and records.
    """

    patterns: Names = ()
    prefixes: Names = ()
    after: Seq
    upto: Seq | None = None  # the head if not given
    limit: Annotated[int, Meta(ge=1, le=PAGE_EVENTS)] = PAGE_EVENTS


class Last(Request, frozen=True, kw_only=True, tag="last"):
    """The newest `count` events of each matching topic with seq <= upto, merged by seq.

    At most `limit` in all: the newest of them, with `truncated`. Answer: LastPage and records.
    """

    patterns: Names
    count: Annotated[int, Meta(ge=1, le=PAGE_EVENTS)] = 1
    upto: Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_EVENTS)] = PAGE_EVENTS


class Tails(Request, frozen=True, kw_only=True, tag="tails"):
    """The newest seq and nth of each matching topic that changed after `after`, oldest first."""

    patterns: Names = ()
    prefixes: Names = ()
    after: Seq


class Topics(Request, frozen=True, kw_only=True, tag="topics"):
    """What topics there are, by name, from beyond `after`."""

    patterns: Names = ("**",)
    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000


class Demand(Request, frozen=True, kw_only=True, tag="demand"):
    """Which prefixes the feed's subscribers ask for."""


class Status(Request, frozen=True, kw_only=True, tag="status"):
    """What the broker counts."""


AnyRequest = Replay | Newest | Last | Tails | Topics | Demand | Status


class ReplayPage(Struct, frozen=True, kw_only=True):
    at: Head
    through: Seq  # every matching event up to here is in this page or the ones before
    damaged: list[tuple[Seq, Seq]] = []  # stretches that could not be read
    # Topics of which retention removed events after `after`: seq and nth of the newest that is gone.
    holes: list[tuple[str, Seq, int]] = []


class LastPage(Struct, frozen=True, kw_only=True):
    at: Head
    truncated: bool = False
    damaged: list[tuple[Seq, Seq]] = []


class NewestPage(Struct, frozen=True, kw_only=True):
    at: Head
    through: Seq  # complete up to here: beyond it, ask again with after=through
    damaged: list[tuple[Seq, Seq]] = []  # stretches that could not be read


class TailsPage(Struct, frozen=True, kw_only=True):
    at: Head
    tails: list[tuple[str, Seq, int]]  # topic, seq and nth of its newest event
    through: Seq  # complete up to here: beyond it, ask again with after=through


class Topic(Struct, frozen=True, kw_only=True):
    topic: str
    seq: Seq  # of its newest event
    nth: int
    time: float  # seconds since the Unix epoch, of its newest event


class TopicsPage(Struct, frozen=True, kw_only=True):
    at: Head
    topics: list[Topic]
    more: bool = False


class DemandPage(Struct, frozen=True, kw_only=True):
    at: Head
    prefixes: list[str]


class StatusPage(Struct, frozen=True, kw_only=True):
    at: Head
    version: str
    durability: str
    uptime_s: float
    received: int  # messages taken in
    logged: int
    dropped: dict[str, int]  # ingest messages dropped, by reason
    topics: int
    log_bytes: int
    subscribed: int  # prefixes that the feed's subscribers ask for


class Error(Struct, frozen=True, kw_only=True):
    code: str  # bad_request, damaged, unavailable
    message: str


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: int
    ok: msgspec.Raw = msgspec.Raw()  # empty for none: msgspec reads no union of Raw
    error: Error | None = None


encode = msgspec.json.Encoder().encode
decode_request: Any = msgspec.json.Decoder(AnyRequest).decode
decode_answer = msgspec.json.Decoder(Answer).decode
