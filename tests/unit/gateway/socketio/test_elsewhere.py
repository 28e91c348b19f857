"""Which requests another gateway has to answer, and what pages may read where it cannot."""

from __future__ import annotations

import pytest

from gateway.head import Head, parse
from gateway.socketio.elsewhere import maybe_elsewhere, unknown_session

SECRET = "A" * 22
FOREIGN = "https://page.example"


def head(target: str, method: str = "GET", *lines: str) -> Head:
    text = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""])
    found = parse(text.encode())
    assert isinstance(found, Head)
    return found


def whose(target: str, method: str = "GET") -> str | None:
    found = maybe_elsewhere(head(target, method), "00")
    return found.owner or "nobody" if found else None


@pytest.mark.parametrize(
    ("target", "owner"),
    [
        pytest.param("/socket.io/?EIO=4&transport=polling", None, id="a new session"),
        pytest.param(f"/socket.io/?sid=00.{SECRET}", None, id="one of ours"),
        pytest.param(f"/socket.io/?sid=01.{SECRET}", "01", id="another's"),
        pytest.param(f"/socket.io?sid=01.{SECRET}", "01", id="without the slash"),
        pytest.param(f"/socket%2Eio/?sid=01.{SECRET}", "01", id="a path with percent signs"),
        pytest.param(f"/socket.io/?transport=websocket&sid=a99.{SECRET}", "a99", id="of another host"),
        pytest.param("/socket.io/?sid=made-up", "nobody", id="made up"),
        pytest.param("/socket.io/?sid=" + "9" * 8000, "nobody", id="huge"),
        pytest.param(f"/socket.io/x?sid=01.{SECRET}", None, id="below that path"),
        pytest.param(f"/ws?sid=01.{SECRET}", None, id="another path"),
    ],
)
def test_whose_a_request_is(target: str, owner: str | None) -> None:
    assert whose(target) == owner


@pytest.mark.parametrize(("method", "owner"), [("POST", "01"), ("HEAD", "01"), ("OPTIONS", None)])
def test_preflights_are_answered_anywhere(method: str, owner: str | None) -> None:
    assert whose(f"/socket.io/?sid=01.{SECRET}", method) == owner


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        pytest.param(f"Origin: {FOREIGN}", FOREIGN, id="let in"),
        pytest.param("Origin: http://localhost", "http://localhost", id="the host's own"),
        pytest.param("Origin: https://else.example", None, id="not let in"),
        pytest.param("Accept: */*", None, id="no page"),
    ],
)
def test_who_may_read_the_answer(line: str, allowed: str | None) -> None:
    refusal = unknown_session(head("/socket.io/?sid=x", "GET", line), {FOREIGN})
    assert refusal.headers.get("Access-Control-Allow-Origin") == allowed
    assert refusal.headers.get("Access-Control-Allow-Credentials") == ("true" if allowed else None)
    assert refusal.headers["Vary"] == "Origin"
    assert (refusal.status, refusal.body) == (400, b'{"code":1,"message":"Session ID unknown"}')
