"""Connections passed between gateways, over real sockets of one process: who gets them, and who does not."""

from __future__ import annotations

import array
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from gevent.hub import get_hub

from gateway import passage
from gateway.handover import PATH_MAX_BYTES, Handover, folders
from gateway.passage import PASS, TELL, WAITING_MAX, forget
from tests.support.waiting import wait_in_loop

ADDRESS = ("203.0.113.7", 4711)


class Played:
    """A gateway's hand-over, and what came of it."""

    def __init__(self, gateway_id: str, folder: Path) -> None:
        self.resumed: list[tuple[int, tuple[Any, ...], bytes]] = []
        self.lost: list[bytes] = []
        self.told: list[bytes] = []
        self.noted: list[str] = []
        self.handover = Handover(
            gateway_id,
            [folder],
            resume=lambda *found: self.resumed.append(found),
            on_lost=self._lose,
            note=lambda kind, case: self.noted.append(kind),
            on_told=self.told.append,
        )
        self.handover.start()

    def _lose(self, fd: int, address: tuple[Any, ...], data: bytes) -> None:
        self.lost.append(data)
        os.close(fd)

    def pass_on(self, owner: str, data: bytes = b"GET") -> tuple[bool, socket.socket]:
        """Whether it went, and the other end of the connection."""
        ours, theirs = socket.socketpair()
        theirs.settimeout(5)
        is_on_its_way = self.handover.pass_on(owner, ours.fileno(), ADDRESS, data)
        if is_on_its_way:
            ours.detach()
        ours.close()
        return is_on_its_way, theirs

    def count(self, name: str) -> int:
        return self.handover.counts[name]

    def close(self) -> None:
        self.handover.close()
        for fd, _, _ in self.resumed:
            os.close(fd)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def both(folder: Path) -> Iterator[tuple[Played, Played]]:
    with closing(Played("00", folder)) as one, closing(Played("01", folder)) as two:
        yield one, two


@pytest.fixture
def stopped(folder: Path) -> Iterator[tuple[Played, socket.socket]]:
    """A gateway, and another one that is there and reads nothing."""
    with closing(Played("00", folder)) as one, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(folder / "01.sock"))
        other.listen()
        yield one, other


def test_the_owner_goes_on_with_the_connection(both: tuple[Played, Played]) -> None:
    one, two = both
    went, client = one.pass_on("01", b"GET /\0\r\n\nrest")
    with client:
        assert went
        client.send(b"later")
        [(fd, address, data)] = wait_in_loop(lambda: two.resumed, what="the connection")
        assert (address, data, os.read(fd, 9)) == (ADDRESS, b"GET /\0\r\n\nrest", b"later")
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        os.write(fd, b"answer")
        assert client.recv(9) == b"answer"
    assert (one.count("handed_over"), two.count("taken_over")) == (1, 1)


def test_it_is_nobody_s_here_any_more(both: tuple[Played, Played]) -> None:
    one, two = both
    _, client = one.pass_on("01")
    with client:
        wait_in_loop(lambda: two.resumed, what="the connection")
        os.close(two.resumed.pop()[0])
        assert client.recv(1) == b""  # that was the only copy


def test_as_much_as_a_head_and_what_is_read_with_it(both: tuple[Played, Played]) -> None:
    one, two = both
    data = os.urandom(80 << 10)
    went, client = one.pass_on("01", data)
    with client:
        assert went
        assert wait_in_loop(lambda: two.resumed, what="the connection")[0][2] == data


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param("02", id="nobody"),
        pytest.param("00", id="itself"),
        pytest.param("../s/01", id="a path"),
        pytest.param("", id="nothing"),
        pytest.param("0" * 1_000_000, id="huge"),
    ],
)
def test_who_is_not_there_gets_nothing(both: tuple[Played, Played], owner: str) -> None:
    one, _ = both
    went, client = one.pass_on(owner)
    with client:
        assert (went, one.count("handover_failed")) == (False, 1)
        assert client.recv(1) == b""  # it stayed the caller's, who has closed it


def test_one_that_was_started_anew_is_found_again(both: tuple[Played, Played], folder: Path) -> None:
    one, two = both
    one.pass_on("01")[1].close()
    wait_in_loop(lambda: two.resumed, what="the connection")
    two.handover.close()
    went, client = one.pass_on("01")
    client.close()
    assert not went
    with closing(Played("01", folder)) as again:
        went, client = one.pass_on("01")
        client.close()
        assert went
        wait_in_loop(lambda: again.resumed, what="the connection")


