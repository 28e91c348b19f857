"""Requests for an event stream: what they ask for, what is refused, and with which answer."""

from __future__ import annotations

import pytest

from broker.topics import Pattern
from broker.wire import Position
from gateway.opening import NOWHERE, PREFLIGHT, Opening, Preflight, examine
from gateway.protocol import Subscribe
from gateway.upgrade import Refusal

HOST = {"host": "example.org:8000"}
ALLOWED = "https://pages.example.net"
HERE = "9f3c2a7be1d04c11.12"
THERE = "9f3c2a7be1d04c11.15"


def examined(
    query: str = "topic=a", headers: dict[str, str] = HOST, method: str = "GET", version: str = "HTTP/1.1"
) -> Opening | Preflight | Refusal:
    return examine(
        method=method,
        version=version,
        query=query,
        get=headers.get,
        origins=frozenset({ALLOWED}),
        history_max=100,
        subscriptions_max=3,
    )


def follow(*patterns: str, history: int = 0, since: Position | None = None) -> Subscribe:
    return Subscribe(0, frozenset(map(Pattern, patterns)), history, since)


@pytest.mark.parametrize(
    ("query", "last_event_id", "wanted"),
    [
        pytest.param("topic=a", None, follow("a"), id="one topic"),
        pytest.param(
            "topic=a&topic=b/**&topic=a", None, follow("a", "b/**"), id="several, one of them twice"
        ),
        pytest.param("topic=%C3%BC/x", None, follow("ü/x"), id="not ASCII"),
        pytest.param("topic=a&history=100", None, follow("a", history=100), id="history"),
        pytest.param(f"topic=a&since={HERE}", None, follow("a", since=Position.parse(HERE)), id="since"),
        pytest.param("topic=a&history=5", "", follow("a", history=5), id="an empty Last-Event-ID is none"),
        pytest.param(
            "topic=a&history=5", THERE, follow("a", since=Position.parse(THERE)), id="comes back with history"
        ),
        pytest.param(
            f"topic=a&since={HERE}",
            THERE,
            follow("a", since=Position.parse(THERE)),
            id="comes back with since",
        ),
        pytest.param("topic=a", "12", follow("a", since=NOWHERE), id="an id of somebody else"),
    ],
)
def test_what_is_asked_for(query: str, last_event_id: str | None, wanted: Subscribe) -> None:
    headers = HOST if last_event_id is None else {**HOST, "last-event-id": last_event_id}
    assert examined(query, headers) == Opening(wanted, {"Vary": "Origin"})


@pytest.mark.parametrize(
    ("query", "status", "code", "named"),
    [
        pytest.param("", 400, "bad_parameter", "'topic': missing", id="no topic"),
        pytest.param("topic=", 400, "bad_pattern", "'topic'", id="an empty one"),
        pytest.param("topic=a&topic=b/**/c", 400, "bad_pattern", "'b/**/c'", id="no pattern"),
        pytest.param("topic=%ff", 400, "bad_parameter", "UTF-8", id="not UTF-8"),
        pytest.param("topic=a&topic=$broker/beat", 403, "forbidden", "'$broker/beat'", id="the system's own"),
        pytest.param("topic=a&topic=b&topic=c&topic=d", 400, "bad_parameter", "at most 3", id="too many"),
        pytest.param("topic=a&history=101", 400, "bad_parameter", "'history'", id="too much history"),
        pytest.param("topic=a&history=-1", 400, "bad_parameter", "from 0 to 100", id="negative history"),
        pytest.param("topic=a&history=", 400, "bad_parameter", "'history'", id="history of nothing"),
        pytest.param(
            "topic=a&history=1&history=2", 400, "bad_parameter", "more than once", id="history twice"
        ),
        pytest.param("topic=a&since=12", 400, "bad_parameter", "'since'", id="since without an epoch"),
        pytest.param(f"topic=a&since={HERE}&history=1", 400, "bad_parameter", "excludes", id="both"),
        pytest.param("topic=a&delivery=some", 400, "bad_parameter", "'delivery'", id="unknown delivery"),
        pytest.param("topic=a&delivery=hz:7", 400, "bad_parameter", "1, 2, 5, 10", id="another rate"),
        pytest.param("topic=a&delivery={", 400, "bad_parameter", "'delivery'", id="a delivery in half"),
        pytest.param("topic=a&name=b", 400, "bad_parameter", "'name'", id="unknown parameter"),
    ],
)
def test_a_bad_query_is_named(query: str, status: int, code: str, named: str) -> None:
    refusal = examined(query)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (status, code)
    assert named in refusal.message


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        pytest.param(HOST, None, id="no page, or of the same origin"),
        pytest.param(
            {**HOST, "origin": "http://example.org:8000"}, "http://example.org:8000", id="same host"
        ),
        pytest.param({**HOST, "origin": ALLOWED}, ALLOWED, id="on the list"),
    ],
)
def test_pages_that_are_let_in_are_told_so(headers: dict[str, str], allowed: str | None) -> None:
    opening, refused = examined(headers=headers), examined("", headers=headers)
    asked = examined("", headers=headers, method="OPTIONS")
    shared = {"Vary": "Origin"} | ({"Access-Control-Allow-Origin": allowed} if allowed else {})
    assert isinstance(opening, Opening) and opening.headers == shared
    assert isinstance(refused, Refusal) and refused.headers == shared
    assert asked == Preflight({**shared, **PREFLIGHT})


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize(
    ("headers", "version"),
    [
        pytest.param({**HOST, "origin": "http://evil.example"}, "HTTP/1.1", id="foreign"),
        pytest.param({**HOST, "origin": "null"}, "HTTP/1.1", id="a sandboxed page"),
        pytest.param({"origin": ""}, "HTTP/1.0", id="neither host nor origin"),
    ],
)
def test_other_pages_are_refused(headers: dict[str, str], version: str, method: str) -> None:
    refusal = examined(headers=headers, version=version, method=method)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (403, "foreign_origin")


@pytest.mark.parametrize(
    ("headers", "method", "version", "status"),
    [
        pytest.param(HOST, "POST", "HTTP/1.1", 405, id="POST"),
        pytest.param(HOST, "HEAD", "HTTP/1.1", 405, id="HEAD"),
        pytest.param({**HOST, "content-length": "3"}, "GET", "HTTP/1.1", 400, id="a body"),
        pytest.param({**HOST, "transfer-encoding": "chunked"}, "GET", "HTTP/1.1", 400, id="a chunked body"),
        pytest.param({}, "GET", "HTTP/1.1", 400, id="no Host"),
    ],
)
def test_what_is_no_plain_get_is_refused(
    headers: dict[str, str], method: str, version: str, status: int
) -> None:
    refusal = examined(headers=headers, method=method, version=version)
    assert isinstance(refusal, Refusal) and refusal.status == status


def test_a_proxy_may_speak_the_older_http() -> None:
    assert isinstance(examined(headers={}, version="HTTP/1.0"), Opening)
