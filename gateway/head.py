"""The head of an HTTP/1.1 request: where it ends in what has come, and what it says. Pure.

Source: RFC 9112, 2.1 (message format), 2.2 (parsing), 3 (request line).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from gateway.headers import MAX_LINE_BYTES, Headers
from gateway.upgrade import Refusal

MAX_BYTES = 64 << 10

_END = re.compile(rb"\n\r?\n").search
_REQUEST = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~\x80-\xff]+) (HTTP/\d(?:\.\d)?)\r?").fullmatch


class Head(NamedTuple):
    """What a request says before its body."""

    line: str  # the first one, whole
    method: str
    target: str  # as it came
    version: str  # "HTTP/1.1" or "HTTP/1.0"
    headers: Headers

    @property
    def path(self) -> str:
        """As WSGI has it: without the query, percent-decoded to bytes that are read as Latin-1."""
        path = self.target.partition("?")[0]
        return unquote(path, "latin-1") if "%" in path else path

    @property
    def stays(self) -> bool:
        """The connection may bear another request."""
        wishes = {wish.strip() for wish in (self.headers.get("connection") or "").lower().split(",")}
        # HTTP/1.0 has no chunks, so an answer of unknown length must end with its connection; and who
        # speaks it needs no more than one.
        return self.version != "HTTP/1.0" and "close" not in wishes

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


def end_of_head(data: bytes, seen: int = 0) -> int:
    """Where the head ends that `data` begins with, behind its empty line; 0 while that has not come.

    `seen` bytes of it have been searched before.
    """
    found = _END(data, max(0, seen - 2))
    return found.end() if found else 0


def parse(data: bytes) -> Head | Refusal:
    """What a whole head says, or why nobody should answer it."""
    line, *lines = data.decode("latin-1").split("\n")
    if len(line) > MAX_LINE_BYTES:
        return Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "bad_request", "the request line is too long")
    if not (match := _REQUEST(line)):
        return _bad("malformed request line")
    method, target, version = match.groups()
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        return Refusal(status, "bad_request", "want HTTP/1.1 or HTTP/1.0")
    headers = Headers(lines[:-2])  # the empty line, and nothing behind its end
    if headers.status:
        return _bad(headers.status)
    if method == "HEAD" and (headers.get("content-length") or "0").strip("0"):
        return _bad("a HEAD request has no body")
    return Head(line.rstrip("\r"), method, target, version, headers)


def _bad(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message)