def test_the_socket_of_one_that_was_killed_is_replaced(folder: Path) -> None:
    folder.mkdir(0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed:
        killed.bind(str(folder / "01.sock"))
    with closing(Played("00", folder)) as one, closing(Played("01", folder)) as two:
        one.pass_on("01")[1].close()
        wait_in_loop(lambda: two.resumed, what="the connection")
    assert not folder.exists()  # and what they made is gone with them


def test_two_of_one_id_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Played("00", folder)), closing(Played("00", folder)):
        assert "two gateways with the id 00" in caplog.text


def test_what_one_tells_all_others_hear(both: tuple[Played, Played], folder: Path) -> None:
    one, two = both
    (folder / "notes.txt").touch()
    (folder / "03.sock").touch()
    one.handover.tell_all(b"close pid")
    assert wait_in_loop(lambda: two.told, what="the word") == [b"close pid"]
    assert one.told == []


def test_who_comes_when_the_owner_ends_is_lost_with_an_answer(both: tuple[Played, Played]) -> None:
    one, two = both
    for _ in range(3):
        one.pass_on("01")[1].close()
    two.handover.close()  # before the loop has looked at its sockets
    assert (two.resumed, two.lost, two.count("taken_over")) == ([], [b"GET"] * 3, 0)
    assert two.count("handover_failed") == 3


# One that takes nothing


def fill(one: Played, clients: ExitStack) -> int:
    """Passed on until one waits; how many the kernel has."""
    for number in range(WAITING_MAX):
        went, client = one.pass_on("01", b"%d" % number)
        clients.enter_context(client)
        assert went
        if one.count("handed_over") == number:
            return number
    raise AssertionError("it is never full")


def test_who_finds_it_full_waits_and_goes_in_order(stopped: tuple[Played, socket.socket]) -> None:
    one, other = stopped
    with ExitStack() as clients:
        in_kernel = fill(one, clients)
        for number in range(in_kernel + 1, in_kernel + passage.TURN + 4):
            clients.enter_context(one.pass_on("01", b"%d" % number)[1])
        count = in_kernel + passage.TURN + 4
        peer, _ = other.accept()
        with peer:
            read = [received(peer) for _ in range(in_kernel)]
            wait_in_loop(lambda: one.count("handed_over") == count, what="all sent")
            read += [received(peer) for _ in range(count - in_kernel)]
    assert read == [b"%d" % number for number in range(count)]
    assert one.lost == []


def received(peer: socket.socket) -> bytes:
    data, fds, _, _ = socket.recv_fds(peer, 1000, 1)
    os.close(fds[0])
    assert data[:1] == PASS
    return data.partition(b"\n")[2]


