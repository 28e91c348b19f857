"""What is gathered for a poll, and when it is answered."""

from __future__ import annotations

from collections.abc import Callable

from gateway.socketio.forms import SEPARATOR
from gateway.socketio.polling import TAKE_BYTES, Polling


class Poll:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.looks = 0
        self.is_being_taken = False

    def answer(self, body: bytes) -> None:
        self.bodies.append(body)

    def look(self) -> None:
        self.looks += 1


class Turns:
    """Later is when the test says so."""

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> None:
        self._due.append(call)

    def end(self) -> None:
        due, self._due = self._due, []
        for call in due:
            call()


def piece(text: bytes) -> bytes:
    return text + SEPARATOR


def waiting() -> tuple[Polling, Poll, Turns]:
    turns, poll = Turns(), Poll()
    polling = Polling(turns)
    polling.open(poll)
    return polling, poll, turns


def test_between_two_polls_nothing_is_taken() -> None:
    polling = Polling(Turns())
    assert not polling.takes_more and not polling.is_waiting
    assert polling.write(piece(b"4a")) == 0
    polling.look()
    polling.answer()
    assert not polling.has_parts


def test_what_comes_in_one_turn_is_one_answer() -> None:
    polling, poll, turns = waiting()
    for text in (b"4a", b"4b", b"4c"):
        assert polling.write(piece(text)) == 3
    assert polling.has_parts and poll.bodies == []
    turns.end()
    assert poll.bodies == [b"4a\x1e4b\x1e4c"]
    assert not polling.is_waiting and not polling.has_parts
    assert polling.write(piece(b"4d")) == 0


def test_a_poll_waits_where_there_is_nothing_to_say() -> None:
    polling, poll, turns = waiting()
    turns.end()
    polling.answer()
    assert polling.is_waiting and poll.bodies == []
    polling.look()
    assert poll.looks == 1


def test_an_answer_takes_no_more_beyond_its_size() -> None:
    polling, poll, turns = waiting()
    large = piece(b"4" + b"x" * (TAKE_BYTES - 3))
    assert polling.write(large) == TAKE_BYTES - 1
    assert polling.takes_more  # it is not full
    assert polling.write(large) == TAKE_BYTES - 1  # so this is taken whole
    assert not polling.takes_more
    assert polling.write(piece(b"4a")) == 0
    turns.end()
    assert [len(body) for body in poll.bodies] == [2 * (TAKE_BYTES - 1) - 1]


def test_whose_answer_is_on_its_way() -> None:
    polling, poll, turns = waiting()
    poll.is_being_taken = True
    assert not polling.is_being_taken  # there is none yet
    polling.write(piece(b"4a"))
    turns.end()
    assert polling.is_being_taken
    poll.is_being_taken = False
    assert not polling.is_being_taken


def test_a_ping_needs_a_poll() -> None:
    polling, _, _ = waiting()
    polling.note_ping()
    assert polling.may_know_of_ping
    polling.finish(b"2")
    assert polling.may_know_of_ping
    polling.note_ping()
    assert not polling.may_know_of_ping
    polling.open(Poll())
    assert polling.may_know_of_ping


def test_a_last_word_stands_behind_what_was_gathered() -> None:
    polling, poll, turns = waiting()
    polling.write(piece(b"4a"))
    polling.finish(b"6")
    assert poll.bodies == [b"4a\x1e6"]
    other = Poll()
    polling.open(other)
    turns.end()  # of what is answered already
    assert polling.is_waiting and other.bodies == []
    polling.finish(b"1")
    assert other.bodies == [b"1"]


def test_a_last_word_to_nobody_is_nothing() -> None:
    polling = Polling(Turns())
    polling.finish(b"1")
    poll = Poll()
    polling.open(poll)
    polling.answer()
    assert poll.bodies == []


def test_messages_are_counted_by_the_second() -> None:
    polling = Polling(Turns())
    assert polling.count(9, 100.0, 10)
    assert polling.count(1, 100.9, 10)
    assert not polling.count(1, 100.99, 10)
    assert polling.count(10, 101.0, 10)
    assert not polling.count(11, 102.0, 10)
