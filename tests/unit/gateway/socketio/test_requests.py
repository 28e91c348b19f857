"""Heads of requests, and what they are for or why they are refused."""

from __future__ import annotations

import json

import pytest

from gateway.socketio.engine import Over
from gateway.socketio.requests import FIELDS_MAX, Fault, Wanted, examine, shared
from gateway.upgrade import Refusal

POLL, SOCKET = "EIO=4&transport=polling", "EIO=4&transport=websocket"
PAGE = "https://page.example"


def examined(
    method: str = "GET", query: str = POLL, over: Over = Over.POLLING, **headers: str
) -> Wanted | Refusal:
    return examine(method, query, {"host": "here:8000", **headers}.get, {PAGE}, over)


@pytest.mark.parametrize(
    ("method", "query", "over", "sid"),
    [
        pytest.param("GET", POLL, Over.POLLING, None, id="a new session by polling"),
        pytest.param("GET", SOCKET, Over.WEBSOCKET, None, id="and by a WebSocket"),
        pytest.param("GET", f"{POLL}&sid=00.a", Over.POLLING, "00.a", id="a poll"),
        pytest.param("POST", f"{POLL}&sid=00.a", Over.POLLING, "00.a", id="a post"),
        pytest.param("GET", f"{SOCKET}&sid=00.a", Over.WEBSOCKET, "00.a", id="an upgrade"),
        pytest.param("GET", f"t=x&{POLL}&topic=a&topic=b", Over.POLLING, None, id="with what is others'"),
        pytest.param("GET", "EIO=%34&transport=pol%6cing", Over.POLLING, None, id="with percent signs"),
    ],
)
def test_what_is_sound(method: str, query: str, over: Over, sid: str | None) -> None:
    assert examined(method, query, over) == Wanted(sid, query, {"Vary": "Origin"})


@pytest.mark.parametrize(
    ("method", "query", "over", "fault"),
    [
        pytest.param("GET", "", Over.POLLING, Fault.TRANSPORT, id="nothing"),
        pytest.param("GET", "EIO=4", Over.POLLING, Fault.TRANSPORT, id="no transport"),
        pytest.param("GET", "EIO=4&transport=", Over.POLLING, Fault.TRANSPORT, id="an empty one"),
        pytest.param("GET", "EIO=4&transport=abc", Over.POLLING, Fault.TRANSPORT, id="an unknown one"),
        pytest.param("GET", SOCKET, Over.POLLING, Fault.TRANSPORT, id="a WebSocket that is none"),
        pytest.param("GET", POLL, Over.WEBSOCKET, Fault.TRANSPORT, id="a WebSocket that would poll"),
        pytest.param("GET", "transport=polling", Over.POLLING, Fault.REVISION, id="no revision"),
        pytest.param("GET", POLL.replace("4", "3"), Over.POLLING, Fault.REVISION, id="an older one"),
        pytest.param("GET", POLL.replace("4", "\u0664"), Over.POLLING, Fault.REVISION, id="another script"),
        pytest.param("POST", POLL, Over.POLLING, Fault.METHOD, id="a post to nobody"),
        pytest.param("PUT", f"{POLL}&sid=00.a", Over.POLLING, Fault.METHOD, id="a put"),
        pytest.param("HEAD", f"{POLL}&sid=00.a", Over.POLLING, Fault.METHOD, id="a head"),
        pytest.param("GET", f"{POLL}&sid=%ff", Over.POLLING, Fault.REQUEST, id="no UTF-8"),
        pytest.param("GET", POLL + "&a=1" * FIELDS_MAX, Over.POLLING, Fault.REQUEST, id="too many fields"),
    ],
)
def test_what_is_refused(method: str, query: str, over: Over, fault: Fault) -> None:
    found = examined(method, query, over)
    assert isinstance(found, Refusal) and found.body is not None
    told = json.loads(found.body)
    assert (found.status, told["code"], told["message"]) == (400, fault, found.message)


@pytest.mark.parametrize(
    ("origin", "is_let_in"),
    [(PAGE, True), (PAGE.upper(), True), ("http://here:8000", True), ("https://page.example:81", False)],
)
def test_pages(origin: str, is_let_in: bool) -> None:
    found = examined(origin=origin)
    if is_let_in:
        assert isinstance(found, Wanted)
        assert found.headers == shared(origin)
        assert found.headers["Access-Control-Allow-Origin"] == origin
        refused = examined(query="EIO=4", origin=origin)
        assert refused.headers == shared(origin)  # the page may read why
    else:
        assert isinstance(found, Refusal) and found.body is not None
        assert (found.status, json.loads(found.body)["code"]) == (403, Fault.FORBIDDEN)
        assert "Access-Control-Allow-Origin" not in found.headers


def test_a_foreign_page_hears_nothing_of_sessions() -> None:
    """Not even whether there is one, or what else is wrong."""
    refusals = [examined(query=query, origin="null") for query in (POLL, "", f"{POLL}&sid=00.a")]
    assert len({each.status for each in refusals if isinstance(each, Refusal)}) == 1
    assert len({each.body for each in refusals if isinstance(each, Refusal)}) == 1
