"""Which requests open an event stream: from a request's head to a yes or a named no. Pure.

Source: HTML, 9.2 (server-sent events); Fetch, 3.2 (CORS).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl

from broker.errors import BadPattern, BadPosition
from broker.topics import Pattern, is_system, pattern
from broker.wire import Position
from gateway import protocol
from gateway.delivery import BadDelivery, in_query
from gateway.protocol import Subscribe
from gateway.upgrade import Get, Refusal, is_welcome

PATH = "/sse"
KNOWN = ("topic", "history", "since", "delivery")
# For those who speak the protocol by fetch; a browser's own EventSource does not ask.
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "Last-Event-ID, Cache-Control",
    "Access-Control-Max-Age": "600",
}
NOWHERE = Position(0, 0)  # in no log: nothing can be known of what came after it


class Opening(NamedTuple):
    """A sound request for an event stream."""

    wanted: Subscribe
    headers: Mapping[str, str]  # for the answer


class Preflight(NamedTuple):
    """A browser asks whether a page of another origin may."""

    headers: Mapping[str, str]


def examine(
    *,
    method: str,
    version: str,
    query: str,
    get: Get,
    origins: Collection[str],
    history_max: int,
    subscriptions_max: int,
) -> Opening | Preflight | Refusal:
    """The request, or the first rule that it breaks.

    Args:
        version: "HTTP/1.1".
        get: a header's value by its name in lower case.
        origins: foreign origins that are let in, "https://example.org".
    """
    origin, host = get("origin"), get("host") or ""
    if version == "HTTP/1.1" and not host:
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", "Host is missing")
    if origin is not None and not (host and is_welcome(origin, host, origins)):
        message = f"origin {origin[:200]!r} is not let in: add it to the setting `origins`"
        return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", message)
    # Whether it is let in hangs on the origin, whatever a cache in between may think.
    shared = {"Vary": "Origin", **({"Access-Control-Allow-Origin": origin} if origin else {})}
    if method == "OPTIONS":
        return Preflight({**shared, **PREFLIGHT})
    if method != "GET":
        allowed = {**shared, "Allow": "GET, OPTIONS"}
        return Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED, "bad_method", "an event stream begins with GET", allowed
        )
    if get("transfer-encoding") is not None or (get("content-length") or "0").strip("0"):
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", "an event stream takes no body", shared)
    try:
        wanted = _wanted(query, get("last-event-id"), history_max, subscriptions_max)
    except _Refused as refused:
        return Refusal(refused.status, refused.code, str(refused), shared)
    return Opening(wanted, shared)


def wanted(query: str, history_max: int, subscriptions_max: int) -> Subscribe | protocol.Refusal:
    """What such a query asks for, elsewhere than here."""
    try:
        return _wanted(query, None, history_max, subscriptions_max)
    except _Refused as refused:
        return protocol.Refusal(None, refused.code, str(refused))


class _Refused(Exception):
    def __init__(self, code: str, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def _wanted(query: str, last_event_id: str | None, history_max: int, subscriptions_max: int) -> Subscribe:
    topics: list[str] = []
    given: dict[str, str] = {}
    try:
        # One more than is allowed shows that there are too many.
        fields = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise _Refused("bad_parameter", "the query is not UTF-8") from None
    for name, text in fields:
        if name == "topic":
            topics.append(text)
        elif name not in KNOWN:
            raise _bad(name[:40], f"unknown, expected {', '.join(KNOWN)}")
        elif name in given:
            raise _bad(name, "given more than once")
        else:
            given[name] = text
    if not topics:
        raise _bad("topic", "missing, want one or more topics or patterns")
    patterns = frozenset(map(_pattern, topics))
    if len(patterns) > subscriptions_max:
        raise _bad("topic", f"{len(patterns)} of them, at most {subscriptions_max} are allowed")
    if "since" in given and "history" in given:
        raise _bad("history", "excludes since")
    history, since = _history(given.get("history", "0"), history_max), _since(given.get("since"))
    try:
        wished = in_query(given.get("delivery", "all"))
    except BadDelivery as error:
        raise _bad("delivery", str(error)) from None
    if last_event_id:
        # The stream broke and the browser comes back by itself, with the URL of the first time.
        history, since = 0, _place(last_event_id)
    return Subscribe(0, patterns, history, since, wished)


def _pattern(text: str) -> Pattern:
    try:
        wanted = pattern(text)
    except BadPattern as error:
        raise _Refused("bad_pattern", f"parameter 'topic': {error}") from None
    if is_system(text):
        message = f"parameter 'topic': {text[:60]!r} is the system's own: it takes a right to read it"
        raise _Refused("forbidden", message, HTTPStatus.FORBIDDEN)
    return wanted


def _history(text: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= largest):
        raise _bad("history", f"{text[:20]!r} is no number from 0 to {largest}")
    return int(text)


def _since(text: str | None) -> Position | None:
    try:
        return None if text is None else Position.parse(text)
    except BadPosition as error:
        raise _bad("since", str(error)) from None


def _place(last_event_id: str) -> Position:
    try:
        return Position.parse(last_event_id)
    except BadPosition:
        # A refusal would end the browser's stream for good: it is told a gap instead.
        return NOWHERE


def _bad(name: str, why: str) -> _Refused:
    return _Refused("bad_parameter", f"parameter {name!r}: {why}")
