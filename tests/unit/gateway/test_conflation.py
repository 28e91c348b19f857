"""Less than all of a topic: the newest, or so many a second. Scene by scene."""

from __future__ import annotations

from typing import Any

import pytest

from broker.gap import Gap
from gateway.delivery import ALLOWED, LATEST, BadDelivery, Delivery, delivery, in_query
from gateway.forms import NATIVE, RAW, SSE, Form, native
from gateway.ring import EVENT_OVERHEAD_BYTES
from tests.support.events import OTHER_EPOCH, event, position
from tests.support.flow import Flow, Socket

EVENT_BYTES = EVENT_OVERHEAD_BYTES + 2
HZ_2: dict[str, Any] = {"hz": 2}


def connect(flow: Flow, form: Form = NATIVE, room: int = 1 << 30, **deliveries: Any) -> Socket:
    """Subscribed to each topic so."""
    socket = flow.connect(form=form)
    for topic, wished in deliveries.items():
        socket.say(subscribe=topic, id=1, delivery=wished)
        flow.rest()
    list(socket.frames())
    socket.room = room
    return socket


@pytest.mark.parametrize("value", ["all", "latest", *({"hz": n} for n in ALLOWED)])
def test_what_there_is(value: Any) -> None:
    text = value if isinstance(value, str) else f"hz:{value['hz']}"
    assert delivery(value) == in_query(text)


@pytest.mark.parametrize(
    "value", ["", "ALL", None, 5, True, [], {}, {"hz": 3}, {"hz": 1.0}, {"hz": 1, "x": 1}]
)
def test_what_there_is_not(value: Any) -> None:
    with pytest.raises(BadDelivery, match="1, 2, 5, 10, 20, 30, 60"):
        delivery(value)


@pytest.mark.parametrize("text", ["", "hz:", "hz:3", "hz:-1", "hz:1e1", "hz:1000000", "{", "[]", "latest "])
def test_what_a_query_cannot_ask_for(text: str) -> None:
    with pytest.raises(BadDelivery, match="1, 2, 5, 10, 20, 30, 60"):
        in_query(text)


def test_the_fullest_is_the_largest() -> None:
    assert sorted(Delivery)[-2:] == [Delivery.LATEST, Delivery.ALL]
    assert [int(each) for each in sorted(Delivery)][: len(ALLOWED)] == list(ALLOWED)


# Latest


def test_of_a_flush_the_newest_of_each_topic_is_sent_without_prev() -> None:
    flow = Flow()
    socket = flow.connect()
    socket.say(subscribe="**", id=1, delivery="latest")
    flow.rest()
    list(socket.frames())
    flow.publish("a", "b", "a", "a")
    flow.flush()
    [frame] = socket.frames()
    assert frame == b"\n".join(native(flow.log.events[seq - 1].bare()) for seq in (2, 4))
    assert b"prev" not in frame


def test_each_flush_has_its_newest() -> None:
    flow = Flow()
    socket = connect(flow, a="latest")
    for _ in range(3):
        flow.publish("a", "a")
        flow.flush()
    assert socket.heard() == ["a 2", "a 4", "a 6"]


def test_a_reader_that_is_behind_gets_the_newest_when_it_reads() -> None:
    flow = Flow()
    socket = connect(flow, a="latest", room=1)
    for _ in range(100):
        flow.publish("a")
        flow.flush()
    assert socket.read() == ["a 1", "a 100", "at 100"]  # the frame that it had the first byte of
    flow.publish("a")
    flow.flush()
    assert socket.heard() == ["a 101"]


def test_one_that_takes_nothing_keeps_nothing() -> None:
    flow = Flow()
    socket = connect(flow, a="latest", room=0)
    for _ in range(100):
        flow.publish("a")
        flow.flush()
    assert socket.behind and socket.behind.unsent is None
    assert socket.read() == ["a 100", "at 100"]


def test_beyond_the_ring_the_log_is_asked_for_the_newest() -> None:
    flow = Flow(ring_bytes=2 * EVENT_BYTES)
    flow.publish("a", "b")
    socket = connect(flow, a="latest", b="latest", room=0)
    flow.publish(*"abaaaaaacccc")
    flow.flush()
    socket.read()
    flow.rest()
    assert flow.log.asked[-1] == "newest of a b after 2 upto 14"
    assert socket.heard() == ["b 4", "a 10", "at 14"]


class Held(Socket):
    """Does not keep up with newest values."""

    __slots__ = ("is_held",)
    is_held: bool

    def takes_more(self) -> bool:
        return not self.is_held


