"""A Socket.IO client that subscribes, breaks off and comes back: what it is told, and that it is true."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.gap import Gap
from broker.topics import Pattern
from broker.wire import Position
from gateway.interest import Want
from gateway.protocol import notice
from gateway.socketio.feeds import WAIT_LOOKS
from gateway.socketio.sets import set_name
from tests.support.events import EPOCH, OTHER_EPOCH, position
from tests.support.flow import Flow
from tests.support.socketio import Browser, Played, PlayedKeeping


@pytest.fixture
def flow() -> Flow:
    return Flow()


@pytest.fixture
def gateway(flow: Flow) -> Played:
    return Played(flow)


def following(gateway: Played, *patterns: str, **options: object) -> Browser:
    browser = gateway.browser()
    for pattern in patterns:
        assert "ok" in browser.ask("subscribe", pattern, options)
    return browser


def publish(flow: Flow, *topics: str) -> None:
    flow.publish(*topics)
    flow.rest()


def rest_until_back(flow: Flow, browser: Browser) -> None:
    """No further than to what it is told first."""
    while len(browser.recovered) == 1:
        flow.later.popleft()() if flow.later else flow.log.answer()


def offset(seq: int, *patterns: str, epoch: int = EPOCH) -> str:
    wants = frozenset(Want(Pattern(each)) for each in patterns)
    return f"{Position(epoch, seq)}.{set_name(wants)}"


# It comes


def test_a_new_one_has_a_token_and_a_place_from_the_first_word(gateway: Played) -> None:
    browser = gateway.browser()
    assert browser.recovered == [False]
    assert browser.pid
    assert browser.offset == offset(0)


def test_each_event_and_each_answer_bears_the_place(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    assert browser.offset == offset(0, "a")
    publish(flow, "a", "b", "a")
    assert (browser.topics, browser.offset) == (["a 1", "a 3"], offset(3, "a"))
    assert browser.ask("subscribe", "b") == {"ok": {"position": str(position(3)), "recovered": True}}
    assert browser.offset == offset(3, "a", "b")
    browser.ask("unsubscribe", "a")
    assert browser.offset == offset(3, "b")


@pytest.mark.parametrize("command", ["subscribe", "unsubscribe"])
def test_the_place_goes_ahead_of_the_answer(flow: Flow, gateway: Played, command: str) -> None:
    """Who breaks off between the two must not have the answer and lack what it says."""
    browser = following(gateway, "b")
    browser.words.clear()
    browser.ask(command, "b" if command == "unsubscribe" else "a")
    assert [each[:7] for each in browser.words if each[:2] in ("42", "43")] == ['42["at"', '432[{"o']


def test_it_hears_whether_the_broker_is_heard(flow: Flow, gateway: Played) -> None:
    flow.hub.set_stale(True)
    browser = gateway.browser()
    assert browser.others == [("notice", {"code": "stale", "stale": True})]
    flow.hub.set_stale(False)
    flow.rest()
    assert browser.others[1:] == [("notice", {"code": "stale", "stale": False})]


def test_who_is_not_in_yet_hears_nothing(flow: Flow, gateway: Played) -> None:
    browser = gateway.browser(connects=False)
    gateway.keeping.is_silent = True
    browser.connect()
    assert browser.client is not None
    assert not browser.client.is_greeted
    assert browser.client.notice_frame(notice("draining", come_back_s=1)) == b""
    flow.hub.set_stale(True)
    flow.rest()
    assert (browser.recovered, browser.others) == ([], [])


# It comes back


@pytest.mark.parametrize("is_known", [True, False], ids=["known to be gone", "not known"])
def test_it_goes_on(flow: Flow, gateway: Played, is_known: bool) -> None:
    browser = following(gateway, "a", "b/*")
    publish(flow, "a", "b/x")
    for turn in range(1, 4):
        browser.break_off(is_known=is_known)
        publish(flow, "a", "c", "b/x")
        browser.connect()
        publish(flow, "a")
        assert browser.recovered == [False] + [True] * turn
    assert browser.topics == [
        "a 1", "b/x 2", "a 3", "b/x 5", "a 6", "a 7", "b/x 9", "a 10", "a 11", "b/x 13", "a 14",
    ]  # fmt: skip
    assert browser.others == []


def test_it_goes_on_at_a_gateway_that_has_none_of_it(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    publish(flow, "a")
    browser.break_off()
    other = Flow()
    other.log = flow.log
    other.hub.log = flow.log
    flow.publish("a", "a")
    other.hear()
    keeping = PlayedKeeping(other)
    keeping.values = gateway.keeping.values
    browser.connect(Played(other, keeping))
    assert browser.recovered == [False, True]
    assert browser.topics == ["a 1", "a 2", "a 3"]


def test_where_it_has_more_than_the_gateway_it_goes_on_when_that_has_come_so_far(
    flow: Flow, gateway: Played
) -> None:
    """Though nothing is flushed there: what comes is of topics that nobody wants."""
    browser = following(gateway, "a")
    flow.publish("a", "b", "b", is_heard=False)
    browser.offset = offset(2, "a")
    browser.break_off()
    browser.connect()
    assert browser.recovered == [False]
    for made in flow.log.events:
        flow.hub.advance(made.seq)
    flow.rest()
    assert browser.recovered == [False, True]


def test_before_its_first_event(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    browser.break_off()
    publish(flow, "a")
    browser.connect()
    assert (browser.recovered, browser.topics) == ([False, True], ["a 1"])


def test_what_is_told_first_is_that_it_goes_on() -> None:
    """And that nothing is missing is known by then: the log is asked twice."""
    flow = Flow(ring_bytes=1)
    browser = following(Played(flow), "a")
    publish(flow, "a")
    browser.break_off()
    publish(flow, "a", "a")
    flow.log.asked.clear()
    browser.connect(rests=False)
    while not flow.log.is_asked:
        flow.later.popleft()()
    for _ in range(10):
        while flow.later:
            flow.later.popleft()()
    assert browser.recovered == [False]
    flow.rest()
    assert browser.recovered == [False, True]
    assert flow.log.asked == ["replay a after 1 upto 3"] * 2
    assert browser.topics == ["a 1", "a 2", "a 3"]


def test_an_upgrade_meanwhile_keeps_what_it_is_told_of() -> None:
    flow = Flow(ring_bytes=1)
    browser = following(Played(flow), "a")
    browser.break_off()
    publish(flow, "a")
    browser.connect(rests=False)
    client = browser.client
    assert client is not None
    rest_until_back(flow, browser)
    assert not client.interest.wants
    assert {want.pattern.text for want in client.told_interest.wants} == {"a"}
    assert offset(1, "a").encode() in client.form.at(position(1))
    flow.rest()
    assert {want.pattern.text for want in client.interest.wants} == {"a"}


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"offset": offset(1_000, "a")}, id="beyond the head"),
        pytest.param({"offset": offset(1, "a")}, id="before it came"),
        pytest.param({"offset": offset(2, "a", epoch=OTHER_EPOCH)}, id="of another log"),
        pytest.param({"offset": offset(2, "c")}, id="a set that nobody knows"),
        pytest.param({"offset": f"{position(2)}.{'-' * 22}"}, id="a set that nobody knows"),
        pytest.param({"offset": str(position(2))}, id="no set"),
        pytest.param({"offset": "x"}, id="no offset"),
        pytest.param({"offset": None}, id="none"),
        pytest.param({"pid": "x"}, id="no token"),
        pytest.param({"pid": f"{position(0)}.{'A' * 22}.{'A' * 22}"}, id="a token of nobody"),
    ],
)
def test_or_begins_anew(flow: Flow, gateway: Played, state: dict[str, str | None]) -> None:
    publish(flow, "b", "b")
    browser = following(gateway, "a")
    before = browser.pid
    browser.break_off()
    publish(flow, "a")
    for name, value in state.items():
        setattr(browser, name, value)
    browser.connect()
    assert browser.recovered == [False, False]
    assert browser.pid not in (None, before)
    assert browser.offset == offset(3)
    publish(flow, "a")
    assert browser.topics == []
    browser.ask("subscribe", "a")
    publish(flow, "a")
    assert browser.topics == ["a 5"]


def test_what_is_gone_is_told() -> None:
    flow = Flow(ring_bytes=1)
    browser = following(Played(flow), "a")
    publish(flow, "a")
    browser.break_off()
    publish(flow, "a", "a", "a")
    flow.log.forget(2)
    browser.connect()
    assert (browser.recovered, browser.topics) == ([False, False], ["a 1"])


def test_what_goes_between_the_two_looks_ends_it() -> None:
    """It was told that nothing is missing. When it is back it hears better."""
    flow = Flow(ring_bytes=1)
    browser = following(Played(flow), "a")
    publish(flow, "a")
    browser.break_off()
    publish(flow, "a", "a", "a")
    browser.connect(rests=False)
    rest_until_back(flow, browser)
    flow.log.forget(3)
    flow.rest()
    assert (browser.recovered, browser.topics, browser.is_closed) == ([False, True], ["a 1"], True)
    browser.connect()
    assert browser.recovered == [False, True, False]


def test_another_log_begins_meanwhile(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    publish(flow, "a")
    browser.break_off()
    flow.log.begin_anew(OTHER_EPOCH)
    flow.hub.change_epoch(OTHER_EPOCH, 0, 0)
    flow.rest()
    browser.connect()
    assert browser.recovered == [False, False]


def test_newest_values_go_on_from_where_nothing_was_owed(flow: Flow) -> None:
    browser = following(Played(flow), "a/*", delivery="latest")
    publish(flow, "a/x", "a/y")
    flow.pass_time(2)
    flow.rest()
    assert (browser.topics, browser.offset and browser.offset.split(".")[1]) == (["a/x 1", "a/y 2"], "2")
    browser.break_off()
    publish(flow, "a/x", "a/x", "a/x")
    browser.connect()
    assert browser.recovered == [False, True]
    assert browser.topics == ["a/x 1", "a/y 2", "a/x 5"]
    publish(flow, "a/x")
    assert browser.topics[-1] == "a/x 6"


def test_of_all_of_some_and_less_of_others_comes_what_was_missed_and_the_newest(
    flow: Flow, gateway: Played
) -> None:
    browser = following(gateway, "a")
    browser.ask("subscribe", "b/*", {"delivery": {"hz": 1}})
    publish(flow, "b/x", "a")
    publish(flow, "b/x", "a")  # the former is kept back
    had = browser.topics
    assert sorted(had) == ["a 2", "a 4", "b/x 1"]
    browser.break_off()
    publish(flow, "a", "b/y")
    browser.connect()
    assert browser.recovered == [False, True]
    assert sorted(browser.topics[len(had) :]) == ["a 5", "b/x 3", "b/y 6"]


def test_the_offset_of_such_a_client_never_goes_back(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    browser.ask("subscribe", "b", {"delivery": {"hz": 1}})
    publish(flow, "b", "a")
    publish(flow, "b", "a")
    publish(flow, "a")
    flow.pass_time(0.5)
    flow.hub.expire()  # its positions are told
    flow.rest()
    assert browser.offset and browser.offset.split(".")[1] == "5"


def test_in_another_log_it_has_a_place_at_once(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    publish(flow, "a")
    flow.log.begin_anew(OTHER_EPOCH)
    flow.hub.change_epoch(OTHER_EPOCH, 0, 0)
    flow.hub.offer_gap(Gap("**", position(1), Position(OTHER_EPOCH, 1), "epoch"))
    flow.rest()
    assert [name for name, _ in browser.others] == ["gap"]
    assert browser.offset and browser.offset.startswith(f"{OTHER_EPOCH:016x}.0.")


def test_what_was_asked_for_of_the_past_says_nothing_of_the_place(flow: Flow, gateway: Played) -> None:
    publish(flow, "a", "b", "a")
    browser = gateway.browser()
    browser.words.clear()
    browser.ask("subscribe", "a", {"history": 5})
    browser.ask("subscribe", "b", {"since": str(position(0))})
    assert [f"{each['topic']} {each['seq']}" for each in browser.past] == ["a 1", "a 3", "b 2"]
    assert browser.offset == offset(3, "a", "b")
    assert all(each.endswith("}]") for each in browser.words if each.startswith('42["event"'))


def test_a_break_before_the_answer_leaves_the_set_as_it_was(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    browser.ask("subscribe", "b", rests=False)
    browser.break_off()
    flow.rest()
    publish(flow, "a", "b")
    browser.connect()
    assert (browser.recovered, browser.topics) == ([False, True], ["a 1"])


# One at a time


@pytest.mark.parametrize("is_known", [True, False], ids=["known to be gone", "not known"])
def test_the_older_connection_ends_here_and_elsewhere(flow: Flow, gateway: Played, is_known: bool) -> None:
    browser = following(gateway, "a")
    older, pid = browser.client, browser.pid
    browser.break_off(is_known=is_known)
    browser.connect()
    assert older is not None
    assert older.has_ended
    assert gateway.told == [pid]
    assert gateway.feeds._clients == {pid: browser.client}
    assert len(flow.hub.connections) == 1


def test_one_that_has_come_elsewhere_is_parted_with(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    assert browser.pid is not None
    gateway.feeds.part("of somebody else")
    flow.rest()
    assert not browser.is_closed
    gateway.feeds.part(browser.pid)
    flow.rest()
    assert browser.is_closed
    assert gateway.feeds._clients == {}


def test_of_those_that_are_gone_nothing_is_kept(flow: Flow, gateway: Played) -> None:
    for state in ({}, {"offset": offset(1_000, "a")}, {"offset": "x"}):
        browser = following(gateway, "a")
        browser.break_off()
        browser.offset = state.get("offset", browser.offset)
        browser.connect()
        browser.break_off()
    flow.rest()
    assert (gateway.feeds._clients, len(gateway.clients), len(flow.hub.connections)) == ({}, 0, 0)


# The key, and what is not answered


@pytest.fixture
def silent() -> Flow:
    """Whose broker has not been heard yet."""
    return Flow(is_heard=False)


def test_a_new_one_waits_a_little_for_a_token(silent: Flow) -> None:
    gateway = Played(silent)
    browser = gateway.browser()
    for _ in range(WAIT_LOOKS - 1):
        gateway.feeds.look(silent.hub.epoch)
        silent.rest()
        assert browser.recovered == []
    gateway.feeds.look(silent.hub.epoch)
    silent.rest()
    assert (browser.recovered, browser.pid, browser.offset) == ([False], None, None)
    silent.hear()
    silent.rest()
    assert "ok" in browser.ask("subscribe", "a")


def test_one_that_comes_back_waits_for_it(silent: Flow) -> None:
    gateway = Played(Flow())
    browser = following(gateway, "a")
    browser.break_off()
    keeping = PlayedKeeping(silent)
    keeping.values = gateway.keeping.values
    fresh = Played(silent, keeping)
    browser.connect(fresh)
    for _ in range(WAIT_LOOKS + 3):
        fresh.feeds.look(silent.hub.epoch)
        silent.rest()
    assert browser.recovered == [False]
    silent.hear()
    fresh.feeds.look(silent.hub.epoch)
    silent.rest()
    assert browser.recovered == [False, True]


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(lambda gateway: setattr(gateway.keeping, "is_silent", True), id="the set"),
        pytest.param(lambda gateway: gateway.flow.since.clear(), id="the prefix"),
    ],
)
def test_when_its_time_is_over_it_begins_anew(hold: Callable[[Played], None]) -> None:
    flow = Flow()
    gateway = Played(flow)
    browser = following(gateway, "a")
    browser.break_off()
    gateway.feeds.sets._known.clear()
    browser.connect(rests=False)
    assert browser.client is not None
    browser.client.late_to_join()
    flow.rest()
    assert browser.recovered == [False, False]
    assert not browser.is_closed
    assert "ok" in browser.ask("subscribe", "b")
    publish(flow, "a", "b")
    assert browser.topics == ["b 2"]


def test_who_asks_for_no_namespace_is_parted_with(flow: Flow, gateway: Played) -> None:
    client = gateway.clients.open(None, "")
    client.late_to_join()
    assert client.has_ended


def test_a_set_that_could_not_be_kept_is_kept_with_the_next(flow: Flow, gateway: Played) -> None:
    browser = gateway.browser()
    gateway.keeping.is_silent = True
    browser.ask("subscribe", "a")
    gateway.keeping.is_silent = False
    following(gateway, "a")
    name = f"keep set:{set_name(frozenset([Want(Pattern('a'))]))}"
    assert gateway.keeping.asked.count(name) == 2
    following(gateway, "a")
    assert gateway.keeping.asked.count(name) == 2


# What its URL says, and leaving


def test_a_topic_in_the_url(flow: Flow, gateway: Played) -> None:
    publish(flow, "a")
    browser = gateway.browser("EIO=4&transport=polling&topic=a&history=3")
    assert [each["seq"] for each in browser.past] == [1]
    assert browser.offset == offset(1, "a")
    publish(flow, "a")
    browser.break_off()
    publish(flow, "a")
    browser.connect()
    assert (browser.recovered, browser.topics) == ([False, True], ["a 2", "a 3"])
    assert len(browser.past) == 1


def test_who_breaks_off_before_that_is_in_force_begins_with_it_anew(flow: Flow, gateway: Played) -> None:
    browser = gateway.browser("topic=a", connects=False)
    browser.connect(rests=False)
    while not browser.recovered:
        flow.later.popleft()()
    assert browser.offset is None
    browser.break_off()
    browser.connect()
    assert browser.recovered == [False, False]
    publish(flow, "a")
    assert browser.topics == ["a 1"]


def test_what_was_unsubscribed_is_not_subscribed_by_the_url_again(flow: Flow, gateway: Played) -> None:
    browser = gateway.browser("topic=a")
    browser.ask("unsubscribe", "a")
    browser.break_off()
    browser.connect()
    publish(flow, "a")
    assert (browser.recovered, browser.topics) == ([False, True], [])


def test_a_url_that_is_wrong_says_so(gateway: Played) -> None:
    browser = gateway.browser("topic=a//b")
    assert [(name, told["code"]) for name, told in browser.others] == [("error", "bad_pattern")]
    assert browser.offset == offset(0)


def test_who_leaves_the_namespace_has_no_subscriptions_any_more(flow: Flow, gateway: Played) -> None:
    browser = following(gateway, "a")
    assert browser.client is not None
    browser.client.take_payload("41")
    publish(flow, "a")
    assert (browser.topics, browser.is_closed) == ([], False)
    browser.pid = browser.offset = None
    browser.client.take_payload("40")
    flow.rest()
    assert browser.recovered == [False, False]
    browser.ask("subscribe", "b")
    publish(flow, "a", "b")
    assert browser.topics == ["b 3"]


def test_who_breaks_off_while_it_comes_back_is_gone(flow: Flow) -> None:
    """The broker's answer comes to nobody: it would begin anew, and get events for ever without a socket."""
    gateway = Played(flow)
    browser = following(gateway, "a")
    browser.break_off()
    gateway.feeds.sets._known.clear()
    browser.connect(rests=False)
    client = browser.client
    assert client is not None
    browser.break_off()
    flow.rest()
    assert (client.behind, client.cohort) == (None, None)
    assert client not in gateway.feeds._clients.values()


def test_who_leaves_while_it_comes_back_is_not_let_in(flow: Flow) -> None:
    gateway = Played(flow)
    browser = following(gateway, "a")
    browser.break_off()
    gateway.feeds.sets._known.clear()
    browser.connect(rests=False)
    assert browser.client is not None
    browser.client.take_payload("41")
    flow.rest()
    assert browser.recovered == [False]
    assert not browser.client.interest.wants
