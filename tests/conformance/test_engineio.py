"""Sessions of Engine.IO over both transports: how they begin, live, and end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from tests.support.engineio import (
    METHOD,
    POLLING,
    REQUEST,
    REVISION,
    SESSION,
    TRANSPORT,
    WEBSOCKET,
    Polled,
    ask,
    hear,
    hear_end,
    socket,
)
from tests.support.pressing import Pressing
from tests.support.waiting import DEADLINE_S, wait_for

LONG, SHORT = "60", "0.1"

Serve = Callable[[str, str], str]


# Handshakes


def test_it_begins_by_polling(url: str) -> None:
    session = Polled(url)
    upgrades = {"upgrades": ["websocket"]}
    times = {"pingInterval": 60_000, "pingTimeout": 60_000, "maxPayload": 1_000_000}
    assert session.hello == {"sid": session.sid, **upgrades, **times}
    assert session.opening.packets == [session.opening.text]


def test_it_begins_with_a_websocket(url: str) -> None:
    with socket(url) as found:
        hello = hear(found)
        assert isinstance(hello, str) and hello.startswith('0{"sid":"00.')
        assert '"upgrades":[]' in hello


def test_no_two_sessions_have_one_sid(url: str) -> None:
    assert len({Polled(url).sid for _ in range(20)}) == 20


BAD = [
    pytest.param("transport=polling", "GET", REVISION, id="no revision"),
    pytest.param("EIO=abc&transport=polling", "GET", REVISION, id="no number"),
    pytest.param("EIO=3&transport=polling", "GET", REVISION, id="an older one"),
    pytest.param("EIO=4", "GET", TRANSPORT, id="no transport"),
    pytest.param("EIO=4&transport=abc", "GET", TRANSPORT, id="an unknown transport"),
    pytest.param("EIO=4&transport=websocket", "GET", TRANSPORT, id="a WebSocket without an upgrade"),
    pytest.param(POLLING, "POST", METHOD, id="a post without a session"),
    pytest.param(POLLING, "PUT", METHOD, id="a put"),
    pytest.param(f"{POLLING}&sid=00.none", "GET", SESSION, id="no session"),
    pytest.param(f"{POLLING}&sid=00.none", "POST", SESSION, id="no session for a post"),
    pytest.param(f"{POLLING}&sid=", "POST", SESSION, id="an empty sid"),
]


@pytest.mark.parametrize(("query", "method", "code"), BAD)
def test_a_request_that_is_none_is_refused(url: str, query: str, method: str, code: int) -> None:
    answer = ask(url, query, "" if method == "POST" else None, method)
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(WEBSOCKET.replace("4", "3"), id="an older revision"),
        pytest.param("EIO=4&transport=polling", id="another transport"),
        pytest.param("EIO=4", id="no transport"),
        pytest.param(f"{WEBSOCKET}&sid=00.none", id="no session"),
    ],
)
def test_a_websocket_that_is_none_is_refused(url: str, query: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        socket(url, query)
    assert caught.value.response.status_code == 400


def test_a_poll_has_no_body(url: str) -> None:
    session = Polled(url)
    assert ask(url, session.query, "GET / HTTP/1.1\r\n\r\n", "GET").status == 400
    assert session.post("4a").status == 200
    assert ask(url, session.query, "", "GET").text == "4a"


def test_the_path_may_be_without_its_last_slash(url: str) -> None:
    assert Polled(url.rstrip("/")).hello["upgrades"] == ["websocket"]


# Heartbeats


def test_pings_are_answered_by_polling(serve: Serve) -> None:
    session = Polled(serve(SHORT, LONG))
    for _ in range(3):
        assert session.poll().text == "2"
        assert session.post("3").status == 200


def test_pings_are_answered_over_a_websocket(serve: Serve) -> None:
    with socket(serve(SHORT, LONG)) as found:
        hear(found)
        for _ in range(3):
            assert found.recv(DEADLINE_S) == "2"
            found.send("3")


def await_end(session: Polled) -> None:
    """It answers no ping."""
    wait_for(lambda: session.poll().status == 400, what="its end")


def test_who_answers_no_ping_has_no_session_any_more(serve: Serve) -> None:
    await_end(Polled(serve(SHORT, SHORT)))


def test_a_poll_that_waits_hears_the_ping_and_the_end(serve: Serve) -> None:
    session = Polled(serve("0.1", "1"))
    heard = []
    while (answer := session.poll()).status == 200:
        heard += answer.packets
    assert heard == ["2", "1"]


def test_a_websocket_that_answers_no_ping_is_closed(serve: Serve) -> None:
    with socket(serve(SHORT, SHORT)) as found:
        heard, code = hear_end(found)
    assert (heard[1:], code) == (["2"], 1000)


def test_pongs_that_nobody_asked_for_are_nothing(url: str) -> None:
    session = Polled(url)
    for _ in range(3):
        assert session.post("3\x1e3\x1e4hello").status == 200
        assert session.poll().text == "4hello"


def test_who_reads_slowly_is_not_taken_for_dead(serve: Serve) -> None:
    """A ping that it has yet to read cannot have been answered."""
    url = serve(SHORT, "1")
    message, pong = (Frame(Opcode.TEXT, data).serialize(mask=True) for data in (b"4" + b"x" * 999, b"3"))
    with closing(Pressing(f"{url}?{WEBSOCKET}", message)) as found:
        found.press()
        await_end(Polled(url))
        awaited = found.finish() * 999
        while awaited > 0:
            data = found.read()
            assert data
            awaited -= data.count(b"x")
            found.say(pong)
    assert awaited >= -100  # what else there is has an x or two


# It ends


def test_two_polls_at_once_end_the_session(url: str) -> None:
    session = Polled(url)
    with session.polling() as waiting:
        assert session.poll().code == REQUEST
        assert waiting.answer().text == "1"
    assert session.poll().code == SESSION


def test_who_goes_while_its_poll_waits_has_no_session_any_more(url: str) -> None:
    session = Polled(url)
    with session.polling():
        pass
    # At once: whatever the loop comes to first.
    assert session.poll().code == SESSION


def test_a_poll_that_waits_is_told_of_an_end_by_a_post(url: str) -> None:
    session = Polled(url)
    with session.polling() as waiting:
        posted = session.post("1")
        assert (posted.status, posted.text) == (200, "ok")
        assert waiting.answer().text == "6"
    assert session.poll().code == SESSION


def test_it_ends_by_a_post_between_two_polls(url: str) -> None:
    session = Polled(url)
    assert session.post("1").status == 200
    assert session.poll().code == SESSION


def test_what_is_posted_behind_the_end_is_not_heard(url: str) -> None:
    session = Polled(url)
    assert session.post("1\x1e4a").status == 200
    assert session.poll().code == SESSION


def test_it_ends_over_a_websocket(url: str) -> None:
    with socket(url) as found:
        hear(found)
        found.send("1")
        assert hear_end(found) == ([], 1000)