def test_what_is_wanted_in_full_does_not_wait_for_who_is_held() -> None:
    flow = Flow()
    socket = Held(flow.hub, 1)
    socket.is_held = False
    flow.hub.add(socket)
    socket.say(subscribe="a", id=1)
    socket.say(subscribe="b", id=2, delivery="latest")
    flow.rest()
    list(socket.frames())
    socket.is_held = True
    flow.publish("b", "a", "b")
    flow.rest()
    socket.pump()  # there is room in the socket, so the event loop does this at once
    for _ in range(2):
        flow.publish("b", "a", "b")
        flow.rest()
    assert socket.heard() == ["a 2", "a 5", "a 8"]
    socket.is_held = False
    socket.pump()
    flow.rest()
    assert socket.heard() == ["b 9", "at 9"]


# So many a second


def test_the_first_comes_at_once_and_the_newest_at_the_end_of_its_interval() -> None:
    flow = Flow()
    socket = connect(flow, a=HZ_2)
    flow.publish("a", "a")
    flow.flush()
    assert socket.heard() == ["a 2"]
    flow.publish("a", "a")
    flow.flush()
    assert socket.heard() == []
    flow.now_s += 0.5
    assert flow.hub.is_dirty
    flow.flush()
    assert socket.heard() == ["a 4"]
    flow.now_s += 0.5
    assert not flow.hub.is_dirty


def test_the_hub_says_when_it_wants_to_flush() -> None:
    flow = Flow()
    socket = connect(flow, a=HZ_2, b={"hz": 20})
    assert flow.hub.due_in_s() is None
    flow.now_s += 0.125
    flow.publish("a", "b")
    flow.flush()
    flow.publish("a")
    flow.flush()
    assert flow.hub.due_in_s() == 0.375
    flow.publish("b")
    flow.flush()
    assert flow.hub.due_in_s() == pytest.approx(0.025)
    flow.now_s += 0.026
    assert flow.hub.due_in_s() == 0
    flow.rest()
    assert socket.heard() == ["a 1", "b 2", "b 4"]


def test_who_is_not_due_is_not_looked_at() -> None:
    flow = Flow()
    connect(flow, a=HZ_2)
    flow.publish("a")
    flow.flush()
    flow.publish("a")
    flow.flush()
    for _ in range(3):
        flow.publish("b")
        assert not flow.hub._dirty
        flow.flush()
    assert [len(cohorts) for cohorts in flow.hub._waiting.values()] == [1]


def test_a_topic_comes_at_most_so_often() -> None:
    flow = Flow()
    socket = connect(flow, a={"hz": 10})
    for _ in range(1000):
        flow.publish("a")
        flow.now_s += 0.001
        flow.rest()
    flow.now_s += 1
    flow.rest()
    heard = [told for told in socket.heard() if told.startswith("a ")]
    assert 10 <= len(heard) <= 12
    assert heard[-1] == "a 1000"


# Several subscriptions


@pytest.mark.parametrize(
    ("deliveries", "heard"),
    [
        pytest.param({"a": HZ_2, "**": "all"}, ["a 1", "a 2", "a 3"], id="all over hz"),
        pytest.param({"a": "all", "**": "latest"}, ["a 1", "a 2", "a 3"], id="all over latest"),
        pytest.param({"a": HZ_2, "*": "latest"}, ["a 2", "a 3"], id="latest over hz"),
        pytest.param({"a": HZ_2, "*": {"hz": 1}}, ["a 2"], id="the higher rate"),
    ],
)
def test_the_fullest_wins(deliveries: dict[str, Any], heard: list[str]) -> None:
    flow = Flow()
    socket = connect(flow, **deliveries)
    flow.publish("a", "a")
    flow.flush()
    flow.publish("a")
    flow.flush()
    assert socket.heard() == heard


def test_a_pattern_that_is_subscribed_again_is_delivered_as_asked_last() -> None:
    flow = Flow()
    socket = connect(flow, a="latest")
    socket.say(subscribe="a", id=2, delivery="all")
    flow.rest()
    socket.heard()
    flow.publish("a", "a")
    flow.flush()
    assert socket.heard() == ["a 1", "a 2"]
    assert len(socket.interest.wants) == 1


def test_what_is_kept_back_comes_before_a_cut() -> None:
    flow = Flow()
    socket = connect(flow, a=HZ_2)
    flow.publish("a")
    flow.flush()
    flow.publish("a", "b")
    flow.flush()
    socket.say(subscribe="b", id=2, history=1)
    flow.rest()
    assert socket.heard() == ["a 1", "a 2", "at 3", "#2 b 3", "reply 2 at 3 recovered"]
    flow.now_s += 0.5
    flow.rest()
    assert socket.heard() == []  # and not once more afterwards


def test_what_is_kept_back_comes_before_an_unsubscribe() -> None:
    flow = Flow()
    socket = connect(flow, a=HZ_2, b="all")
    flow.publish("a")
    flow.flush()
    flow.publish("a", "b")
    flow.flush()
    socket.say(unsubscribe="b", id=2)
    flow.rest()
    assert socket.heard() == ["a 1", "b 3", "a 2", "at 3", "reply 2"]


