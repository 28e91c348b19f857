"""What Socket.IO clients send that is wrong, at a running gateway: they are told, and nobody else notices."""

from __future__ import annotations

import json
import re
import urllib.request
from base64 import b64decode
from contextlib import closing, suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.engineio import REQUEST, SESSION, Line, Polled, hear, hear_end, socket
from tests.support.namespace import await_packet, hear_until, joined, polled, said
from tests.support.processes import Broker, Gateway
from tests.support.waiting import DEADLINE_S, wait_for

pytestmark = pytest.mark.usefixtures("others")

OTHERS = 2
DUE = "\x1ebAQ=="  # the attachment behind a packet


def await_alone(gateway: Gateway) -> None:
    """Until nobody is there but the others; long before a ping would be missed."""
    wait_for(lambda: connections(gateway) == OTHERS, what="an end of the session", deadline_s=10)


def connections(gateway: Gateway) -> int:
    with urllib.request.urlopen(gateway.address["admin"] + "/metrics", timeout=DEADLINE_S) as answer:
        found = re.search(r"^penstock_connections (\S+)$", answer.read().decode(), re.M)
    assert found
    return int(float(found[1]))


# Packets (S1 to S6), over both transports

BAD = [
    pytest.param("abc", id="no packet"),
    pytest.param("7", id="an unknown type"),
    pytest.param("0{}", id="open"),
    pytest.param("5", id="an upgrade of nothing"),
    pytest.param("b*", id="no base64"),
    pytest.param("4", id="no packet in a message"),
    pytest.param("49", id="an unknown type of Socket.IO"),
    pytest.param("42{}", id="no array"),
    pytest.param("42[]", id="no name"),
    pytest.param("42[1]", id="a number for a name"),
    pytest.param('42["subscribe"', id="no JSON"),
    pytest.param('42["subscribe","\\ud800"]', id="half of a surrogate pair"),
    pytest.param("42" + "[" * 20_000 + "]" * 20_000, id="deep JSON"),
    pytest.param("42" + "[" * 30_000, id="deep JSON that does not end"),
    pytest.param('42["publish","room/a",' + '{"a":' * 8_000 + "1" + "}" * 8_000 + "]", id="deep objects"),
    pytest.param("43" + "1" * 400 + "[1]", id="an id of 400 digits"),
    pytest.param("42" + "1" * 400 + '["subscribe","a"]', id="a wanted id of 400 digits"),
    pytest.param("43[1]", id="an acknowledgement of nothing"),
    pytest.param("44{}", id="what servers say"),
    pytest.param("41x", id="a disconnect with a payload"),
    pytest.param("40", id="a namespace that it is in"),
    pytest.param('42/else,["subscribe","a"]', id="a namespace that it is not in"),
    pytest.param("40/" + "x" * 300, id="a namespace without an end"),
    pytest.param('4511-["publish","room/a"]', id="eleven attachments"),
    pytest.param('45500000-["publish","room/a",{"_placeholder":true,"num":0}]', id="500,000 of them"),
    pytest.param("45" + "9" * 400 + '-["a"]', id="more than can be counted"),
    pytest.param('450-["publish","room/a"]', id="none of them"),
    pytest.param('451-["publish","room/a",{"_placeholder":true,"num":1}]' + DUE, id="a placeholder of none"),
    pytest.param('451-["publish","room/a",{"_placeholder":true,"num":-1}]' + DUE, id="a negative one"),
    pytest.param('451-["publish","room/a",{"_placeholder":true,"num":"0"}]' + DUE, id="one that is a text"),
    pytest.param('451-["publish","room/a",{"_placeholder":true,"num":1e400}]' + DUE, id="one without an end"),
    pytest.param('451-["publish","room/a",1]' + DUE, id="an attachment without a place"),
    pytest.param("bAAAA", id="an attachment of nothing"),
]


@pytest.mark.parametrize("packet", BAD)
def test_who_sends_it_over_a_websocket_is_told_and_closed(gateway: Gateway, url: str, packet: str) -> None:
    found = joined(url)
    first, *attachments = packet.split("\x1e")
    found.send(first)
    for each in attachments:
        found.send(b64decode(each[1:]))
    heard, code = hear_end(found)
    [error] = said(heard)
    assert error["code"] == "bad_request" and error["message"]
    assert code == 1002
    await_alone(gateway)


@pytest.mark.parametrize("packet", BAD)
def test_who_posts_it_is_told_and_has_no_session_any_more(gateway: Gateway, url: str, packet: str) -> None:
    session = polled(url)
    with session.polling() as waiting:
        answer = session.post(packet)
        assert (answer.status, answer.code) == (400, REQUEST)
        told = waiting.answer()
    assert said([*told.packets])[0]["code"] == "bad_request"
    assert session.poll().code == SESSION
    assert session.post("4").code == SESSION
    await_alone(gateway)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b"4" + b"x" * 70_000, id="more than maxPayload"),
        pytest.param("\x1e".join(["3"] * 1_001).encode(), id="more packets than may be"),
        pytest.param(b"\x1e", id="empty packets"),
        pytest.param(b"3\x1e3\x1e", id="an empty one at the end"),
    ],
)
def test_a_bad_body_is_never_answered_with_success(url: str, body: bytes) -> None:
    session = polled(url)
    answer = session.post(body)
    assert (answer.status, answer.code) == (400, REQUEST)
    assert session.poll().code == SESSION


