"""Socket.IO as `socketio_suite` serves it: two namespaces, events that come back, acknowledgements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests.support.engineio import Polled, hear, hear_end, socket
from tests.support.processes import Service, running

TWO = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'

Enter = Callable[..., ClientConnection]


def serving(folder: Path, **seconds: str) -> Service:
    args = ["-m", "tests.conformance.socketio_suite"]
    for name, value in {"ping_interval_s": "60", "connect_s": "60", **seconds}.items():
        args += [f"--{name.replace('_', '-')}", value]
    return Service("socketio_suite", args, {}, folder)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    service = serving(tmp_path_factory.mktemp("suite"))
    with running(service):
        yield service.address["url"] + "/socket.io/"
        assert "Traceback" not in service.stderr()


@pytest.fixture
def enter(url: str) -> Iterator[Enter]:
    """One that is in a namespace, and has read what it is told there."""
    with ExitStack() as stack:

        def opened(*namespaces: str) -> ClientConnection:
            found = stack.enter_context(socket(url))
            hear(found)
            for namespace in namespaces:
                found.send(f"40{namespace}")
                hear(found), hear(found)
            return found

        yield opened


@pytest.mark.parametrize(
    ("said", "start", "auth"),
    [
        pytest.param("40", "40", '42["auth",{}]', id="the main one"),
        pytest.param('40{"token":"123"}', "40", '42["auth",{"token":"123"}]', id="with a payload"),
        pytest.param("40/,", "40", '42["auth",{}]', id="by its name"),
        pytest.param("40/custom,", "40/custom,", '42/custom,["auth",{}]', id="another one"),
        pytest.param("40/custom", "40/custom,", '42/custom,["auth",{}]', id="without a comma"),
        pytest.param(
            '40/custom,{"a":"b"}', "40/custom,", '42/custom,["auth",{"a":"b"}]', id="and with a payload"
        ),
    ],
)
def test_a_namespace_is_entered(enter: Enter, said: str, start: str, auth: str) -> None:
    found = enter()
    found.send(said)
    told = hear(found)
    assert isinstance(told, str) and told.startswith(start)
    assert set(json.loads(told.removeprefix(start))) == {"sid"}
    assert hear(found) == auth


def test_it_is_entered_by_polling(url: str) -> None:
    session = Polled(url)
    assert session.post("40").status == 200
    heard: list[str] = []
    while len(heard) < 2:
        heard += session.poll().packets
    assert heard[0].startswith('40{"sid":') and heard[1] == '42["auth",{}]'
    session.post(f'452-["message",{TWO}]\x1ebAQID\x1ebBAUG')
    assert session.poll().packets == [f'452-["message-back",{TWO}]', "bAQID", "bBAUG"]


def test_an_unknown_namespace_is_refused_and_the_client_stays(enter: Enter) -> None:
    found = enter()
    found.send("40/random")
    assert hear(found) == '44/random,{"message":"Invalid namespace"}'
    found.send("40")
    assert str(hear(found)).startswith("40{")


def test_who_says_nothing_is_let_go(tmp_path: Path) -> None:
    service = serving(tmp_path, connect_s="0.1")
    with running(service), socket(service.address["url"] + "/socket.io/") as found:
        heard, code = hear_end(found)
    assert (len(heard), code) == (1, 1000)


def test_who_leaves_the_main_namespace_may_enter_again(enter: Enter) -> None:
    found = enter("")
    found.send("41")
    found.send("40/custom,")
    hear(found), hear(found)
    found.send("40")
    assert str(hear(found)).startswith("40{")


def test_what_is_left_leaves_the_others(enter: Enter) -> None:
    found = enter("", "/custom,")
    found.send("41/custom,")
    found.send('42["message","to the main one"]')
    assert hear(found) == '42["message-back","to the main one"]'


@pytest.mark.parametrize("namespace", ["", "/custom,"], ids=["main", "custom"])
@pytest.mark.parametrize("arguments", ['1,"2",{"3":[true]}', "null", '"ä€🎈"', "1.5,-0.0,1e300,[[]]"])
def test_a_message_comes_back(enter: Enter, namespace: str, arguments: str) -> None:
    found = enter(namespace)
    found.send(f'42{namespace}["message",{arguments}]')
    told = str(hear(found))
    assert told.startswith(f"42{namespace}[")
    assert json.loads(told.removeprefix(f"42{namespace}")) == ["message-back", *json.loads(f"[{arguments}]")]


@pytest.mark.parametrize("namespace", ["", "/custom,"], ids=["main", "custom"])
def test_bytes_come_back(enter: Enter, namespace: str) -> None:
    found = enter(namespace)
    found.send(f'452-{namespace}["message",{TWO}]')
    found.send(b"\x01\x02\x03")
    found.send(b"\x04\x05\x06")
    assert hear(found) == f'452-{namespace}["message-back",{TWO}]'
    assert [hear(found), hear(found)] == [b"\x01\x02\x03", b"\x04\x05\x06"]


@pytest.mark.parametrize("namespace", ["", "/custom,"], ids=["main", "custom"])
def test_acknowledgements(enter: Enter, namespace: str) -> None:
    found = enter(namespace)
    found.send(f'42{namespace}456["message-with-ack",1,"2",{{"3":[false]}}]')
    assert hear(found) == f'43{namespace}456[1,"2",{{"3":[false]}}]'
    found.send(f'452-{namespace}789["message-with-ack",{TWO}]')
    found.send(b"\x01\x02\x03")
    found.send(b"")
    assert hear(found) == f"462-{namespace}789[{TWO}]"
    assert [hear(found), hear(found)] == [b"\x01\x02\x03", b""]


def test_an_acknowledgement_of_the_client_is_heard_and_nothing_else(enter: Enter) -> None:
    found = enter("")
    found.send("431[1]")
    found.send('42["message",1]')
    assert hear(found) == '42["message-back",1]'


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("4abc", id="no type"),
        pytest.param("4", id="nothing"),
        pytest.param("42{}", id="a payload that is no array"),
        pytest.param("42[]", id="no name"),
        pytest.param('42["message"', id="no JSON"),
        pytest.param('42abc["message-with-ack",1]', id="no id"),
        pytest.param('42/custom,["message",1]', id="a namespace that it is not in"),
        pytest.param("41/custom,", id="one that it cannot leave"),
        pytest.param("40", id="one that it is in"),
        pytest.param("40[]", id="a payload that is no object"),
        pytest.param("44{}", id="what only a server says"),
        pytest.param("43[1]", id="an acknowledgement of nothing"),
        pytest.param('450-["message"]', id="attachments, and none of them"),
        pytest.param(b"\x01", id="an attachment of nothing"),
    ],
)
def test_a_bad_packet_ends_the_session_and_says_why(enter: Enter, said: str | bytes) -> None:
    found = enter("")
    found.send(said)
    heard, code = hear_end(found)
    [error] = heard
    assert json.loads(str(error).removeprefix("42"))[0] == "error"
    assert code == 1002


def test_a_bad_packet_before_any_namespace_ends_the_session(enter: Enter) -> None:
    found = enter()
    found.send("4abc")
    assert hear_end(found) == ([], 1002)
