"""Answers, and a socket that takes so many for each asker until its link has moved on."""

from __future__ import annotations

from collections import Counter

import pytest
import zmq

from broker.replies import WAIT_S, WAITING_MAX, Replies


class Socket:
    """Has room for so many answers for each asker; `read` makes room again."""

    def __init__(self, room: int) -> None:
        self.room, self.queued = room, Counter[bytes]()
        self.sent: list[tuple[bytes, bytes]] = []
        self.gone: set[bytes] = set()

    def send(self, frames: list[bytes]) -> None:
        asker, answer, *_ = frames
        if asker in self.gone:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if self.queued[asker] >= self.room:
            raise zmq.Again
        self.queued[asker] += 1
        self.sent.append((asker, answer))

    def read(self, asker: bytes) -> None:
        del self.queued[asker]

    def answers(self, asker: bytes) -> list[int]:
        return [int(answer) for name, answer in self.sent if name == asker]


@pytest.fixture
def socket() -> Socket:
    return Socket(room=3)


@pytest.fixture
def replies(socket: Socket) -> Replies:
    return Replies(socket.send)


def confirm(replies: Replies, asker: bytes, *answers: int, now_s: float = 0.0) -> None:
    for answer in answers:
        replies.confirm(asker, b"%d" % answer, now_s)


def test_what_a_publisher_is_told_waits_for_room_in_its_order(socket: Socket, replies: Replies) -> None:
    confirm(replies, b"a", *range(7))
    assert (socket.answers(b"a"), len(replies)) == ([0, 1, 2], 4)
    socket.read(b"a")
    confirm(replies, b"a", 7)  # there is room, and others are before it
    replies.go_on(0.1)
    assert socket.answers(b"a") == [0, 1, 2, 3, 4, 5]
    socket.read(b"a")
    replies.go_on(0.1)
    assert (socket.answers(b"a"), len(replies), replies.dropped) == (list(range(8)), 0, 0)


def test_who_does_not_read_holds_nobody_up(socket: Socket, replies: Replies) -> None:
    confirm(replies, b"a", *range(5))
    confirm(replies, b"b", *range(5))
    socket.read(b"b")
    replies.go_on(0.1)
    assert (socket.answers(b"b"), len(replies)) == ([0, 1, 2, 3, 4], 2)


def test_an_answer_waits_for_so_long(socket: Socket, replies: Replies) -> None:
    confirm(replies, b"a", *range(4))
    confirm(replies, b"a", 4, now_s=1.0)
    replies.go_on(WAIT_S)
    assert (len(replies), replies.dropped) == (1, 1)
    socket.read(b"a")
    replies.go_on(WAIT_S)
    assert socket.answers(b"a") == [0, 1, 2, 4]


def test_so_many_wait(socket: Socket, replies: Replies) -> None:
    confirm(replies, b"a", *range(socket.room + WAITING_MAX + 2))
    assert (len(replies), replies.dropped) == (WAITING_MAX, 2)


def test_who_has_gone_is_forgotten(socket: Socket, replies: Replies) -> None:
    confirm(replies, b"a", *range(5))
    socket.gone.add(b"a")
    replies.go_on(0.1)
    assert (len(replies), replies.dropped) == (0, 2)
    confirm(replies, b"a", 5)
    assert (len(replies), replies.dropped) == (0, 3)


def test_other_answers_are_dropped_where_there_is_no_room(socket: Socket, replies: Replies) -> None:
    for number in range(5):
        replies.send(b"a", [b"%d" % number, b"records"])
    assert (socket.answers(b"a"), len(replies), replies.dropped) == ([0, 1, 2], 0, 2)
