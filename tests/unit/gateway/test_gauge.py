"""Who keeps up with newest values: by the pings that it answers, or by the room that its kernel has."""

from __future__ import annotations

import pytest

from gateway.gauge import HOLD_BYTES, LOOK_BYTES, MARK_BYTES, PAUSE_MAX_S, PAUSE_S, Gauge

EVENT = 250


def gauge(*, answers: bool) -> Gauge:
    """Of one that has been sent its first value."""
    made = Gauge()
    made.note(EVENT)
    assert made.wants_mark  # the first at once, to know whether it answers
    made.mark()
    if answers:
        made.answer()
    return made


def test_a_ping_is_due_after_so_many_bytes_and_one_at_a_time() -> None:
    made = gauge(answers=True)
    sent = 0
    while not made.wants_mark:
        made.note(EVENT)
        sent += EVENT
    assert MARK_BYTES <= sent < MARK_BYTES + EVENT
    made.mark()
    for _ in range(100):
        made.note(EVENT)
        assert not made.wants_mark


def test_who_answers_is_sent_so_much_beyond_its_last_answer() -> None:
    made = gauge(answers=True)
    made.note(MARK_BYTES)
    made.mark()
    while not made.is_held:
        made.note(EVENT)
    made.answer()
    assert not made.is_held  # of what came before the ping nothing is left
    assert not made.needs_look  # nor is the kernel asked about it


def test_a_flush_that_is_larger_goes_whole() -> None:
    made = gauge(answers=True)
    made.note(10 * HOLD_BYTES)
    assert not made.is_held
    made.note(EVENT)
    assert made.is_held


def test_who_was_sent_much_since_the_ping_is_pinged_again_at_once() -> None:
    made = gauge(answers=True)
    made.note(MARK_BYTES)
    made.mark()
    made.note(10 * HOLD_BYTES)
    made.note(EVENT)
    made.answer()
    assert made.is_held and made.wants_mark
    made.mark()
    made.answer()
    assert not made.is_held


def test_who_never_answered_is_not_held() -> None:
    made = gauge(answers=False)
    made.note(HOLD_BYTES)
    made.note(HOLD_BYTES)
    assert not made.is_held
    assert made.needs_look


def test_an_answer_to_nothing_is_none() -> None:
    made = Gauge()
    made.answer()
    made.note(LOOK_BYTES)
    assert made.needs_look


def looks(made: Gauge, room: int, at_s: float, upto_s: float) -> list[float]:
    """When it may be sent something, looked at every quarter of a second."""
    allowed = []
    while at_s < upto_s:
        if made.look(room, at_s):
            allowed.append(at_s)
            made.note(EVENT)
        at_s += PAUSE_S
    return allowed


def test_one_with_less_room_than_it_had_gets_something_now_and_then() -> None:
    made = Gauge()
    made.note(EVENT)
    assert made.look(65_536, 0.0)
    assert looks(made, 62_000, 1.0, 20.0) == [1.25, 1.75, 2.75, 4.75, 8.75, 12.75, 16.75]
    assert PAUSE_MAX_S == 4


def test_one_that_has_its_room_again_goes_on_at_once() -> None:
    made = Gauge()
    made.note(EVENT)
    assert made.look(65_536, 0.0)
    assert not made.look(62_000, 1.0)
    assert made.look(65_536, 1.1)
    assert not made.needs_look


@pytest.mark.parametrize("room", [65_536, 65_536 - EVENT])
def test_what_was_sent_just_now_may_be_unread(room: int) -> None:
    made = Gauge()
    made.note(EVENT)
    assert made.look(65_536, 0.0)
    assert made.look(room, 1.0)
