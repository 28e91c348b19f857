"""A POST that publishes: from its head and body to what is to be logged, or a named no. Pure.

Source: Fetch, 3.2 (CORS); RFC 8941, 3.3.3 (strings), in which "The Idempotency-Key HTTP Header Field"
(an IETF draft) has its values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import NamedTuple

from broker.errors import BadTopic
from broker.topics import check_topic
from broker.wire import Content
from gateway.forms import MAX_JSON_DEPTH, is_json
from gateway.publishing import KEY_RULE, Draft, Payload, Refused, is_key
from gateway.upgrade import Get, Refusal, is_welcome

PATH = b"/api/publish/"
EVENTS_MAX = 1_000  # in one request: the lines of 1 MiB take milliseconds to look at, and others wait
LINES_MAX = 2 * EVENTS_MAX  # empty ones are no events
BATCH = ("application/x-ndjson", "application/ndjson")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "600",
}
RETRY_S = 1

_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"').fullmatch
_STATUS = {
    "bad_topic": HTTPStatus.BAD_REQUEST,
    "forbidden": HTTPStatus.FORBIDDEN,
    "conflict": HTTPStatus.CONFLICT,
    "payload_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_publishes": HTTPStatus.SERVICE_UNAVAILABLE,
    "unknown": HTTPStatus.GATEWAY_TIMEOUT,
}


class Post(NamedTuple):
    """A sound head."""

    topic: str
    content: Content  # what the body is said to be
    is_batch: bool  # its lines are events
    key: str | None


def maybe_foreign(get: Get, origins: Collection[str]) -> Refusal | None:
    """Why the page that sends this may not, None for others and for what is no page.

    Args:
        get: a header's value by its name.
        origins: foreign origins that are let in, in lower case, "https://example.org".
    """
    origin, host = get("Origin"), get("Host") or ""
    if origin is None or (host and is_welcome(origin, host, origins)):
        return None
    message = f"origin {origin[:200]!r} is not let in: add it to the setting `origins`"
    return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", message)


def shared(get: Get) -> Mapping[str, str]:
    """Headers that let the page that sent this read the answer."""
    if not (origin := get("Origin")):
        return {"Vary": "Origin"}
    exposed = {"Access-Control-Expose-Headers": "Retry-After"}
    return {"Vary": "Origin", "Access-Control-Allow-Origin": origin, **exposed}


def examine(path: bytes, query: str, get: Get, most_bytes: int) -> Post | Refusal:
    """The head, or the first rule that it breaks.

    Args:
        path: decoded from its percent signs.
        most_bytes: that a body may have.
    """
    try:
        topic = check_topic(path.removeprefix(PATH))
    except BadTopic as error:
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_topic", str(error))
    if query:
        message = f"the query {query[:60]!r} means nothing here, where only the body is published"
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_parameter", message)
    given = get("Idempotency-Key")
    key = None if given is None else _unquoted(given)
    if key is not None and not is_key(key):
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_key", f"Idempotency-Key: {KEY_RULE}, perhaps in quotes")
    if (coding := get("Content-Encoding") or "identity").lower() != "identity":
        return _no_type(f"the body is not unpacked, and Content-Encoding is {coding[:60]!r}")
    if int(get("Content-Length") or 0) > most_bytes:
        return too_large(most_bytes)
    kind, _, parameters = (get("Content-Type") or "").lower().partition(";")
    kind = kind.strip()
    if kind.startswith("multipart/"):
        return _no_type("a form is no event: send the payload alone as the body, with curl by --data-binary")
    if kind.startswith("text/"):
        charset = re.search(r"charset\s*=\s*\"?([^\s\";]+)", parameters)
        if charset and charset[1] not in ("utf-8", "utf8", "us-ascii"):
            return _no_type(f"want UTF-8, not {charset[1][:60]!r}")
    return Post(topic, _content(kind), kind in BATCH, key)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    found = _QUOTED(value)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def _content(kind: str) -> Content:
    if kind in ("application/json", *BATCH) or kind.endswith("+json"):
        return Content.JSON
    if kind.startswith("text/"):
        return Content.TEXT
    if kind == "application/octet-stream":
        return Content.BINARY
    # Also what curl -d says without being told, application/x-www-form-urlencoded: it is looked at.
    return Content.UNKNOWN


def draft(post: Post, body: bytes) -> Draft | Refusal:
    """What is to be published."""
    if not post.is_batch:
        fault = _maybe_fault(body, post.content)
        return _bad(fault) if fault else Draft(post.topic, [(body, post.content)], post.key)
    payloads: list[Payload] = []
    lines = body.split(b"\n", LINES_MAX)
    if len(lines) > LINES_MAX and lines[-1]:
        return _bad(f"more than {LINES_MAX} lines")
    for number, line in enumerate(lines, 1):
        if not (line := line.strip()):
            continue
        if len(payloads) == EVENTS_MAX:
            return _bad(f"more than {EVENTS_MAX} events")
        if fault := _maybe_fault(line, post.content):
            return _bad(f"line {number}: {fault}")
        payloads.append((line, post.content))
    return Draft(post.topic, payloads, post.key) if payloads else _bad("no event in it")


def _maybe_fault(payload: bytes, content: Content) -> str | None:
    if content == Content.JSON and not is_json(payload):
        return f"not JSON, or deeper than {MAX_JSON_DEPTH}"
    if content == Content.TEXT:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            return f"not UTF-8: {error.reason} at byte {error.start}"
    return None


def refusal(refused: Refused) -> Refusal:
    """What became of it, as HTTP says it."""
    code = "too_many_publishes" if refused.code == "limit" else refused.code
    status = _STATUS.get(code, HTTPStatus.BAD_GATEWAY)
    headers = {"Retry-After": str(RETRY_S)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Refusal(status, code, refused.message, headers)


def too_large(most_bytes: int) -> Refusal:
    message = f"the body has more than {most_bytes} bytes: `publish_max_bytes`"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "payload_too_large", message)


def too_many(most_bytes: int) -> Refused:
    return Refused("limit", f"bodies of {most_bytes} bytes in all are in memory, and no more may be")


def _bad(why: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_payload", why)


def _no_type(why: str) -> Refusal:
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "bad_content_type", why)
