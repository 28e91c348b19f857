"""Engine.IO over both transports, as `engineio_echo` serves it: it says back what it hears."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from tests.support.engineio import POLLING, WEBSOCKET, Line, Polled, ask, hear, hear_end, socket
from tests.support.pressing import Pressing
from tests.support.processes import Service, running
from tests.support.waiting import DEADLINE_S, wait_for

TRANSPORT, SESSION, METHOD, REQUEST, REVISION = 0, 1, 2, 3, 5  # numbers of errors
LONG, SHORT = "60", "0.1"

Serve = Callable[[str, str], str]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """The URL of one with these times, of which there is one each; no traceback may be in its log."""
    with ExitStack() as stack:
        known: dict[tuple[str, str], Service] = {}

        def start(interval_s: str, timeout_s: str) -> str:
            if (service := known.get((interval_s, timeout_s))) is None:
                args = ["-m", "tests.conformance.engineio_echo"]
                args += ["--ping-interval-s", interval_s, "--ping-timeout-s", timeout_s]
                folder = tmp_path_factory.mktemp("engineio")
                service = known[interval_s, timeout_s] = Service("engineio_echo", args, {}, folder)
                stack.enter_context(running(service))
            return service.address["url"] + "/engine.io/"

        yield start
        for service in known.values():
            assert "Traceback" not in service.stderr()


@pytest.fixture
def url(serve: Serve) -> str:
    """Of one that has time."""
    return serve(LONG, LONG)


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


# Messages


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


# Upgrades


def test_a_websocket_takes_over(url: str) -> None:
    session = Polled(url)
    session.post("4before")
    with session.socket() as found:
        found.send("2probe")
        assert hear(found) == "3probe"
        assert session.poll().text in ("4before", "4before\x1e6")
        # While it takes over, no poll is held.
        assert session.poll().text == "6"
        session.post("4while")
        found.send("5")
        found.send("4after")
        assert [hear(found), hear(found)] == ["4while", "4after"]


def test_a_poll_that_waits_is_let_go_for_an_upgrade(url: str) -> None:
    session = Polled(url)
    with session.socket() as found, session.polling() as waiting:
        found.send("2probe")
        assert hear(found) == "3probe"
        assert waiting.answer().text == "6"


def test_who_upgrades_without_a_word_in_between_has_upgraded(url: str) -> None:
    session = Polled(url)
    with session.socket() as found:
        found.send("2probe")
        found.send("5")
        assert session.poll().code == SESSION
        found.send("4hello")
        assert [hear(found), hear(found)] == ["3probe", "4hello"]


def test_after_an_upgrade_others_are_refused_and_the_session_goes_on(url: str) -> None:
    session = Polled(url)
    with session.socket() as found:
        found.send("2probe")
        assert hear(found) == "3probe"
        found.send("5")
        for _ in range(2):
            assert session.poll().code == SESSION
            assert session.post("4a").code == SESSION
            with session.socket() as other:
                assert hear_end(other) == ([], 1008)
        found.send("4hello")
        assert hear(found) == "4hello"


def test_a_second_websocket_is_refused_while_the_first_is_on_its_way(url: str) -> None:
    session = Polled(url)
    with session.socket() as found:
        with session.socket() as other:
            assert hear_end(other) == ([], 1008)
        found.send("2probe")
        assert hear(found) == "3probe"
        found.send("5")
        found.send("4hello")
        assert hear(found) == "4hello"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(["5"], id="no probe"),
        pytest.param(["2"], id="a ping that is none"),
        pytest.param(["2probe", "2probe"], id="two probes"),
        pytest.param(["4hello"], id="a message"),
        pytest.param(["abc"], id="no packet"),
        pytest.param(["2probe", "abc"], id="no packet behind a probe"),
    ],
)
def test_a_failed_upgrade_leaves_the_session_to_its_polls(url: str, said: list[str]) -> None:
    session = Polled(url)
    with session.socket() as found:
        for packet in said:
            found.send(packet)
        with pytest.raises(ConnectionClosed):
            while hear(found) == "3probe":
                pass
    session.post("4hello")
    assert session.poll().text == "4hello"
    with session.socket() as again:
        again.send("2probe")
        assert hear(again) == "3probe"


def test_a_websocket_that_goes_leaves_the_session_to_its_polls(url: str) -> None:
    session = Polled(url)
    with session.socket() as found:
        found.send("2probe")
        assert hear(found) == "3probe"
    session.post("4hello")
    wait_for(lambda: session.poll().text != "6", what="polls that say something")


def test_what_comes_behind_a_bad_packet_of_an_upgrade_is_nothing(url: str) -> None:
    session = Polled(url)
    with session.socket() as found:
        bad = [Frame(Opcode.TEXT, b"abc"), Frame(Opcode.TEXT, b"4a"), Frame(Opcode.CONT, b"b")]
        found.socket.sendall(b"".join(frame.serialize(mask=True) for frame in bad))
        hear_end(found)
    session.post("4hello")
    assert session.poll().text == "4hello"


def test_pings_of_websocket_are_answered_there_during_an_upgrade(url: str) -> None:
    session = Polled(url)
    with session.socket() as found, session.polling() as waiting:
        assert found.ping(b"a").wait(DEADLINE_S)
        session.post("4hello")
        assert waiting.answer().text == "4hello"
        found.send("2probe")
        assert hear(found) == "3probe"
        assert found.ping(b"b").wait(DEADLINE_S)
        found.send("5")
        assert found.ping(b"c").wait(DEADLINE_S)


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
