"""Requests that publish: what they are taken for, and how each fault in them is named."""

from __future__ import annotations

import pytest

from broker.wire import Content
from gateway.posting import EVENTS_MAX, LINES_MAX, Post, draft, examine, maybe_foreign, refusal, shared
from gateway.publishing import Draft, Refused
from gateway.upgrade import Refusal

MOST_BYTES = 1_000
ALLOWED = "https://pages.example.net"
HOST = {"Host": "example.org:8000"}


def examined(path: str = "a", query: str = "", **headers: str) -> Post | Refusal:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return examine(b"/api/publish/" + path.encode("utf-8", "surrogateescape"), query, named.get, MOST_BYTES)


@pytest.mark.parametrize(
    ("kind", "content", "is_batch"),
    [
        pytest.param("application/json", Content.JSON, False, id="JSON"),
        pytest.param("Application/JSON ; charset=utf-8", Content.JSON, False, id="JSON, with more to say"),
        pytest.param("application/ld+json", Content.JSON, False, id="some JSON"),
        pytest.param("text/plain", Content.TEXT, False, id="text"),
        pytest.param('text/plain; charset="UTF-8"', Content.TEXT, False, id="text, UTF-8"),
        pytest.param("text/csv;charset=us-ascii", Content.TEXT, False, id="other text"),
        pytest.param("application/octet-stream", Content.BINARY, False, id="bytes"),
        pytest.param("application/x-www-form-urlencoded", Content.UNKNOWN, False, id="what curl says"),
        pytest.param("image/png", Content.UNKNOWN, False, id="anything"),
        pytest.param("", Content.UNKNOWN, False, id="nothing"),
        pytest.param("application/x-ndjson", Content.JSON, True, id="lines of JSON"),
    ],
)
def test_the_content_type_says_what_the_body_is(kind: str, content: Content, is_batch: bool) -> None:
    assert examined(Content_Type=kind) == Post("a", content, is_batch, None)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        pytest.param("k", "k", id="bare"),
        pytest.param('"k"', "k", id="in quotes"),
        pytest.param(r'"a\"b\\c"', r'a"b\c', id="escaped"),
        pytest.param("a" * 255, "a" * 255, id="as long as may be"),
        pytest.param("", None, id="empty"),
        pytest.param('""', None, id="empty, in quotes"),
        pytest.param("a" * 256, None, id="too long"),
        pytest.param("a b", None, id="a space"),
        pytest.param("\xfc", None, id="not ASCII"),
        pytest.param('"k', None, id="half in quotes"),
        pytest.param('"k","l"', None, id="given twice"),
        pytest.param(r'"a\b"', None, id="an escape that is none"),
    ],
)
def test_a_key_is_visible_ascii_perhaps_in_quotes(value: str, key: str | None) -> None:
    found = examined(Idempotency_Key=value)
    if key is not None:
        assert found == Post("a", Content.UNKNOWN, False, key)
    else:
        assert isinstance(found, Refusal) and (found.status, found.code) == (400, "bad_key")


@pytest.mark.parametrize(
    ("path", "query", "headers", "status", "code", "named"),
    [
        pytest.param("a/", "", {}, 400, "bad_topic", "empty segment", id="an empty segment"),
        pytest.param("a/../b", "", {}, 400, "bad_topic", "'..'", id="dots"),
        pytest.param("a/*", "", {}, 400, "bad_topic", "'*'", id="a pattern"),
        pytest.param("\udcff", "", {}, 400, "bad_topic", "not UTF-8", id="not UTF-8"),
        pytest.param("a" * 256, "", {}, 400, "bad_topic", "255", id="long"),
        pytest.param("a", "key=k", {}, 400, "bad_parameter", "'key=k'", id="a query"),
        pytest.param("a", "", {"Content_Length": "1001"}, 413, "payload_too_large", "1000", id="too large"),
        pytest.param("a", "", {"Content_Type": "multipart/form-data; boundary=x"}, 415, "bad_content_type",
                     "--data-binary", id="a form with parts"),
        pytest.param("a", "", {"Content_Type": "text/plain; charset=latin-1"}, 415, "bad_content_type",
                     "want UTF-8, not 'latin-1'", id="another charset"),
        pytest.param("a", "", {"Content_Encoding": "gzip"}, 415, "bad_content_type", "'gzip'", id="packed"),
    ],
)  # fmt: skip
def test_a_bad_head_is_named(
    path: str, query: str, headers: dict[str, str], status: int, code: str, named: str
) -> None:
    found = examined(path, query, **headers)
    assert isinstance(found, Refusal)
    assert (found.status, found.code) == (status, code)
    assert named in found.message


def test_a_sound_head_of_the_largest_size_is_taken() -> None:
    found = examined("ü/x", Content_Length="1000", Content_Encoding="identity")
    assert found == Post("ü/x", Content.UNKNOWN, False, None)


def drafted(body: bytes, content: Content = Content.JSON, is_batch: bool = False) -> Draft | Refusal:
    return draft(Post("a", content, is_batch, "k"), body)


