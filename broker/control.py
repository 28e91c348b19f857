"""Requests and answers of the control port (ROUTER, 5557), as values. Pure.

A request is one frame, a JSON object with `op` and `id`, for `publish` and `submit` followed by a frame
of events; the answer is a JSON object with the same `id` and `ok` or `error`, followed by one frame of
records where events are asked for (`broker.wire` has both). Each request has one answer: a requester
that hears nothing asks again. Epochs are 16 hex digits, seqs are integers.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Id = Annotated[int, Meta(ge=0, lt=1 << 53)]
Seq = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Names = Annotated[tuple[str, ...], Meta(max_length=10_000)]

Name = Annotated[str, Meta(min_length=1, max_length=255)]  # of a producer, a subject, a key
# `\Z`, for `$` would let a line end pass.
KeptName = Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9:_-]+\Z")]

PAGE_EVENTS = 2_000
PAGE_BYTES = 512 * 1024
TAILS_LIMIT = 10_000
PREFIXES_MAX = 10_000  # in an answer to `demand`


class Head(Struct, frozen=True, kw_only=True):
    """Where the log stands: in every beat, marker and answer."""

    epoch: str  # 16 hex digits
    head: Seq  # newest seq
    oldest: Seq  # oldest seq kept, head + 1 when nothing is
    forgotten: Seq  # largest seq lost with a topic that was forgotten whole
    trimmed: Seq = 0  # largest seq that retention removed, or may have: before it, topics may have holes
    start: Seq  # the head at which this epoch began
    drops: int = 0  # times that a subscriber's queue was full, and it lost messages, since the broker's start

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


class Hello(Request, frozen=True, kw_only=True, tag="hello"):
    """Begins an incarnation of a producer, and ends the one before: that one is `fenced` from now on.

    One that is said again, because no answer came, bears the same `instance` and begins nothing: or
    a copy that comes late, over a link that was given up, would end what the other has begun.
    Answer: HelloPage.
    """

    producer: Name
    instance: Name | None = None
    passing: bool = False  # nobody will come again with this id: it is forgotten before others are


class Publish(Request, frozen=True, kw_only=True, tag="publish"):
    """Events number `first`, `first` + 1, ... of a producer, to be logged once. Frame 2: events.

    Numbers go on from `last` of the HelloPage. What was logged before is not logged again, but confirmed.
    All of it is logged, in one piece and in order, or nothing. Answer: PublishPage. Refused with
    `unknown_producer` (say hello), `fenced`, `out_of_order` (`first` is beyond the last logged number
    + 1), `unavailable` (the log cannot be written: the same request again, later); and for good with
    `bad_topic`, `system_topic`, `payload_too_large`, `bad_request`.
    """

    producer: Name
    incarnation: Seq
    first: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
    known: Seq = 0  # up to here the producer has heard that its events are logged


class Submit(Request, frozen=True, kw_only=True, tag="submit"):
    """Events of a client, to be logged in one piece. Frame 2: events.

    With a key they are logged once: the same subject, key and events again get the same answer for
    24 hours; other events under that key are a `conflict`. Answer: SubmitPage. Refused as Publish.
    """

    subject: Annotated[str, Meta(max_length=255)] = ""  # who: keys of two subjects are two keys
    key: Name | None = None


class Keep(Request, frozen=True, kw_only=True, tag="keep"):
    """Keep a value under a name, unless there is one already: then that one stays.

    Answer: KeptPage, with the value that is kept, when it is committed. Refused with `limit` (too many
    bytes) and `unavailable` (the log cannot be written); and if there is one, never.
    """

    name: KeptName
    value: str


class Kept(Request, frozen=True, kw_only=True, tag="kept"):
    """What is kept under a name. Answer: KeptPage."""

    name: KeptName


Publishing = Hello | Publish | Submit
AnyRequest = Replay | Newest | Last | Tails | Topics | Demand | Status | Keep | Kept | Publishing


class ReplayPage(Struct, frozen=True, kw_only=True):
    at: Head
    through: Seq  # every matching event up to here is in this page or the ones before
    damaged: list[tuple[Seq, Seq]] = []  # stretches that could not be read
    # Topics of which retention removed events after `after`: seq and nth of the newest that is gone. If
    # more went beyond `upto`, that is the seq, and nth is 0.
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


class KeptPage(Struct, frozen=True, kw_only=True):
    at: Head
    value: str | None  # None: nothing is


class HelloPage(Struct, frozen=True, kw_only=True):
    at: Head
    incarnation: Seq  # larger than any before it, also than those of which this log knows nothing
    last: Seq  # number of the producer's newest event in the log, 0 for none
    payload_max_bytes: Seq = 0  # of one event: larger ones are refused for good; 0: not said


class Run(Struct, frozen=True, array_like=True):
    """Events number `first` to `first` + `count` - 1 have the seqs from `seq` on, without a hole."""

    first: Seq
    seq: Seq
    count: Seq


class PublishPage(Struct, frozen=True, kw_only=True):
    at: Head
    last: Seq  # all up to this number is in the log, also what other requests brought
    runs: list[Run] = []  # where: of the numbers beyond `known`


class SubmitPage(Struct, frozen=True, kw_only=True):
    at: Head
    position: str  # of the last of them; for a repeated key it may be of an older epoch than `at`'s
    repeated: bool = False  # they were in the log before


class Missing(Struct, frozen=True, kw_only=True):
    """A producer of which events are missing."""

    producer: str  # the hash of its id, 16 hex digits
    missing: int  # events that did not arrive, up to its number `last`
    last: int
    first: int  # the number that it was first heard with, since it last began anew
    begun: int  # times that it began anew; many where several programs share an id


class StatusPage(Struct, frozen=True, kw_only=True):
    at: Head
    version: str
    durability: str
    uptime_s: float
    received: int  # messages taken in
    logged: int
    dropped: dict[str, int]  # ingest messages dropped, by reason
    missing: int = 0  # events that producers sent and the broker never saw, by their counts
    late: int = 0  # of these, how many came after all
    unclear: int = 0  # events before the first one heard of a producer: missing, or taken in earlier
    worst: list[Missing] = []  # the producers of which most is missing
    unanswered: int = 0  # answers that their requester did not take: it asks again
    confirmed: int  # of the logged, those of which it was told
    refused: dict[str, int]  # requests to publish, by code
    trouble: str | None = None  # why nothing can be logged just now
    topics: int
    log_bytes: int
    subscribed: int  # prefixes that the feed's subscribers ask for


class Error(Struct, frozen=True, kw_only=True):
    code: str  # bad_request, unavailable, and those of Publish, Submit and Keep
    message: str


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: int
    ok: msgspec.Raw = msgspec.Raw()  # empty for none: msgspec reads no union of Raw
    error: Error | None = None


encode = msgspec.json.Encoder().encode
decode_request: Any = msgspec.json.Decoder(AnyRequest).decode
decode_answer = msgspec.json.Decoder(Answer).decode
