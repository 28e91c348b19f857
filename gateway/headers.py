"""The header lines of an HTTP/1.1 request. Pure.

pywsgi has them parsed by the email package, which takes 18 % of a connect and accepts what two
parsers may read in two ways. Here a doubtful request is refused: such a one is how one request is
smuggled inside another.

Source: RFC 9110, 5 (fields), 7.2 (Host); RFC 9112, 5 (field lines), 6 (length of a body).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_HEADERS = 100
MAX_LINE_BYTES = 8190

# Name and value; no space before the colon, no bare CR or NUL, no folded line.
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?").fullmatch


class Headers:
    """What pywsgi asks of the headers of a request. `status` is "" or why it is refused."""

    __slots__ = ("_lines", "_values", "status")

    def __init__(self, lines: Sequence[str]) -> None:
        """Of lines without the LF that ended them, bytes read as Latin-1."""
        self._lines = lines
        self._values: dict[str, str] = {}  # by name in lower case; repeated ones joined by a comma
        self.status = self._read(lines)

    def _read(self, lines: Sequence[str]) -> str:
        if len(lines) > MAX_HEADERS:
            return f"more than {MAX_HEADERS} headers"
        values = self._values
        for line in lines:
            if len(line) > MAX_LINE_BYTES:
                return "header line too long"
            if not (match := _LINE(line)):
                return "malformed header line"
            name, value = match.groups()
            key, value = name.lower(), value.strip(" \t")
            if key not in values:
                values[key] = value
            elif key in ("host", "content-length", "transfer-encoding"):
                return f"more than one {name}"
            else:
                values[key] += ("; " if key == "cookie" else ",") + value
        return self._doubt()

    def _doubt(self) -> str:
        """Why it is uncertain where the request ends; "" for a sound one."""
        length, coding = self._values.get("content-length"), self._values.get("transfer-encoding")
        if coding is not None and length is not None:
            return "both Content-Length and Transfer-Encoding"
        if coding is not None and coding.lower() != "chunked":
            return "Transfer-Encoding other than chunked"
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 16):
            return "Content-Length is no number"
        return ""

    def get(self, name: str, default: str | None = None) -> str | None:
        return self._values.get(name.lower(), default)

    getheader = get

    @property
    def headers(self) -> list[str]:
        """ "Name: value", as they came."""
        return [line.rstrip("\r") for line in self._lines]

    @property
    def typeheader(self) -> str | None:
        return self._values.get("content-type")
