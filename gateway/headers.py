"""The header lines of an HTTP/1.1 request. Pure.

pywsgi has them parsed by the email package, which takes 18 % of a connect and accepts what two
parsers may read in two ways. Here a doubtful request is refused: such a one is how one request is
smuggled inside another.

Source: RFC 9110, 5 (fields), 7.2 (Host); RFC 9112, 5 (field lines), 6 (length of a body).
"""

from __future__ import annotations

import re
from typing import IO

MAX_HEADERS = 100
MAX_LINE_BYTES = 8190

# Name and value; no space before the colon, no bare CR or NUL, no folded line.
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*\r?\n").fullmatch


class Headers:
    """What pywsgi asks of its `MessageClass`. `status` is "" or why the request is refused."""

    __slots__ = ("_values", "headers", "status")

    def __init__(self, rfile: IO[bytes], _unused: object = None) -> None:
        self.headers: list[str] = []  # "Name: value", as they came
        self._values: dict[str, str] = {}  # by name in lower case; repeated ones joined by a comma
        self.status = self._read(rfile)

    def _read(self, rfile: IO[bytes]) -> str:
        values = self._values
        for _ in range(MAX_HEADERS + 1):
            line = rfile.readline(MAX_LINE_BYTES + 1)
            if line in (b"\r\n", b"\n"):
                return self._doubt()
            if not (match := _LINE(line)):
                return "header line too long" if len(line) > MAX_LINE_BYTES else "malformed header line"
            name, value = match[1].decode(), match[2].decode("latin-1")
            self.headers.append(f"{name}: {value}")
            key = name.lower()
            if key not in values:
                values[key] = value
            elif key in ("host", "content-length", "transfer-encoding"):
                return f"more than one {name}"
            else:
                values[key] += ("; " if key == "cookie" else ",") + value
        return f"more than {MAX_HEADERS} headers"

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

    def __delitem__(self, name: str) -> None:
        del self._values[name.lower()]

    @property
    def typeheader(self) -> str | None:
        return self._values.get("content-type")
