"""What gateways share: the first one's key and sets are everybody's, and a new log gets the same key."""

from __future__ import annotations

import math
from functools import partial

import pytest

from broker.topics import Pattern
from gateway.interest import Interest, Want
from gateway.socketio.feeds import Feeds
from tests.support.events import EPOCH, OTHER_EPOCH
from tests.support.flow import Flow
from tests.support.socketio import Played, PlayedKeeping

KEY = "keep key:socketio-pid"


def interest(*patterns: str) -> Interest:
    return Interest(frozenset(Want(Pattern(each)) for each in patterns))


@pytest.fixture
def flow() -> Flow:
    return Flow()


@pytest.fixture
def keeping(flow: Flow) -> PlayedKeeping:
    return PlayedKeeping(flow)


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


def test_a_new_log_gets_the_same_key_and_the_sets_that_are_in_use(flow: Flow, keeping: PlayedKeeping) -> None:
    """Though nobody subscribes anew."""
    one, used = made(keeping), interest("a")
    one.look(EPOCH)
    one.sets.keep(used)
    flow.rest()
    before = dict(keeping.values)
    assert len(before) == 2
    keeping.values.clear()
    one.look(OTHER_EPOCH)
    flow.rest()
    assert keeping.values == before


def test_whoever_has_gone_is_called_no_more(flow: Flow, keeping: PlayedKeeping) -> None:
    feeds = made(keeping)
    gateway = Played(flow, keeping)
    stays, goes = (gateway.browser(connects=False) for _ in range(2))
    called: list[str] = []
    for name, browser in (("stays", stays), ("goes", goes)):
        browser.connect(rests=False)
        assert browser.client is not None
        feeds.await_key(browser.client, 0, partial(called.append, name), math.inf)
    assert goes.client is not None
    feeds.forget(goes.client)
    feeds.look(EPOCH)
    flow.rest()
    assert called == ["stays"]
