"""Which requests may become WebSockets: from a request's head to a yes or a named no. Pure.

Source: RFC 6455, 4.2.1 (what the server checks), 10.2 (Origin).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from gateway import deflate

PROTOCOL = "penstock.v1"
VERSION = "13"

Get = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A sound request for a WebSocket."""

    path: str  # decoded
    query: str  # as it came
    host: str
    origin: str | None  # None: not a browser
    protocol: str | None  # PROTOCOL if it was offered
    peer: str  # "address:port"
    key: str
    extensions: str | None = None  # those that are used, as the answer names them


class Refusal(NamedTuple):
    """The answer to a request that stays without its 101."""

    status: HTTPStatus
    code: str  # for programs
    message: str  # for people
    headers: Mapping[str, str] = {}
    body: bytes | None = None  # None: code and message as JSON


def is_upgrade(get: Get) -> bool:
    return (get("upgrade") or "").lower() == "websocket"


def examine(
    *,
    method: str,
    version: str,
    path: str,
    query: str,
    get: Get,
    peer: str,
    origins: Collection[str],
    deflates: bool = False,
) -> Upgrade | Refusal:
    """The request, or the first rule that it breaks.

    Args:
        version: "HTTP/1.1".
        path: as WSGI has it, bytes read as Latin-1.
        get: a header's value by its name in lower case.
        origins: foreign origins that are let in, "https://example.org".
        deflates: permessage-deflate may be used.
    """
    if method != "GET":
        return Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED, "bad_method", "a WebSocket begins with GET", {"Allow": "GET"}
        )
    if version != "HTTP/1.1":
        return _bad("a WebSocket needs HTTP/1.1")
    if not (host := get("host")):
        return _bad("Host is missing")
    if "upgrade" not in _tokens(get("connection")):
        return _bad("Connection must name upgrade")
    if get("transfer-encoding") is not None or (get("content-length") or "0").strip("0"):
        return _bad("a request for a WebSocket has no body")
    wanted = get("sec-websocket-version")
    if wanted != VERSION:
        status = HTTPStatus.BAD_REQUEST if wanted else HTTPStatus.UPGRADE_REQUIRED
        message = f"Sec-WebSocket-Version must be {VERSION}"
        return Refusal(status, "bad_version", message, {"Sec-WebSocket-Version": VERSION})
    if not _is_key(key := get("sec-websocket-key") or ""):
        return _bad("Sec-WebSocket-Key must be 16 bytes in base64")
    origin = get("origin")
    if origin is not None and not is_welcome(origin, host, origins):
        message = f"origin {origin[:200]!r} is not let in: add it to the setting `origins`"
        return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", message)
    try:
        path = path.encode("latin-1").decode()
    except UnicodeDecodeError:
        return _bad("the path is not UTF-8")
    offers = [offer.strip() for offer in (get("sec-websocket-protocol") or "").split(",")]
    protocol = PROTOCOL if PROTOCOL in offers else None
    # What is wrong with offers is no reason to refuse: the connection is as good without.
    extensions = deflate.negotiate(get("sec-websocket-extensions") or "") if deflates else None
    return Upgrade(path, query, host, origin, protocol, peer, key, extensions)


def _bad(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message)


def _tokens(value: str | None) -> list[str]:
    return [token.strip() for token in (value or "").lower().split(",")]


def _is_key(key: str) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False


def is_welcome(origin: str, host: str, origins: Collection[str]) -> bool:
    """Same host, or on the list; "null" (a sandboxed page) is nobody's host."""
    origin = origin.lower()
    # Both leave out a scheme's own port, so the texts can be compared.
    return origin.partition("://")[2] == host.lower() or origin in origins
