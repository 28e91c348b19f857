"""A poll on a real socket: answered, left, or taken slowly."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from gateway.socketio import poll
from gateway.socketio.poll import HttpPoll, part
from tests.support.waiting import wait_in_loop

HEADERS = {"Vary": "Origin"}


class Polled:
    """A poll, whom it told what, and its client."""

    def __init__(
        self, behind: bytes = b"", *, stays: bool = True, headers: Mapping[str, str] = HEADERS
    ) -> None:
        self.client, server = socket.socketpair()
        self.client.settimeout(10)
        server.setblocking(False)
        self.done: list[bytes] = []
        self.lost = 0
        self._kept: list[int] = []
        self.poll = HttpPoll(server.detach(), behind, headers, stays=stays, done=self._done, lost=self._lost)

    def _done(self, fd: int, behind: bytes) -> None:
        self._kept.append(fd)
        self.done.append(behind)

    def _lost(self) -> None:
        self.lost += 1

    def heard(self) -> bytes:
        """All that is there."""
        self.client.setblocking(False)
        data = b""
        try:
            while more := self.client.recv(1 << 16):
                data += more
        except BlockingIOError:
            pass
        return data

    def close(self) -> None:
        self.client.close()
        for fd in self._kept:
            os.close(fd)


@pytest.fixture
def polled() -> Iterator[Polled]:
    with closing(Polled()) as made:
        yield made


def test_an_answer_goes_out_at_once_and_the_connection_is_handed_back(polled: Polled) -> None:
    polled.poll.answer(b"4hello")
    head, _, body = polled.heard().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert {b"Content-Length: 6", b"Vary: Origin"} < set(head.split(b"\r\n"))
    assert b"Connection" not in head
    assert (body, polled.done, polled.lost) == (b"4hello", [b""], 0)
    polled.poll.answer(b"4again")
    assert polled.heard() == b""


def test_a_header_is_said_back_in_the_bytes_that_it_came_in() -> None:
    with closing(Polled(headers={"Access-Control-Allow-Origin": "http://h\xe9"})) as polled:
        polled.poll.answer(b"4hello")
        assert b"Access-Control-Allow-Origin: http://h\xe9\r\n" in polled.heard()


def test_what_comes_behind_it_is_handed_back_too() -> None:
    with closing(Polled(b"GET ")) as polled:
        polled.client.sendall(b"/ HTTP/1.1\r\n\r\n")
        polled.poll.look()
        polled.poll.answer(b"6")
        assert polled.done == [b"GET / HTTP/1.1\r\n\r\n"]


def test_where_it_is_the_last_the_connection_ends() -> None:
    with closing(Polled(stays=False)) as polled:
        polled.poll.answer(b"6")
        data = b""
        while more := polled.client.recv(1 << 16):
            data += more
        assert b"\r\nConnection: close\r\n" in data and data.endswith(b"\r\n\r\n6")
        assert (polled.done, polled.lost) == ([], 0)


def test_who_goes_is_lost(polled: Polled) -> None:
    polled.client.close()
    wait_in_loop(lambda: polled.lost, what="its end")
    polled.poll.answer(b"6")
    polled.poll.look()
    assert (polled.done, polled.lost) == ([], 1)


def test_who_has_gone_is_known_when_it_is_looked_for(polled: Polled) -> None:
    polled.poll.look()
    assert polled.lost == 0
    polled.client.close()
    polled.poll.look()
    assert polled.lost == 1


def test_an_answer_that_is_too_large_for_the_socket_goes_out_as_it_is_read(polled: Polled) -> None:
    body = os.urandom(4 << 20)
    polled.poll.answer(body)
    assert polled.done == []
    data = b""

    def is_whole() -> bool:
        nonlocal data
        data += polled.heard()
        return data.endswith(body[-100:])

    assert polled.poll.is_being_taken
    wait_in_loop(is_whole, what="the whole answer")
    assert data.endswith(b"\r\n\r\n" + body)
    wait_in_loop(lambda: polled.done, what="the connection")
    assert not polled.poll.is_being_taken


@pytest.mark.parametrize("is_reading", [True, False], ids=["goes", "takes nothing"])
def test_who_does_not_take_its_answer_is_lost(
    polled: Polled, monkeypatch: pytest.MonkeyPatch, is_reading: bool
) -> None:
    monkeypatch.setattr(poll, "TAKEN_WITHIN_S", 60 if is_reading else 0.01)
    polled.poll.answer(bytes(4 << 20))
    if is_reading:
        polled.client.close()
    wait_in_loop(lambda: polled.lost, what="its end")
    assert polled.done == []


def test_no_more_than_so_much_is_read_before_the_answer(polled: Polled) -> None:
    polled.client.setblocking(False)
    sent = 0

    def is_stuck() -> bool:
        nonlocal sent
        try:
            sent += polled.client.send(bytes(1 << 16))
        except BlockingIOError:
            return len(polled.poll._behind) >= poll.BEHIND_MAX_BYTES
        return False

    wait_in_loop(is_stuck, what="a socket that takes no more")
    polled.poll.look()
    assert len(polled.poll._behind) < poll.BEHIND_MAX_BYTES + poll.READ_BYTES < sent
    polled.poll.answer(b"6")
    assert len(polled.done[0]) >= poll.BEHIND_MAX_BYTES


def test_a_last_word_and_an_end() -> None:
    client, server = socket.socketpair()
    with closing(client):
        client.sendall(b"not read")
        part(server.detach(), b"bye")
        assert client.recv(100) == b"bye"
