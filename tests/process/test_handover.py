"""Requests of Socket.IO at the wrong gateway, in processes of their own: each is answered by its owner."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.socketio.sids import new_sid
from tests.support.handed import IDS, UNKNOWN, Connect, Line, Set, counts, lines, request, three
from tests.support.handing import ORIGIN
from tests.support.waiting import wait_for

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    with three(tmp_path_factory.mktemp("handing")) as found:
        yield found


@pytest.fixture
def line() -> Iterator[Connect]:
    with lines() as connect:
        yield connect


def test_each_request_is_answered_by_its_owner(services: Set, line: Connect) -> None:
    names = ("handed_over", "taken_over", "handover_failed")
    before = {each: counts(services[each]) for each in IDS}
    for at in IDS:
        for owner in IDS:
            asking = line(services[at])
            asking.send(request(new_sid(owner)))
            assert asking.by() == owner
    asking.send(request("", path="/"))
    assert asking.by() == owner  # the connection stays where it is
    for each in IDS:
        told = counts(services[each])
        changes = [told[name] - before[each][name] for name in names]
        assert changes == [2, 2, 0]


def test_on_one_connection_in_turn(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    for owner in ("01", "00", "02", "02", "01", "00"):
        asking.send(request(new_sid(owner)))
        assert asking.by() == owner


def test_pipelined_for_several(services: Set, line: Connect) -> None:
    owners = ["01", "02", "00", "00", "01", "02"]
    asking = line(services["00"])
    bodies = [b"", b"x" * 5_000, b"", b"y" * 20_000, b"z", b""]
    each_its_own = list(zip(owners, bodies, strict=True))
    asking.send(b"".join(request(new_sid(owner), body=body) for owner, body in each_its_own))
    for owner, body in each_its_own:
        told = asking.answer()[2]
        assert (told["by"], told["size"]) == (owner, len(body))


def test_byte_by_byte(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    for number in request(new_sid("01"), body=b"body"):
        asking.send(bytes([number]))
    told = asking.answer()[2]
    assert (told["by"], told["sha256"]) == ("01", hashlib.sha256(b"body").hexdigest())


@pytest.mark.parametrize("cut", [pytest.param(1, id="little read"), pytest.param(7_000, id="much read")])
def test_a_body_of_a_megabyte(services: Set, line: Connect, cut: int) -> None:
    body = os.urandom(1 << 20)
    sent = request(new_sid("02"), body=body)
    begun = len(sent) - len(body) + cut
    asking = line(services["00"])
    asking.send(sent[:begun])
    asking.send(sent[begun:])
    told = asking.answer()[2]
    assert (told["by"], told["sha256"]) == ("02", hashlib.sha256(body).hexdigest())


def test_a_body_that_waits_for_100_and_one_in_chunks(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    asking.send(request(new_sid("01"), "Expect: 100-continue\r\nContent-Length: 4\r\n", method="POST"))
    assert asking.answer()[0] == 100
    asking.send(b"body")
    assert asking.by() == "01"
    asking.send(request(new_sid("02"), "Transfer-Encoding: chunked\r\n", method="POST"))
    asking.send(b"4\r\nbody\r\n0\r\n\r\n")
    told = asking.answer()[2]
    assert (told["by"], told["size"]) == ("02", 4)


def test_an_upgrade_goes_with_what_came_behind_it(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    asking.send(request(new_sid("01"), UPGRADE) + b"early")
    status, headers, _ = asking.answer()
    assert (status, headers["Sec-WebSocket-Accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    assert asking.rest() == b"\x81\x0201\x81\x05early"


def test_the_owner_knows_where_it_came_from(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    asking.send(request(new_sid("01")))
    assert asking.answer()[2]["peer"] == "127.0.0.1"


# What nobody can answer


@pytest.mark.parametrize(
    "sid",
    [
        pytest.param(new_sid("55"), id="of nobody"),
        pytest.param(new_sid("a00"), id="of another host"),
        pytest.param("0.made-up", id="made up"),
        pytest.param("..%2f..%2fetc%2fpasswd", id="a path"),
        pytest.param("9" * 7_000, id="huge"),
    ],
)
def test_what_nobody_has_is_an_unknown_session(services: Set, line: Connect, sid: str) -> None:
    before = counts(services["00"])["refused"].get("unknown_session", 0)
    asking = line(services["00"])
    asking.send(request(sid, f"Origin: {ORIGIN}\r\n"))
    status, headers, told = asking.answer()
    assert (status, told, headers["Content-Type"]) == (400, UNKNOWN, "application/json")
    assert headers["Connection"] == "close"
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert asking.rest() == b""
    assert counts(services["00"])["refused"]["unknown_session"] == before + 1


def test_a_foreign_page_reads_nothing_of_it(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    asking.send(request(new_sid("55"), "Origin: https://else.example\r\n"))
    status, headers, _ = asking.answer()
    assert status == 400
    assert not [name for name in headers if name.startswith("Access-Control")]


def test_preflights_stay(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    asking.send(request(new_sid("01"), method="OPTIONS"))
    assert asking.by() == "00"


# Many


def test_many_at_once_on_the_shared_port(services: Set) -> None:
    """Each on connections of its own, for sessions everywhere, among some that break off."""

    def ask(number: int) -> list[bool]:
        found: list[bool] = []
        for turn in range(10):
            owner = IDS[(number + turn) % 3]
            body = os.urandom(turn * 1_000)
            with closing(Line(services["00"], "url")) as asking:
                asking.send(request(new_sid(owner), body=body))
                told = asking.answer()[2]
            found.append((told["by"], told["size"]) == (owner, len(body)))
            with closing(Line(services["00"], "url")) as leaving:
                leaving.send(request(new_sid(owner), "Content-Length: 9\r\n", method="POST"))
                leaving.reset()
        return found

    with ThreadPoolExecutor(30) as crowd:
        assert all(all(found) for found in crowd.map(ask, range(30)))
    handed, taken = (
        sum(counts(services[each])[name] for each in IDS) for name in ("handed_over", "taken_over")
    )
    assert handed == taken


def test_epoll_keeps_nothing_of_what_was_handed_over(services: Set, line: Connect) -> None:
    """At each event on such a one libev makes its whole set anew: 700 idle ones, a second of CPU time."""
    passer = services["00"]
    crowd = [line(passer) for _ in range(600)]
    counts(passer)  # who came before has been accepted, and is waited for in epoll
    handed = crowd[::2]
    for each in handed:
        each.send(request(new_sid("01")))
        assert each.by() == "01"
    process = Path(f"/proc/{passer.pid}")
    opened = {path.name: os.readlink(path) for path in (process / "fd").iterdir()}
    [epoll] = [fd for fd, what in opened.items() if what == "anon_inode:[eventpoll]"]
    watched = re.findall(r"^tfd:\s+(\d+)", (process / "fdinfo" / epoll).read_text(), re.MULTILINE)
    assert len(watched) >= 300
    assert set(watched) - opened.keys() == set()


def test_what_one_tells_all_others_hear(services: Set, line: Connect) -> None:
    asking = line(services["00"])
    asking.send(request("", body=b"pid", path="/tell"))
    assert asking.by() == "00"
    for each in ("01", "02"):
        wait_for(lambda: counts(services[each])["told"] == ["pid"], what=f"the word at {each}")  # noqa: B023
    assert counts(services["00"])["told"] == []