def test_who_comes_to_a_cohort_that_keeps_something_back_does_not_get_twice_what_it_had() -> None:
    flow = Flow()
    first = connect(flow, a=HZ_2)
    flow.publish("a")
    flow.flush()
    flow.publish("a", "a")
    flow.flush()
    second = flow.connect()
    second.say(subscribe="a", id=1, history=1, delivery=HZ_2)
    flow.rest()
    assert second.heard() == ["welcome at 3", "#1 a 3", "reply 1 at 3 recovered"]
    assert second.cohort is first.cohort
    flow.now_s += 0.5
    flow.rest()
    assert (first.heard(), second.heard()) == (["a 1", "a 3"], [])
    flow.now_s += 0.5
    flow.publish("a")
    flow.rest()
    assert (first.heard()[:1], second.heard()[:1]) == (["a 4"], ["a 4"])


# The position


def test_where_it_is_is_told_each_second_if_it_moved() -> None:
    flow = Flow()
    socket = connect(flow, a="latest")
    other = flow.connect("b")
    assert socket.heard() == []
    flow.pass_time(1)
    flow.rest()
    assert socket.heard() == ["at 0"]
    flow.publish("b", "b")
    flow.flush()
    flow.pass_time(1)
    flow.rest()
    assert socket.heard() == ["at 2"]
    flow.pass_time(1)
    flow.rest()
    assert (socket.heard(), other.heard()) == ([], ["b 1", "b 2"])


def test_it_does_not_pass_what_is_kept_back() -> None:
    flow = Flow()
    socket = connect(flow, a={"hz": 1}, b="latest")
    flow.publish("a")
    flow.flush()
    flow.now_s += 0.5
    flow.publish("a", "b", "b")
    flow.flush()
    assert socket.heard() == ["a 1", "b 4"]
    assert socket.cohort and socket.cohort.settled(flow.hub.position, ()) == position(1)
    flow.now_s += 0.5
    flow.rest()
    assert socket.heard() == ["a 2", "at 4"]


@pytest.mark.parametrize("wished", ["latest", HZ_2])
def test_a_resume_brings_the_newest_of_what_changed(wished: Any) -> None:
    flow = Flow()
    flow.publish(*"abcaab")
    socket = flow.connect()
    socket.say(subscribe="*", id=1, since=str(position(3)), delivery=wished)
    flow.rest()
    assert socket.heard() == ["welcome at 6", "#1 a 5", "#1 b 6", "reply 1 at 6 recovered"]


def test_a_resume_from_another_log() -> None:
    flow = Flow()
    flow.publish(*"aab")
    socket = flow.connect()
    socket.say(subscribe="*", id=1, since=str(position(3, OTHER_EPOCH)), delivery="latest")
    flow.rest()
    assert socket.heard() == ["welcome at 3", "#1 gap * 1d.3..1 epoch", "#1 a 2", "#1 b 3", "reply 1 at 3"]


def test_a_hole_is_told_whatever_the_delivery() -> None:
    flow = Flow()
    socket = connect(flow, a=HZ_2)
    flow.lose(Gap("a", position(0), position(2), "late"))
    flow.flush()
    assert socket.heard() == ["gap a 0..2 late"]


def test_what_is_kept_back_comes_before_another_log() -> None:
    flow = Flow()
    socket = connect(flow, a=HZ_2)
    flow.publish("a")
    flow.flush()
    flow.publish("a")
    flow.flush()
    flow.log.begin_anew(OTHER_EPOCH)
    flow.hub.change_epoch(OTHER_EPOCH, 0, 0)
    flow.hub.offer_gap(Gap("**", position(2), position(1, OTHER_EPOCH), "epoch"))
    flow.hub.offer(event("a", 1, epoch=OTHER_EPOCH))
    flow.rest()
    assert socket.heard() == ["a 1", "a 2", "gap ** 2..1d.1 epoch"]
    flow.now_s += 0.5
    flow.rest()
    assert socket.heard() == ["a 1"]


# Other forms


def test_an_event_stream_has_its_positions_as_ids_and_no_others() -> None:
    flow = Flow()
    socket = connect(flow, form=SSE, a="latest")
    socket._sent = b""
    flow.now_s += 1
    flow.publish("a", "a")
    flow.flush()
    bare = native(flow.log.events[1].bare())
    at = str(position(2)).encode()
    assert socket._sent == b'data: %b\n\nevent: at\nid: %b\ndata: {"at":"%b"}\n\n' % (bare, at, at)


def test_raw_payloads_are_the_newest() -> None:
    flow = Flow()
    socket = connect(flow, form=RAW, a="latest")
    flow.publish("a", payload=b"1")
    flow.publish("a", payload=b"2")
    flow.flush()
    assert list(socket.frames()) == [b"2"]


def test_latest_is_never_kept_back() -> None:
    assert LATEST.slot(1.0) == LATEST.slot(2.5) == 0