@pytest.mark.parametrize("more", [1, 200_000])
def test_a_body_in_chunks_is_as_large_as_any(url: str, more: int) -> None:
    session = polled(url)
    first = '42["publish","room/z","'
    first += "y" * (65_536 - len(first) - 2) + '"]'
    for body, status in ((first, 200), (first + "\x1e" + "x" * (more - 1), 400)):
        with closing(Line(url)) as line:
            head = line.request(session.query, "", headers={"Transfer-Encoding": "chunked"})
            head = head.replace(b"Content-Length: 0\r\n", b"")
            line.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body.encode()))
            answer = line.answer()
        assert answer.status == status
    assert "maxPayload" in answer.text
    assert session.poll().code == SESSION


def test_a_body_that_does_not_come_to_its_end_ends_the_session(url: str) -> None:
    session = polled(url)
    with closing(Line(url)) as line:
        line.send(line.request(session.query, "3" * 100)[:-50])
    wait_for(lambda: session.post("3").status == 400, what="its end")


def test_a_bad_packet_before_any_namespace(url: str) -> None:
    with socket(url) as found:
        hear(found)
        found.send('42["subscribe","a"]')
        assert hear_end(found) == ([], 1002)
    session = Polled(url)
    assert session.post('42["subscribe","a"]').status == 400
    assert session.poll().code == SESSION


@pytest.mark.parametrize("name", ["connect", "connect_error", "disconnect", "disconnecting", "newListener"])
def test_a_reserved_name_is_an_error_and_reaches_nothing(url: str, name: str) -> None:
    with joined(url) as found:
        found.send(f'42["{name}","a"]')
        while not (errors := said([hear(found)])):
            pass
        assert errors[0]["code"] == "bad_request" and name in errors[0]["message"]
        found.send(f'427["{name}"]')
        answer = str(hear(found))
        assert answer.startswith("437[") and json.loads(answer[3:])[0]["error"]["code"] == "bad_request"
        found.send('428["subscribe","beside"]')
        hear_until(found, '438[{"ok":')


def test_more_attachments_than_were_declared_are_not_kept(url: str) -> None:
    with joined(url) as found:
        found.send('451-9["publish","room/a",{"_placeholder":true,"num":0}]')
        found.send(b"1")
        hear_until(found, "439[")
        found.send(b"2")
        heard, code = hear_end(found)
        assert (len(said(heard)), code) == (1, 1002)


def test_text_where_an_attachment_is_due(url: str) -> None:
    with joined(url) as found:
        found.send('451-["publish","room/a",{"_placeholder":true,"num":0}]')
        found.send('42["subscribe","a"]')
        heard, code = hear_end(found)
        assert (len(said(heard)), code) == (1, 1002)


def test_a_huge_integer_is_a_number(broker: Broker, url: str) -> None:
    with joined(url) as found:
        found.send('421["subscribe","room/huge"]')
        found.send('422["publish","room/huge",1' + "0" * 300 + "]")
        hear_until(found, '42["event",{"topic":"room/huge"')
        found.send('423["publish","room/huge",1' + "0" * 400 + "]")  # none, not even in JavaScript
        heard, code = hear_end(found)
    assert (len(said(heard)), code) == (1, 1002)


def test_namespaces_that_are_not_there_are_refused_one_by_one_and_then_for_good(url: str) -> None:
    with socket(url) as found:
        hear(found)
        with suppress(ConnectionClosed):
            for number in range(2_000):
                found.send(f"40/none{number}")
        heard, code = hear_end(found)
    assert heard == [f'44/none{number},{{"message":"Invalid namespace"}}' for number in range(100)]
    assert code == 1002
    session = Polled(url)
    payload = "\x1e".join(f"40/none{number}" for number in range(1_000))
    with session.polling() as waiting:
        assert session.post(payload).status == 400
        assert waiting.answer().status == 200
    assert session.poll().code == SESSION


def test_between_two_polls_what_is_told_waits(url: str) -> None:
    """Before any namespace, too."""
    session = Polled(url)
    assert session.post("40/none").status == 200
    assert session.post("3\x1e40/none").status == 200
    assert session.poll().packets == ['44/none,{"message":"Invalid namespace"}'] * 2


def test_pongs_that_nobody_asked_for_are_nothing(url: str) -> None:
    with joined(url) as found:
        for _ in range(200):
            found.send("3")
        found.send('421["subscribe","room/pongs"]')
        hear_until(found, "431[")
    session = polled(url)
    assert session.post("\x1e".join(["3"] * 200)).status == 200
    assert session.post('421["subscribe","room/pongs"]').status == 200
    await_packet(session, "431[")


def test_a_message_that_is_too_large_is_told_before_the_end(url: str) -> None:
    with socket(url) as large:
        large.send("40")
        while not str(hear(large)).startswith("40{"):
            pass
        large.send("42" + json.dumps(["publish", "room/1", "x" * 70_000]))
        heard, code = hear_end(large)
    assert code == 1009
    assert any("65536 bytes" in each["message"] for each in said(heard)), heard