@pytest.mark.parametrize(
    ("content", "body"),
    [
        pytest.param(Content.JSON, b' {"v":\n1.00} ', id="JSON, as it is written"),
        pytest.param(Content.JSON, b"[" * 64 + b"]" * 64, id="JSON as deep as may be"),
        pytest.param(Content.TEXT, "ü".encode(), id="text"),
        pytest.param(Content.TEXT, b"", id="no text"),
        pytest.param(Content.BINARY, b"{}", id="bytes that could be JSON"),
        pytest.param(Content.UNKNOWN, b"\xff", id="anything"),
    ],
)
def test_the_body_is_the_payload(content: Content, body: bytes) -> None:
    assert drafted(body, content) == Draft("a", [(body, content)], "k")


@pytest.mark.parametrize(
    ("content", "body", "named"),
    [
        pytest.param(Content.JSON, b"{", "not JSON", id="half an object"),
        pytest.param(Content.JSON, b"", "not JSON", id="nothing"),
        pytest.param(Content.JSON, b"NaN", "not JSON", id="NaN"),
        pytest.param(Content.JSON, b'"\xff"', "not JSON", id="JSON that is not UTF-8"),
        pytest.param(Content.JSON, b"[" * 65 + b"]" * 65, "deeper than 64", id="deep"),
        pytest.param(Content.JSON, b"[" * 100_000, "not JSON", id="deeper than the parser goes"),
        pytest.param(Content.TEXT, b"ab\xff", "at byte 2", id="text that is not UTF-8"),
    ],
)
def test_a_body_that_is_not_what_it_is_said_to_be_is_named(content: Content, body: bytes, named: str) -> None:
    found = drafted(body, content)
    assert isinstance(found, Refusal)
    assert (found.status, found.code) == (400, "bad_payload")
    assert named in found.message


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        pytest.param(b'{"v": 1}\n2\n', [b'{"v": 1}', b"2"], id="two"),
        pytest.param(b"1\n2", [b"1", b"2"], id="no end of line at the end"),
        pytest.param(b"\r\n1\r\n \n\n2\r\n", [b"1", b"2"], id="empty lines"),
        pytest.param(b"1\n" * EVENTS_MAX + b"\n" * EVENTS_MAX, [b"1"] * EVENTS_MAX, id="as many as may be"),
    ],
)
def test_each_line_of_a_batch_is_an_event(body: bytes, lines: list[bytes]) -> None:
    found = drafted(body, is_batch=True)
    assert found == Draft("a", [(line, Content.JSON) for line in lines], "k")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(b"1\n\n{\n3", "line 3: not JSON", id="a bad line"),
        pytest.param(b"", "no event in it", id="nothing"),
        pytest.param(b"\n\n", "no event in it", id="only empty lines"),
        pytest.param(b"1\n" * (EVENTS_MAX + 1), f"more than {EVENTS_MAX} events", id="too many events"),
        pytest.param(b"\n" * 1_000_000, f"more than {LINES_MAX} lines", id="too many lines"),
    ],
)
def test_a_bad_batch_is_named(body: bytes, named: str) -> None:
    found = drafted(body, is_batch=True)
    assert isinstance(found, Refusal)
    assert (found.status, found.code) == (400, "bad_payload")
    assert named in found.message


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        pytest.param(HOST, False, id="no page"),
        pytest.param({**HOST, "Origin": "http://example.org:8000"}, False, id="same host"),
        pytest.param({**HOST, "Origin": ALLOWED}, False, id="on the list"),
        pytest.param({**HOST, "Origin": "http://evil.example"}, True, id="foreign"),
        pytest.param({**HOST, "Origin": "null"}, True, id="a sandboxed page"),
        pytest.param({"Origin": ""}, True, id="neither host nor origin"),
    ],
)
def test_foreign_pages_are_refused(headers: dict[str, str], is_foreign: bool) -> None:
    found = maybe_foreign(headers.get, {ALLOWED})
    assert (found is not None) == is_foreign
    assert found is None or (found.status, found.code) == (403, "foreign_origin")


def test_pages_that_are_let_in_may_read_the_answer() -> None:
    assert shared({"Origin": ALLOWED}.get)["Access-Control-Allow-Origin"] == ALLOWED
    assert shared(HOST.get) == {"Vary": "Origin"}


@pytest.mark.parametrize(
    ("code", "status", "told", "again"),
    [
        ("unknown", 504, "unknown", False),
        ("unavailable", 503, "unavailable", True),
        ("limit", 503, "too_many_publishes", True),
        ("conflict", 409, "conflict", False),
        ("forbidden", 403, "forbidden", False),
        ("bad_topic", 400, "bad_topic", False),
        ("payload_too_large", 413, "payload_too_large", False),
        ("bad_request", 502, "bad_request", False),
    ],
)
def test_what_became_of_it_has_its_status(code: str, status: int, told: str, again: bool) -> None:
    found = refusal(Refused(code, "why"))
    assert (found.status, found.code, found.message) == (status, told, "why")
    assert ("Retry-After" in found.headers) == again
