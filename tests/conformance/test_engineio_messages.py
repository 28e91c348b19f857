"""What Engine.IO carries over both transports: whole, in order, as much as may be, or not at all."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from tests.support.engineio import REQUEST, SESSION, Line, Polled, ask, hear, hear_end, socket


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("4hello", id="text"),
        pytest.param("4", id="an empty one"),
        pytest.param("4ä€🎈\u2028", id="of any script"),
        pytest.param("4one\x1e4two\x1e4three", id="several"),
        pytest.param("bAQIDBA==", id="bytes"),
        pytest.param("b", id="no bytes"),
        pytest.param("4text\x1ebAQIDBA==\x1e4text", id="both"),
        pytest.param("4" + "x" * 999_999, id="as large as may be"),
        pytest.param("\x1e".join(f"4{number}" for number in range(1_000)), id="as many as may be"),
    ],
)
def test_what_is_posted_is_polled(url: str, payload: str) -> None:
    session = Polled(url)
    posted = session.post(payload)
    assert (posted.status, posted.text) == (200, "ok")
    heard = ""
    while len(heard) < len(payload):
        answer = session.poll()
        assert answer.status == 200
        heard += ("\x1e" if heard else "") + answer.text
    assert heard == payload


def test_a_poll_waits_for_something_to_say(url: str) -> None:
    session = Polled(url)
    with session.polling() as waiting:
        assert session.post("4hello").status == 200
        assert waiting.answer().text == "4hello"


def test_a_connection_bears_one_poll_after_the_other(url: str) -> None:
    session = Polled(url)
    with closing(Line(url)) as line:
        for number in range(5):
            line.ask(session.query, f"4{number}")
            assert line.answer().text == "ok"
            line.ask(session.query)
            answer = line.answer()
            assert answer.text == f"4{number}"
            assert "connection" not in answer.headers


def test_who_wants_its_connection_closed_is_told_that_it_is(url: str) -> None:
    session = Polled(url)
    session.post("4hello")
    answer = ask(url, session.query, headers={"Connection": "close"})
    assert (answer.text, answer.headers["connection"]) == ("4hello", "close")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("4hello", id="text"),
        pytest.param(b"\x01\x02\x03\x04", id="bytes"),
        pytest.param(b"", id="no bytes"),
        pytest.param("4" + "x" * 999_999, id="as large as may be"),
    ],
)
def test_what_is_sent_comes_back(url: str, message: str | bytes) -> None:
    with socket(url) as found:
        hear(found)
        found.send(message)
        assert hear(found) == message


BAD_PACKETS = [
    pytest.param("abc", id="no packet"),
    pytest.param("", id="nothing"),
    pytest.param("7", id="an unknown type"),
    pytest.param("0{}", id="open"),
    pytest.param("2", id="a ping"),
    pytest.param("2probe", id="a probe"),
    pytest.param("5", id="an upgrade"),
    pytest.param("6", id="a noop"),
    pytest.param("b****", id="no base64"),
]


@pytest.mark.parametrize("packet", BAD_PACKETS)
def test_a_bad_packet_in_a_post_ends_the_session(url: str, packet: str) -> None:
    session = Polled(url)
    answer = session.post(packet)
    assert (answer.status, answer.code) == (400, REQUEST)
    assert session.poll().code == SESSION
    assert session.post("4a").code == SESSION


@pytest.mark.parametrize("packet", BAD_PACKETS)
def test_a_bad_packet_ends_a_websocket(url: str, packet: str) -> None:
    with socket(url) as found:
        hear(found)
        found.send(packet)
        assert hear_end(found) == ([], 1002)


# Many


def test_requests_right_behind_a_poll_are_answered_one_after_the_other(url: str) -> None:
    session = Polled(url)
    with session.socket() as found, closing(Line(url)) as line:
        found.send("2probe")
        assert hear(found) == "3probe"
        line.send(line.request(session.query) * 500)  # none is held
        assert [line.answer().text for _ in range(500)] == ["6"] * 500


def test_what_waits_for_a_poll_is_bounded(url: str) -> None:
    """Whoever only posts is slowed down until it polls."""
    session = Polled(url)
    with closing(Line(url)) as line:
        session.post("\x1e".join(["4x"] * 100))
        line.ask(session.query, "4last")
        heard: list[str] = []
        while len(heard) < 101:
            heard += session.poll().packets
        assert line.answer().text == "ok"
    assert heard == ["4x"] * 100 + ["4last"]


def test_many_sessions_at_once(url: str) -> None:
    failed: list[object] = []

    def live() -> None:
        session = Polled(url)
        for number in range(10):
            with session.polling() as waiting:
                posted = session.post(f"4{number}")
                if (posted.text, waiting.answer().text) != ("ok", f"4{number}"):
                    failed.append(number)

    threads = [threading.Thread(target=live) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
