"""Who may wait at the door, how many of them, and for how long; and what is told of those who may not."""

from __future__ import annotations

import pytest

from gateway.lobby import Lobby, Waiting
from gateway.tally import Tally


def entered(lobby: Lobby, *addresses: str) -> list[int | None]:
    """The status of each that is refused."""
    return [refusal and int(refusal.status) for refusal in map(lobby.enter, addresses)]


@pytest.mark.parametrize(
    ("most", "of_address", "addresses", "statuses"),
    [
        pytest.param(3, 3, "aaa", [None, None, None], id="as many as may be"),
        pytest.param(9, 2, "aaa", [None, None, 429], id="too many of one address"),
        pytest.param(9, 2, "aabba", [None, None, None, None, 429], id="others are counted apart"),
        pytest.param(2, 9, "abc", [None, None, 503], id="too many in all"),
        pytest.param(1, 1, "aa", [None, 429], id="both: one's own doing comes first"),
    ],
)
def test_who_is_let_in(most: int, of_address: int, addresses: str, statuses: list[int | None]) -> None:
    lobby = Lobby(most, of_address)
    assert entered(lobby, *addresses) == statuses
    assert lobby.count == statuses.count(None)


def test_whoever_leaves_makes_room() -> None:
    lobby = Lobby(2, 1)
    assert entered(lobby, "a", "a", "b", "c") == [None, 429, None, 503]
    lobby.leave("a")
    assert entered(lobby, "c", "a") == [None, 503]
    lobby.leave("b")
    lobby.leave("c")
    assert lobby.count == 0
    assert entered(lobby, "a", "b") == [None, None]


def test_a_refusal_names_the_setting_and_says_when_to_come_back() -> None:
    for lobby, name in ((Lobby(0, 9), "`arrivals_max`"), (Lobby(9, 0), "`arrivals_per_address_max`")):
        refusal = lobby.enter("a")
        assert refusal is not None and name in refusal.message
        assert (refusal.code, refusal.headers) == ("too_many_arrivals", {"Retry-After": "1"})


def test_the_late_ones_are_told_once_and_oldest_first() -> None:
    waiting: Waiting[str] = Waiting(10)
    for now_s, thing in enumerate("abcd"):
        waiting.add(thing, now_s)
    assert waiting.discard("b") is True
    assert waiting.discard("b") is False
    assert waiting.late(9.5) == []
    assert waiting.late(12) == ["a", "c"]
    assert waiting.late(12) == []
    assert (waiting.all(), waiting.oldest(), len(waiting)) == (["d"], "d", 1)


def test_those_that_wait_since_then_are_told_and_wait_on() -> None:
    waiting: Waiting[str] = Waiting(10)
    for now_s, thing in enumerate("abc"):
        waiting.add(thing, now_s)
    assert [waiting.since(then_s) for then_s in (-1, 0, 1.5, 9)] == [[], ["a"], ["a", "b"], ["a", "b", "c"]]
    assert waiting.all() == ["a", "b", "c"]


def test_whoever_begins_anew_has_its_whole_time() -> None:
    waiting: Waiting[str] = Waiting(10)
    waiting.add("a", 0)
    waiting.add("b", 1)
    waiting.discard("a")
    waiting.add("a", 8)
    assert waiting.late(11) == ["b"]
    assert waiting.late(18) == ["a"]


def test_a_kind_is_told_once_with_its_count_and_its_newest_case() -> None:
    tally = Tally()
    for number in range(5):
        tally.note("cut", f"peer={number}")
    tally.note("late")
    assert tally.take() == [("cut", 5, "peer=4"), ("late", 1, "")]
    assert tally.take() == []
    tally.note("cut", "peer=9")
    assert tally.take() == [("cut", 1, "peer=9")]
    assert tally.counts == {"cut": 6, "late": 1}