def test_one_that_is_stuck_is_not_waited_for(
    stopped: tuple[Played, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = stopped
    monkeypatch.setattr(passage, "WAIT_S", 0.1)
    with ExitStack() as clients:
        in_kernel = fill(one, clients)
        clients.enter_context(one.pass_on("01", b"one more")[1])
        wait_in_loop(lambda: len(one.lost) == 2, what="those that waited told")
        assert one.lost == [b"%d" % in_kernel, b"one more"]
        assert not one.pass_on("01")[0]
        assert one.count("handover_failed") == 3
        peer, _ = other.accept()
        with peer:
            for _ in range(in_kernel):
                received(peer)
            wait_in_loop(lambda: one.pass_on("01")[0], what="one that is taken again")


def test_no_more_wait_than_may(
    stopped: tuple[Played, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = stopped
    monkeypatch.setattr(passage, "WAITING_MAX", 3)
    with ExitStack() as clients:
        fill(one, clients)
        assert [one.pass_on("01")[0] for _ in range(4)] == [True, True, False, False]
    assert WAITING_MAX == 1_000


def test_who_waits_for_one_that_dies_is_told(stopped: tuple[Played, socket.socket]) -> None:
    one, other = stopped
    with ExitStack() as clients:
        in_kernel = fill(one, clients)
        other.close()
        wait_in_loop(lambda: one.lost == [b"%d" % in_kernel], what="the one that waited told")


# What comes


def test_without_its_descriptor_a_connection_is_counted_as_failed(both: tuple[Played, Played]) -> None:
    _, two = both
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sender:
        sender.connect(str(two.handover._folder / "01.sock"))
        sender.send(PASS + b'["a",1]\nGET')
        wait_in_loop(lambda: two.count("handover_failed") == 1, what="the failure")
        with socket.socket() as one, socket.socket() as other:
            # More than there is room for, as when no descriptor is left: the kernel cuts them off.
            rights = array.array("i", [one.fileno(), other.fileno(), one.fileno()])
            sender.sendmsg([PASS + b'["a",1]\nGET'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        wait_in_loop(lambda: two.count("handover_failed") == 2, what="the failure")
        sender.send(TELL + b"still there")
        wait_in_loop(lambda: two.told, what="the word")
    assert two.noted == ["no_descriptor"]
    assert two.resumed == []


@pytest.mark.parametrize("message", [b"?", PASS + b"no address\nGET", PASS + b"[1"])
def test_what_is_not_understood_keeps_no_descriptor(both: tuple[Played, Played], message: bytes) -> None:
    _, two = both
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sender:
        sender.connect(str(two.handover._folder / "01.sock"))
        with ours:
            socket.send_fds(sender, [message], [ours.fileno()])
        wait_in_loop(lambda: two.count("handover_failed") == 1, what="the failure")
        assert theirs.recv(1) == b""


# The folder


def assert_off(one: Played, why: str, caplog: pytest.LogCaptureFixture) -> None:
    assert "no hand-over between gateways" in caplog.text
    assert why in caplog.text
    went, client = one.pass_on("01")
    client.close()
    assert not went
    one.handover.tell_all(b"nobody")


def test_a_folder_of_others_is_not_trusted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir(0o755)
    with closing(Played("00", folder)) as one:
        assert_off(one, "has mode 755, want 700", caplog)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_nor_is_a_link(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with closing(Played("00", folder)) as one:
        assert_off(one, "is a link", caplog)


# chown(2): nobody else may give a folder away. `make test` runs it where it is root's.
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes folders of others")
def test_nor_one_of_another_user(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir(0o700)
    os.chown(folder, 65534, 65534)
    with closing(Played("00", folder)) as one:
        assert_off(one, "belongs to user 65534", caplog)


def test_a_path_that_is_too_long_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Played("00", tmp_path / ("x" * PATH_MAX_BYTES))) as one:
        assert_off(one, f"a socket's at most {PATH_MAX_BYTES}", caplog)


def test_what_stands_there_and_is_no_socket_stays(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir(0o700)
    (folder / "00.sock").touch()
    with closing(Played("00", folder)) as one:
        assert_off(one, "is no socket", caplog)
    assert (folder / "00.sock").is_file()


def test_where_the_folder_is(tmp_path: Path) -> None:
    ours = f"penstock-{os.geteuid()}"
    assert folders("/run/ours", 8000, {}) == [Path("/run/ours")]
    found = folders("", 8000, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found == [tmp_path / ours, tmp_path / ours / "8000"]
    gone = folders("", 8000, {"XDG_RUNTIME_DIR": str(tmp_path / "gone")})
    assert gone == folders("", 8000, {})


# The event loop


def watched(fd: int) -> bool:
    """Whether the loop's epoll knows it."""
    known = Path(f"/proc/self/fdinfo/{get_hub().loop.fileno()}").read_text()
    return re.search(rf"^tfd:\s+{fd} ", known, re.MULTILINE) is not None


def test_epoll_does_not_know_what_was_passed_on(both: tuple[Played, Played]) -> None:
    one, two = both
    ours, theirs = socket.socketpair()
    with theirs:
        fd = ours.detach()
        heard: list[int] = []
        watcher = get_hub().loop.io(fd, 1)
        watcher.start(heard.append, fd)
        theirs.send(b"G")
        wait_in_loop(lambda: heard, what="the loop's word")
        watcher.stop()
        watcher.close()
        assert watched(fd)  # libev leaves it there
        assert one.handover.pass_on("01", fd, ADDRESS, b"")
        assert not watched(fd)
        wait_in_loop(lambda: two.resumed, what="the connection")


def test_what_was_never_watched_may_be_forgotten() -> None:
    with socket.socket() as fresh:
        forget(fresh.fileno())
