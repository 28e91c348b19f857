"""Requests of Socket.IO at the wrong gateway, in processes of their own: each is answered by its owner."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.socketio.sids import new_sid, owner_of
from tests.support.handing import ORIGIN
from tests.support.processes import Service
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.waiting import DEADLINE_S, wait_for

IDS = ("00", "01", "02")
UNKNOWN = {"code": 1, "message": "Session ID unknown"}
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

Set = dict[str, Service]


@contextmanager
def handing(folder: Path, sockets: str, gateway_id: str, port: int) -> Iterator[Service]:
    args = ["-m", "tests.support.handing", "--id", gateway_id, "--folder", sockets, "--port", str(port)]
    service = Service(f"handing-{gateway_id}", args, {}, folder)
    try:
        service.start()
        yield service
    finally:
        service.end()


@contextmanager
def three(folder: Path) -> Iterator[Set]:
    """On one port, each with one of its own."""
    # pytest's own folders have names too long for a Unix socket.
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="penstock-") as sockets:
        found: Set = {}
        port = 0
        for each in IDS:
            found[each] = stack.enter_context(handing(folder, sockets, each, port))
            port = port_of(found[each], "url")
        yield found


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    with three(tmp_path_factory.mktemp("handing")) as found:
        yield found


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Set]:
    """For those that break something."""
    with three(tmp_path) as found:
        yield found


def port_of(service: Service, name: str) -> int:
    return int(service.address[name].rsplit(":", 1)[1])


class Line:
    """A connection to one of them, and what is answered on it."""

    def __init__(self, to: Service, name: str = "own") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port_of(to, name)), DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and what its JSON says."""
        status, headers, body = self._answer()
        return status, headers, json.loads(body) if body else None

    def text(self) -> tuple[int, str]:
        status, _, body = self._answer()
        return status, body.decode()

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("Content-Length", "0"))
        while len(self._data) < size:
            self._more()
        body, self._data = self._data[:size], self._data[size:]
        return int(first.split()[1]), headers, body

    def by(self) -> str:
        """Who gives the next answer, which must be a good one."""
        status, _, told = self.answer()
        assert status == 200, told
        return str(told["by"])

    def rest(self) -> bytes:
        """What comes until it ends."""
        while data := self._socket.recv(1 << 16):
            self._data += data
        return self._data

    def _more(self) -> None:
        data = self._socket.recv(1 << 16)
        assert data, self._data
        self._data += data

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._socket.close()


def request(
    sid: str, more: str = "", body: bytes = b"", *, method: str = "", path: str = "/socket.io/"
) -> bytes:
    method = method or ("POST" if body else "GET")
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    query = f"?EIO=4&transport=polling&sid={sid}" if sid else ""
    return f"{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\n{length}{more}\r\n".encode() + body


Connect = Callable[[Service], Line]


@pytest.fixture
def line() -> Iterator[Connect]:
    """All are closed after the test."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(closing(Line(service)))


def counts(service: Service) -> dict[str, Any]:
    with closing(Line(service)) as asking:
        asking.send(request("", path="/counts"))
        found: dict[str, Any] = asking.answer()[2]
        return found


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


def test_an_owner_that_was_killed_and_is_back(fragile: Set, line: Connect) -> None:
    sid = new_sid("01")
    asking = line(fragile["00"])
    asking.send(request(sid))
    assert asking.by() == "01"
    fragile["01"].kill()
    asking = line(fragile["00"])
    asking.send(request(sid))
    assert asking.answer()[::2] == (400, UNKNOWN)
    fragile["01"].start()
    asking = line(fragile["00"])
    asking.send(request(sid))
    assert asking.by() == "01"
    assert counts(fragile["00"])["handover_failed"] == 1


def test_one_that_leaves_goes_on_with_its_sessions_and_passes_on_others(fragile: Set, line: Connect) -> None:
    leaving, other = fragile["01"], fragile["00"]
    kept = line(leaving)
    kept.send(request(new_sid("01")))
    assert kept.by() == "01"
    asking = line(leaving)
    asking.send(request("", path="/leave"))
    assert asking.by() == "01"
    kept.send(request(new_sid("02")))
    assert kept.by() == "02"
    asking = line(other)
    asking.send(request(new_sid("01")))
    status, headers, told = asking.answer()
    assert (status, told["by"], headers["Connection"]) == (200, "01", "close")


def test_an_owner_that_has_ended(fragile: Set, line: Connect) -> None:
    assert fragile["01"].stop() == 0
    asking = line(fragile["00"])
    asking.send(request(new_sid("01")))
    assert asking.answer()[::2] == (400, UNKNOWN)


def test_an_owner_that_hangs_holds_up_nobody_else(fragile: Set, line: Connect) -> None:
    """Some are in its queue and are answered when it goes on; all others are told in two seconds."""
    hanging = fragile["01"].pid
    os.kill(hanging, signal.SIGSTOP)
    try:
        lines = [line(fragile["00"]) for _ in range(400)]
        for each in lines:
            each.send(request(new_sid("01")))
        for owner in ("00", "02"):
            asking = line(fragile["00"])
            asking.send(request(new_sid(owner)))
            assert asking.by() == owner
        wait_for(lambda: counts(fragile["00"])["handover_failed"], what="those that waited told")
        late = line(fragile["00"])
        late.send(request(new_sid("01")))
        assert late.answer()[0] == 400
    finally:
        os.kill(hanging, signal.SIGCONT)
    statuses = [each.answer()[0] for each in lines]
    told = counts(fragile["00"])
    assert set(statuses) == {200, 400}
    assert statuses.count(200) == told["handed_over"] - 1  # the one for 02
    assert statuses.count(400) == told["handover_failed"] - 1  # the late one

    def is_back() -> bool:
        asking = line(fragile["00"])
        asking.send(request(new_sid("01")))
        return asking.answer()[0] == 200

    wait_for(is_back, what="one that is handed over again")


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


def test_real_gateways_find_each_other_by_their_port(tmp_path: Path) -> None:
    """Without a setting, and with nothing left behind."""
    with (
        tempfile.TemporaryDirectory(prefix="penstock-") as runtime,
        pytest.MonkeyPatch.context() as patch,
        running_broker(tmp_path, durability="memory") as broker,
    ):
        patch.setenv("XDG_RUNTIME_DIR", runtime)
        with (
            running_gateway(tmp_path, broker) as one,
            running_gateway(tmp_path, broker, 1, port=port_of(one, "url")) as two,
            running_gateway(tmp_path, broker, 2) as foreign,
        ):
            ports = {str(port_of(each, "url")) for each in (one, foreign)}
            ours = Path(runtime, f"penstock-{os.geteuid()}")
            assert {path.name for path in ours.iterdir()} == ports
            with closing(Line(one)) as asking:
                asking.send(request("", path="/socket.io/?EIO=4&transport=polling"))
                status, body = asking.text()
                sid = json.loads(body[1:])["sid"]
            assert (status, owner_of(sid)) == (200, "00")
            unknown = 400, json.dumps(UNKNOWN, separators=(",", ":"))
            # Connects, and closes its session.
            asked = [(foreign, b"40", unknown), (two, b"40", (200, "ok")), (two, b"1", (200, "ok"))]
            for at, said, answer in asked:
                with closing(Line(at)) as asking:
                    asking.send(request(sid, body=said))
                    assert asking.text() == answer
            for each in (one, two, foreign):
                assert each.stop() == 0
            assert list(ours.iterdir()) == []
