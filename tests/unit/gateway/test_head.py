"""Heads of requests: where they end, what they say, and which of them are doubtful."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.head import Head, end_of_head, parse
from gateway.headers import MAX_HEADERS, MAX_LINE_BYTES, Headers
from gateway.upgrade import Refusal


@pytest.mark.parametrize(
    ("data", "end"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, id="whole"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n", 27, id="body behind it"),
        pytest.param(b"GET / HTTP/1.1\n\n", 16, id="LF alone"),
        pytest.param(b"GET / HTTP/1.1\r\n\n", 17, id="both"),
        pytest.param(b"GET / HTTP/1.1\n\r\n", 17, id="both, the other way"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", 0, id="no empty line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0, id="half of it"),
        pytest.param(b"G", 0, id="a byte"),
        pytest.param(b"", 0, id="nothing"),
    ],
)
def test_where_a_head_ends(data: bytes, end: int) -> None:
    assert end_of_head(data) == end


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n"]), max_size=30))
def test_it_is_found_however_it_comes(pieces: list[bytes]) -> None:
    data = b""
    for piece in pieces:
        seen, data = len(data), data + piece
        if end := end_of_head(data, seen):
            break
    else:
        end = 0
    assert end == end_of_head(b"".join(pieces))


def test_what_a_head_says() -> None:
    head = parse(b"POST /t/%C3%BC%2F?a=%20&b=1?2 HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
    assert isinstance(head, Head)
    assert (head.method, head.version, head.query) == ("POST", "HTTP/1.0", "a=%20&b=1?2")
    assert head.path.encode("latin-1").decode() == "/t/ü/"
    assert head.headers.get("Content-Length") == "3"
    assert head.line == "POST /t/%C3%BC%2F?a=%20&b=1?2 HTTP/1.0"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param(b"GET / HTTP/1.1", None, id="sound"),
        pytest.param(b"GET /\xc3\xbc HTTP/1.1", None, id="not encoded"),
        pytest.param(b"OPTIONS * HTTP/1.1", None, id="asterisk"),
        pytest.param(b"GET http://a/ HTTP/1.1", None, id="absolute"),
        pytest.param(b"GET /", 400, id="HTTP/0.9"),
        pytest.param(b"GET  / HTTP/1.1", 400, id="two spaces"),
        pytest.param(b"GET /a b HTTP/1.1", 400, id="space in the target"),
        pytest.param(b"G(T / HTTP/1.1", 400, id="method no token"),
        pytest.param(b" GET / HTTP/1.1", 400, id="space in front"),
        pytest.param(b"GET / http/1.1", 400, id="lower case"),
        pytest.param(b"GET /\0 HTTP/1.1", 400, id="NUL"),
        pytest.param(b"GET / HTTP/1.1\r", 400, id="bare CR"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", 400, id="TLS"),
        pytest.param(b"GET / HTTP/2.0", 505, id="HTTP/2"),
        pytest.param(b"PRI * HTTP/2.0", 505, id="its preface"),
        pytest.param(b"GET / HTTP/1.2", 505, id="HTTP/1.2"),
        pytest.param(b"GET /" + b"a" * MAX_LINE_BYTES + b" HTTP/1.1", 414, id="long"),
    ],
)
def test_request_lines(line: bytes, status: int | None) -> None:
    found = parse(line + b"\r\nHost: a\r\n\r\n")
    assert (found.status if isinstance(found, Refusal) else None) == status


@pytest.mark.parametrize("headers", [b"X\r\n", b"Content-Length: 1\r\nContent-Length: 2\r\n"])
def test_doubtful_headers_make_a_doubtful_head(headers: bytes) -> None:
    found = parse(b"GET / HTTP/1.1\r\n" + headers + b"\r\n")
    assert isinstance(found, Refusal) and found.status == 400


def test_head_has_no_body() -> None:
    found = parse(b"HEAD / HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
    assert isinstance(found, Refusal) and found.status == 400
    assert isinstance(parse(b"HEAD / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), Head)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    parse(data + b"\r\n\r\n")


def test_headers_are_found_by_any_case_and_joined() -> None:
    headers = Headers(
        ["Host:a\r", "X-One: 1 \r", "x-one:\t2\r", "Cookie: a=1\r", "Cookie: b=2\r", "Content-Type: t"]
    )
    assert headers.status == ""
    assert headers.get("HOST") == headers.getheader("host") == "a"
    assert headers.get("x-one") == "1,2"
    assert headers.get("cookie") == "a=1; b=2"
    assert headers.get("none", "default") == "default"
    assert headers.typeheader == "t"
    assert headers.headers[:2] == ["Host:a", "X-One: 1 "]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        pytest.param(["Host a"], "malformed", id="no colon"),
        pytest.param(["Host : a"], "malformed", id="space before the colon"),
        pytest.param([": a"], "malformed", id="no name"),
        pytest.param(["X: a", " b"], "malformed", id="folded line"),
        pytest.param(["X: a\0b"], "malformed", id="NUL"),
        pytest.param(["X: a\rY: b"], "malformed", id="bare CR"),
        pytest.param(["X: " + "a" * MAX_LINE_BYTES], "too long", id="long line"),
        pytest.param(["X: a"] * (MAX_HEADERS + 1), "more than 100", id="too many"),
        pytest.param(["Host: a", "Host: a"], "more than one Host", id="two hosts"),
        pytest.param(["Content-Length: 1", "content-length: 1"], "more than one", id="two lengths"),
        pytest.param(["Content-Length: 1", "Transfer-Encoding: chunked"], "both", id="length and chunks"),
        pytest.param(["Transfer-Encoding: gzip, chunked"], "other than chunked", id="other coding"),
        pytest.param(["Content-Length: +1"], "no number", id="signed length"),
        pytest.param(["Content-Length: 1_0"], "no number", id="underscored length"),
        pytest.param(["Content-Length: \xb2"], "no number", id="superscript length"),
    ],
)
def test_doubtful_headers_are_refused(lines: list[str], why: str) -> None:
    assert why in Headers([f"{line}\r" for line in lines]).status
