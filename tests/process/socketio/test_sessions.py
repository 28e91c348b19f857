"""Sessions of Socket.IO at a running gateway: nobody else's, ended for good, and no more than may be."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests.support.engineio import FORBIDDEN, POLLING, REQUEST, SESSION, Polled, ask, hear, hear_end
from tests.support.namespace import await_packet, hear_until, joined, polled, said
from tests.support.processes import Broker, Gateway
from tests.support.processes import gateway as running_gateway
from tests.support.waiting import DEADLINE_S

pytestmark = pytest.mark.usefixtures("others")

# Whose session it is (S8)


def test_a_second_poll_is_refused_and_the_session_goes_on(url: str) -> None:
    session = polled(url)
    with session.polling() as waiting:
        for _ in range(3):
            answer = session.poll()
            assert (answer.status, answer.code) == (400, REQUEST)
        assert session.post('421["subscribe","room/two"]').status == 200
        assert waiting.answer().status == 200
    assert session.post('422["unsubscribe","room/two"]').status == 200
    await_packet(session, "432[")


def test_nothing_is_heard_of_a_session_that_has_ended(url: str) -> None:
    session = polled(url)
    assert session.post("1").status == 200
    for answer in (session.poll(), session.post("3"), session.post("42")):
        assert (answer.status, answer.code) == (400, SESSION)


def test_a_sid_cannot_be_guessed_and_is_not_logged(gateway: Gateway, url: str) -> None:
    session = polled(url)
    id, _, secret = session.sid.partition(".")
    assert (id, len(secret)) == ("00", 22)  # of 6 bits each
    for guess in (f"{id}.{secret[:-1]}A", f"{id}.{'A' * 22}", secret, f"{id}.", f"{id}.{secret.swapcase()}"):
        if guess == session.sid:
            continue
        query = f"{POLLING}&sid={guess}"
        assert ask(url, query).code == SESSION
        assert ask(url, query, "1").code == SESSION
        assert ask(url, query, "abc").code == SESSION
    session.post('421["subscribe","room/mine"]')
    await_packet(session, "431[")
    session.post("abc")
    assert secret not in gateway.stderr()


def test_a_foreign_page_hears_nothing_and_is_not_heard(url: str) -> None:
    foreign = {"Origin": "https://elsewhere.example"}
    session = polled(url)
    for body in (None, "1", "abc"):
        answer = ask(url, session.query, body, headers=foreign)
        assert (answer.status, answer.code) == (403, FORBIDDEN)
        assert "access-control-allow-origin" not in answer.headers
    assert ask(url, POLLING, headers=foreign).status == 403
    session.post('421["subscribe","room/mine"]')
    await_packet(session, "431[")


# Sessions that ask for nothing


def test_sessions_that_are_in_no_namespace_are_limited(tmp_path: Path, broker: Broker) -> None:
    """They hold no connection, so that one address could have as many as it likes."""
    with running_gateway(tmp_path, broker, arrivals_per_address_max=5) as narrow:
        url = narrow.address["own"] + "/socket.io/"
        sessions = [Polled(url) for _ in range(4)]  # whoever asks is an arrival himself
        refused = ask(url)
        assert (refused.status, json.loads(refused.text)["error"]["code"]) == (429, "too_many_arrivals")
        assert sessions[0].post("40").status == 200
        await_packet(sessions[0], "40{")
        assert Polled(url).hello["sid"]
        assert ask(url).status == 429
        assert sessions[1].post("1").status == 200
        assert Polled(url).hello["sid"]


def test_sessions_that_poll_are_limited(tmp_path: Path, broker: Broker) -> None:
    """Once in a namespace they count as nothing else, and between two polls they hold no connection."""
    with running_gateway(tmp_path, broker, polling_sessions_per_address_max=2) as narrow:
        url = narrow.address["own"] + "/socket.io/"
        first, second = polled(url), polled(url)
        refused = ask(url)
        assert (refused.status, json.loads(refused.text)["error"]["code"]) == (429, "too_many_sessions")
        with first.socket() as upgraded:
            upgraded.send("2probe")
            assert hear(upgraded) == "3probe"
            assert ask(url).status == 429
            upgraded.send("5")
            upgraded.send('421["subscribe","room/a"]')
            hear_until(upgraded, "431[")
            third = polled(url)
            assert ask(url).status == 429
        assert ask(url).status == 429  # it counted no more
        assert second.post("1").status == 200
        assert polled(url).sid != third.sid
        with urllib.request.urlopen(narrow.address["admin"] + "/metrics", timeout=DEADLINE_S) as answer:
            assert re.search(r'refused_total{[^}]*"too_many_sessions"} 4', answer.read().decode())


@pytest.mark.parametrize("kind", ["polling", "websocket"])
def test_who_does_not_send_all_attachments_is_ended(tmp_path: Path, broker: Broker, kind: str) -> None:
    with running_gateway(tmp_path, broker, frame_s=0.2) as hasty:
        url = hasty.address["own"] + "/socket.io/"
        begun = '451-["publish","room/a",{"_placeholder":true,"num":0}]'
        if kind == "websocket":
            found = joined(url)
            found.send(begun)
            heard, code = hear_end(found)
            assert code == 1008
        else:
            session = polled(url)
            with session.polling() as waiting:
                assert session.post(begun).status == 200
                heard = [*waiting.answer().packets]
            assert session.poll().code == SESSION
        assert [each["message"] for each in said(heard)] == ["a message took too long to come"]
