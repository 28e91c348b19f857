"""Sets that the broker keeps: each once, again while they are in use, and found by all."""

from __future__ import annotations

import pytest

from broker.errors import ControlError
from broker.topics import Pattern
from gateway.interest import Interest, Want, Wants
from gateway.socketio import kept_sets
from gateway.socketio.kept_sets import AGAIN_LOOKS, EACH_LOOKS, KeptSets, Looked
from gateway.socketio.sets import set_name
from tests.support.flow import Flow
from tests.support.socketio import PlayedKeeping


def interest(*patterns: str) -> Interest:
    return Interest(frozenset(Want(Pattern(each)) for each in patterns))


def name_of(*patterns: str) -> str:
    return set_name(interest(*patterns).wants)


@pytest.fixture
def flow() -> Flow:
    return Flow()


@pytest.fixture
def keeping(flow: Flow) -> PlayedKeeping:
    return PlayedKeeping(flow)


def found(of: KeptSets, flow: Flow, name: str) -> Wants | None:
    answers: list[Wants | None] = []
    of.find(name, answers.append)
    flow.rest()
    [answer] = answers
    return answer


def look(sets: KeptSets, flow: Flow, times: int) -> None:
    for _ in range(times):
        sets.look()
    flow.rest()


def test_a_set_is_kept_once_and_found_by_all(flow: Flow, keeping: PlayedKeeping) -> None:
    one, other = KeptSets(keeping), KeptSets(keeping)
    wanted, name = interest("a", "b/*"), name_of("a", "b/*")
    for _ in range(2):
        one.keep(wanted)
    flow.rest()
    assert keeping.asked == [f"keep set:{name}"]
    assert found(one, flow, name) == wanted.wants
    for _ in range(2):
        assert found(other, flow, name) == wanted.wants
    assert keeping.asked == [f"keep set:{name}", f"look set:{name}"]


def test_one_in_use_is_kept_again_now_and_then(flow: Flow, keeping: PlayedKeeping) -> None:
    """The broker lets go what was not used for longest."""
    sets, used = KeptSets(keeping), interest("a")
    sets.keep(used)
    sets.keep(interest("b"))  # whose clients have gone
    flow.rest()
    keeping.values.clear()
    look(sets, flow, AGAIN_LOOKS - EACH_LOOKS)
    assert keeping.values == {}
    look(sets, flow, 2 * EACH_LOOKS)
    assert list(keeping.values) == [f"set:{name_of('a')}"]


def test_one_that_could_not_be_kept_is_tried_again(flow: Flow, keeping: PlayedKeeping) -> None:
    sets, used = KeptSets(keeping), interest("a")
    keeping.is_silent = True
    sets.keep(used)
    flow.rest()
    keeping.is_silent = False
    look(sets, flow, EACH_LOOKS)
    assert list(keeping.values) == [f"set:{name_of('a')}"]


def test_one_that_is_too_large_is_not(flow: Flow, keeping: PlayedKeeping) -> None:
    class Full(PlayedKeeping):
        def keep(self, name: str, value: str, done: Looked) -> None:
            self.asked.append(name)
            done(ControlError("limit", "too large"))

    full = Full(flow)
    sets, used = KeptSets(full), interest("a")
    sets.keep(used)
    look(sets, flow, 2 * AGAIN_LOOKS)
    assert len(full.asked) == 1
    assert found(sets, flow, name_of("a")) == used.wants


@pytest.mark.parametrize("name", ["-" * 22, name_of("x")])
def test_what_nobody_kept_is_none(flow: Flow, keeping: PlayedKeeping, name: str) -> None:
    assert found(KeptSets(keeping), flow, name) is None


def test_nothing_needs_not_be_kept(flow: Flow, keeping: PlayedKeeping) -> None:
    sets = KeptSets(keeping)
    sets.keep(interest())
    assert found(sets, flow, set_name(frozenset())) == frozenset()
    assert keeping.asked == []


def test_what_was_kept_under_a_wrong_name_is_none(flow: Flow, keeping: PlayedKeeping) -> None:
    keeping.values[f"set:{name_of('a')}"] = '[["**",101]]'
    assert found(KeptSets(keeping), flow, name_of("a")) is None


def test_a_broker_that_is_silent_knows_no_set(flow: Flow, keeping: PlayedKeeping) -> None:
    KeptSets(keeping).keep(interest("a"))
    flow.rest()
    keeping.is_silent = True
    assert found(KeptSets(keeping), flow, name_of("a")) is None


def test_only_so_many_are_known_by_heart(
    flow: Flow, keeping: PlayedKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_sets, "KNOWN_MAX", 2)
    sets = KeptSets(keeping)
    for pattern in ("a", "b", "c"):
        sets.keep(interest(pattern))
        flow.rest()
    keeping.asked.clear()
    names = [name_of(each) for each in ("b", "c", "a")]
    assert [found(sets, flow, name) is not None for name in names] == [True] * 3
    assert keeping.asked == [f"look set:{names[2]}"]
