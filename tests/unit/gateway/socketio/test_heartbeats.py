"""Who is pinged when, and whose time is over, by a clock in the test's hands."""

from __future__ import annotations

import pytest

from gateway.socketio.heartbeats import PROMPT_S, STOOD_STILL_S, Due, Heartbeats

INTERVAL_S, TIMEOUT_S = 25.0, 20.0
NOBODY: Due[str] = Due([], [])


def beats(*sessions: str, at_s: float = 0) -> Heartbeats[str]:
    made: Heartbeats[str] = Heartbeats(INTERVAL_S, TIMEOUT_S)
    for session in sessions:
        made.begin(session, at_s)
    return made


def test_nobody_is_due_where_nobody_is() -> None:
    made = beats()
    assert made.next_s is None
    assert made.due(1e9) == NOBODY


def test_a_session_is_pinged_after_the_interval_and_is_over_after_the_time_to_answer() -> None:
    made = beats("a")
    assert made.next_s == 25
    assert made.due(24.999) == NOBODY
    assert made.due(25) == Due(["a"], [])
    assert made.next_s == 45
    assert made.due(44.999) == NOBODY
    assert made.due(45) == Due([], ["a"])
    assert len(made) == 0 and made.next_s is None


@pytest.mark.parametrize(("took_s", "more_s"), [(0, 0), (0.05, 0), (PROMPT_S, 0), (0.5, 0.4), (3, 2.9)])
def test_who_answers_is_pinged_again_an_interval_later(took_s: float, more_s: float) -> None:
    made = beats("a")
    now_s = 25.0
    for _ in range(3):
        assert made.due(now_s) == Due(["a"], [])
        made.note_pong("a", now_s + took_s)
        assert made.next_s == pytest.approx(now_s + INTERVAL_S + more_s)
        now_s = made.next_s or 0


def test_a_pong_that_nobody_asked_for_says_nothing() -> None:
    made = beats("a")
    for now_s in range(25):
        made.note_pong("a", now_s)
    made.note_pong("stranger", 1)
    assert made.due(25) == Due(["a"], [])
    made.note_pong("a", 26)
    made.note_pong("a", 30)
    assert made.next_s == pytest.approx(50.9)


def test_who_has_ended_is_not_due() -> None:
    made = beats("a", "b")
    made.end("a")
    assert made.due(25) == Due(["b"], [])
    made.end("b")
    made.end("b")
    assert (made.due(45), len(made)) == (NOBODY, 0)


def test_each_has_its_own_time() -> None:
    made = beats("a")
    made.begin("b", 10)
    made.begin("c", 20)
    assert made.due(25) == Due(["a"], [])
    assert made.due(35) == Due(["b"], [])
    made.note_pong("b", 36)
    assert made.due(45) == Due(["c"], ["a"])
    assert made.next_s == pytest.approx(60.9)
    assert made.due(61) == Due(["b"], [])
    assert made.due(65) == Due([], ["c"])
    assert made.due(81) == Due([], ["b"])


def test_a_ping_counts_from_when_it_was_due() -> None:
    made = beats("a")
    assert made.due(25.9) == Due(["a"], [])
    assert made.next_s == 45


def test_who_was_due_long_ago_has_had_its_time() -> None:
    made: Heartbeats[str] = Heartbeats(0.3, 0.2)
    made.begin("a", 0)
    assert made.due(0.5) == Due([], ["a"])


def test_where_this_process_stood_still_everybody_has_a_while_more() -> None:
    made = beats("asked", "answered")
    made.due(25)
    made.note_pong("answered", 26)
    made.begin("later", 70)
    assert made.due(100) == Due(["answered", "later"], [])
    assert made.due(100 + STOOD_STILL_S) == Due([], ["asked"])
    assert made.due(120) == Due([], ["answered", "later"])


def test_who_is_excused_has_the_time_to_answer_anew() -> None:
    made = beats("a", "b")
    made.due(25)
    assert made.due(45) == Due([], ["a", "b"])
    made.excuse("a", 45)
    assert made.next_s == 65
    made.note_pong("a", 60)
    assert made.due(65) == NOBODY
    assert made.next_s == pytest.approx(84.9)
