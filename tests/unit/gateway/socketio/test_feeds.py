"""What gateways share: the first one's key and sets are everybody's, and a new log gets the same key."""

from __future__ import annotations

import pytest

from broker.topics import Pattern
from gateway.interest import Interest, Want, Wants
from gateway.socketio import feeds
from gateway.socketio.feeds import Feeds
from gateway.socketio.sets import set_name
from tests.support.events import EPOCH, OTHER_EPOCH
from tests.support.flow import Flow
from tests.support.socketio import PlayedKeeping

KEY = "keep key:socketio-pid"


def interest(*patterns: str) -> Interest:
    return Interest(frozenset(Want(Pattern(each)) for each in patterns))


@pytest.fixture
def flow() -> Flow:
    return Flow()


@pytest.fixture
def keeping(flow: Flow) -> PlayedKeeping:
    return PlayedKeeping(flow)


def found(of: Feeds, flow: Flow, name: str) -> Wants | None:
    answers: list[Wants | None] = []
    of.find(name, answers.append)
    flow.rest()
    [answer] = answers
    return answer


def made(keeping: PlayedKeeping) -> Feeds:
    return Feeds(keeping, lambda pid: None)


def has_key(of: Feeds) -> bool:
    return of._sealer is not None


def test_whoever_comes_first_names_the_key(flow: Flow, keeping: PlayedKeeping) -> None:
    one, other = made(keeping), made(keeping)
    for each in (one, other):
        each.look(EPOCH)
    assert not has_key(one)
    flow.rest()
    assert one._key == other._key == keeping.values["key:socketio-pid"]


def test_it_is_asked_for_once_a_log_and_again_after_an_error(flow: Flow, keeping: PlayedKeeping) -> None:
    one = made(keeping)
    one.look(0)
    assert keeping.asked == []  # no log is known
    keeping.is_silent = True
    one.look(EPOCH)
    one.look(EPOCH)
    flow.rest()
    assert (keeping.asked, has_key(one)) == ([KEY], False)
    keeping.is_silent = False
    for _ in range(3):
        one.look(EPOCH)
        flow.rest()
    assert (keeping.asked, has_key(one)) == ([KEY] * 2, True)


def test_a_new_log_gets_the_same_key_and_the_sets_anew(flow: Flow, keeping: PlayedKeeping) -> None:
    one = made(keeping)
    one.look(EPOCH)
    one.keep(interest("a"))
    flow.rest()
    before = dict(keeping.values)
    keeping.values.clear()
    one.look(OTHER_EPOCH)
    one.keep(interest("a"))
    flow.rest()
    assert keeping.values == before


def test_a_set_is_kept_once_and_found_by_all(flow: Flow, keeping: PlayedKeeping) -> None:
    one, other = made(keeping), made(keeping)
    wanted = interest("a", "b/*")
    name = set_name(wanted.wants)
    for _ in range(2):
        one.keep(wanted)
    flow.rest()
    assert keeping.asked == [f"keep set:{name}"]
    assert found(one, flow, name) == wanted.wants
    for _ in range(2):
        assert found(other, flow, name) == wanted.wants
    assert keeping.asked == [f"keep set:{name}", f"look set:{name}"]


@pytest.mark.parametrize("name", ["-" * 22, set_name(interest("x").wants)])
def test_what_nobody_kept_is_none(flow: Flow, keeping: PlayedKeeping, name: str) -> None:
    assert found(made(keeping), flow, name) is None


def test_nothing_needs_not_be_kept(flow: Flow, keeping: PlayedKeeping) -> None:
    one = made(keeping)
    one.keep(interest())
    assert found(one, flow, set_name(frozenset())) == frozenset()
    assert keeping.asked == []


def test_what_was_kept_under_a_wrong_name_is_none(flow: Flow, keeping: PlayedKeeping) -> None:
    name = set_name(interest("a").wants)
    keeping.values[f"set:{name}"] = '[["**",101]]'
    assert found(made(keeping), flow, name) is None


def test_a_broker_that_is_silent_knows_no_set(flow: Flow, keeping: PlayedKeeping) -> None:
    name = set_name(interest("a").wants)
    made(keeping).keep(interest("a"))
    flow.rest()
    keeping.is_silent = True
    assert found(made(keeping), flow, name) is None


def test_only_so_many_are_known_by_heart(
    flow: Flow, keeping: PlayedKeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KNOWN_MAX", 2)
    one = made(keeping)
    for pattern in ("a", "b", "a", "c"):
        one.keep(interest(pattern))
        flow.rest()
    keeping.asked.clear()
    names = [set_name(interest(each).wants) for each in ("b", "c", "a")]
    assert [bool(found(one, flow, name)) for name in names] == [True] * 3
    assert keeping.asked == [f"look set:{names[2]}"]
