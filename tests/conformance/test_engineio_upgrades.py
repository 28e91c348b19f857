"""A session of Engine.IO that polls and goes over to a WebSocket: nothing is lost, or it goes on polling."""

from __future__ import annotations

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.support.engineio import SESSION, Polled, hear, hear_end
from tests.support.waiting import DEADLINE_S, wait_for


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
