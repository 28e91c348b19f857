"""Requests of Engine.IO clients: from a head to what it is for, or a named no. Pure.

Source: Engine.IO protocol, revision 4, "HTTP long-polling"; the numbers of errors are those of engine.io,
lib/server.ts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec

from gateway.socketio.engine import REVISION, Over
from gateway.upgrade import Get, Refusal, is_welcome

PATHS = ("/socket.io/", "/socket.io")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Max-Age": "600",
}
FIELDS_MAX = 1_100  # of a query: as many topics as one may subscribe to, and some


class Fault(IntEnum):
    TRANSPORT = 0
    SESSION = 1
    METHOD = 2
    REQUEST = 3
    FORBIDDEN = 4
    REVISION = 5


_TEXTS = {
    Fault.TRANSPORT: "Transport unknown",
    Fault.SESSION: "Session ID unknown",
    Fault.METHOD: "Bad handshake method",
    Fault.REQUEST: "Bad request",
    Fault.FORBIDDEN: "Forbidden",
    Fault.REVISION: "Unsupported protocol version",
}


class Wanted(NamedTuple):
    """A sound request."""

    sid: str | None  # None: a new session
    query: str  # as it came
    headers: Mapping[str, str]  # for the answer
    stays: bool = True  # the connection may bear another request


def refusal(fault: Fault, headers: Mapping[str, str] = {}, why: str = "") -> Refusal:
    message = f"{_TEXTS[fault]}: {why}" if why else _TEXTS[fault]
    status = HTTPStatus.FORBIDDEN if fault is Fault.FORBIDDEN else HTTPStatus.BAD_REQUEST
    body = msgspec.json.encode({"code": int(fault), "message": message})
    code = "unknown_session" if fault is Fault.SESSION else "bad_handshake"
    return Refusal(status, code, message, headers, body)


def examine(method: str, query: str, get: Get, origins: Collection[str], over: Over) -> Wanted | Refusal:
    """The request, or the first rule that it breaks.

    Args:
        get: a header's value by its name.
        origins: foreign origins that are let in, in lower case, "https://example.org".
        over: the transport that it may ask for.
    """
    origin, host = get("origin"), get("host") or ""
    if origin is not None and not (host and is_welcome(origin, host, origins)):
        why = f"origin {origin[:200]!r} is not let in: add it to the setting `origins`"
        return refusal(Fault.FORBIDDEN, {"Vary": "Origin"}, why)
    headers = shared(origin)
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX))
    except ValueError:
        return refusal(Fault.REQUEST, headers, "the query is not UTF-8, or has too many fields")
    if given.get("transport") != over.value:
        return refusal(Fault.TRANSPORT, headers)
    if given.get("EIO") != REVISION:
        return refusal(Fault.REVISION, headers, f"want EIO={REVISION}")
    sid = given.get("sid")
    if method != "GET" and (method != "POST" or sid is None):
        return refusal(Fault.METHOD, headers)
    return Wanted(sid, query, headers)


def shared(origin: str | None) -> dict[str, str]:
    """Headers that let the page that sent this read the answer; it has been let in."""
    if origin is None:
        return {"Vary": "Origin"}
    # Clients send their requests with credentials where the page says so (`withCredentials`).
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
    }
