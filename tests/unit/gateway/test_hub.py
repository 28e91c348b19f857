"""Who gets what, and what it costs: the hub and its connections, scene by scene."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from copy import copy

import pytest

from broker.control import LastPage
from broker.gap import Gap
from gateway import hub as hub_module
from gateway.connection import COMMANDS_MAX
from gateway.forms import RAW, Form, native
from gateway.frames import pong_frame, text_frame
from gateway.past import PAGE_BYTES, PAGE_EVENTS
from gateway.protocol import COMMANDS_PER_FRAME
from gateway.ring import EVENT_OVERHEAD_BYTES
from tests.support.events import OTHER_EPOCH, event, position
from tests.support.flow import LIMITS, Flow, Socket

EVENT_BYTES = EVENT_OVERHEAD_BYTES + 2  # in the ring, of a payload of one byte
FRAME_BYTES = len(text_frame(native(event("a", 1))))


def gap(pattern: str, after: int, before: int) -> Gap:
    return Gap(pattern, position(after), position(before), "late")


# The live flow


def test_each_gets_what_it_subscribed_to() -> None:
    flow = Flow()
    of_a, of_all, of_two = flow.connect("a"), flow.connect("**"), flow.connect("a", "b/*")
    flow.publish("a", "b/1", "c", "b/1/2", "a")
    flow.flush()
    assert of_a.heard() == ["a 1", "a 5"]
    assert of_all.heard() == ["a 1", "b/1 2", "c 3", "b/1/2 4", "a 5"]
    assert of_two.heard() == ["a 1", "b/1 2", "a 5"]


def test_an_event_comes_once_however_many_patterns_match() -> None:
    flow = Flow()
    socket = flow.connect("a/b", "a/*", "**")
    flow.publish("a/b")
    flow.flush()
    assert socket.heard() == ["a/b 1"]


def test_nothing_is_sent_before_the_flush_and_one_frame_by_it() -> None:
    flow = Flow()
    socket = flow.connect("a")
    flow.publish("a", "a", "a")
    assert list(socket.frames()) == []
    flow.flush()
    assert len(list(socket.frames())) == 1


def test_a_raw_connection_gets_payloads_and_nothing_else() -> None:
    flow = Flow()
    socket = flow.connect("a", form=RAW)
    flow.hub.set_stale(True)
    flow.publish("a", payload=b"x")
    flow.lose(gap("a", 1, 3))
    flow.publish("a", payload=b"{}\n")
    flow.rest()
    assert list(socket.frames()) == [b"x", b"{}\n"]


class Counted:
    """A form that counts what is done for it, and tells nothing but events."""

    def __init__(self) -> None:
        self.encoded = self.framed = 0
        self.form: Form = copy(RAW)
        self.form.encode, self.form.frame = self._encode, self._frame

    def _encode(self, event: object) -> bytes:
        self.encoded += 1
        return b"x"

    def _frame(self, pending: list[bytes]) -> bytes:
        self.framed += 1
        return text_frame(b"".join(pending))


def test_a_cohort_shares_its_work() -> None:
    flow, counted = Flow(), Counted()
    sockets = [flow.connect("a", "b", form=counted.form) for _ in range(5)]
    sockets += [flow.connect("b", "a", form=counted.form) for _ in range(5)]  # the same set
    flow.hub.expire()  # of the cohorts that they went through on their way
    for socket in sockets:
        socket.writes = 0
    counted.encoded = counted.framed = 0
    flow.publish("a", "b", "c", "a")
    flow.flush()
    assert (counted.encoded, counted.framed) == (3, 1)
    assert [socket.writes for socket in sockets] == [1] * 10
    assert [list(socket.frames()) for socket in sockets] == [[b"xxx"]] * 10


def test_a_cohort_without_members_costs_no_join() -> None:
    flow, counted = Flow(), Counted()
    flow.hub.remove(flow.connect("a", form=counted.form))
    counted.framed = 0
    flow.publish("a")
    flow.flush()
    assert counted.framed == 0


def test_the_hub_counts() -> None:
    flow = Flow()
    for _ in range(3):
        flow.connect("a")
    flow.publish("a", "a")
    flow.flush()
    counts = {name: count for name, count in flow.hub.counts.items() if count}
    assert counts == {"events": 2, "deliveries": 6, "sends": 3}


# While a flush is under way

Move = Callable[[Flow, Socket], object]


@pytest.mark.parametrize(
    "is_served", [pytest.param(True, id="served"), pytest.param(False, id="not yet served")]
)
@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda flow, socket: socket.say(subscribe="c", id=1), id="subscribes to more"),
        pytest.param(lambda flow, socket: socket.say(subscribe="a", id=1), id="subscribes again"),
        pytest.param(lambda flow, socket: socket.say(unsubscribe="b", id=1), id="subscribes to less"),
        pytest.param(lambda flow, socket: socket.say(ping=1, id=1), id="asks something"),
        pytest.param(lambda flow, socket: flow.hub.set_stale(True), id="is told something"),
        pytest.param(lambda flow, socket: flow.publish("a"), id="has more to come"),
    ],
)
def test_who_moves_in_the_middle_of_a_flush_gets_each_event_once(
    move: Move, is_served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SENDS_PER_TURN", 1)
    flow = Flow()
    flow.connect("c")  # so that the prefix is in force
    sockets = [flow.connect("a", "b") for _ in range(3)]
    flow.publish("a", "a")
    flush = flow.hub.flush()
    next(flush)
    mover = next(socket for socket in sockets if socket.has_unread == is_served)
    move(flow, mover)
    for _ in flush:
        pass
    flow.rest()
    flow.publish("a")
    flow.rest()
    for socket in sockets:
        assert [told for told in socket.heard() if told[0] == "a"] == [
            f"a {seq}" for seq in range(1, flow.log.head + 1)
        ]


def test_who_joins_in_the_middle_of_a_flush_gets_what_comes_after_its_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "SENDS_PER_TURN", 1)
    flow = Flow()
    for _ in range(3):
        flow.connect("a")
    flow.publish("a", "a")
    flush = flow.hub.flush()
    next(flush)
    joining = flow.connect()
    joining.say(subscribe="a", id=1)
    flow.publish("a")
    for _ in flush:
        pass
    flow.rest()
    assert joining.heard() == ["welcome at 2", "reply 1 at 2 recovered", "a 3"]


def test_a_gap_goes_with_who_steps_out_of_a_flush_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "SENDS_PER_TURN", 1)
    flow = Flow()
    sockets = [flow.connect("a", "b") for _ in range(2)]
    flow.publish("a", "b", "a")
    flow.lose(gap("b", 0, 3))
    flush = flow.hub.flush()
    next(flush)
    [waiting] = [socket for socket in sockets if not socket.has_unread]
    waiting.say(subscribe="a", id=1)
    for _ in flush:
        pass
    flow.rest()
    assert sorted(told for told in waiting.heard() if "reply" not in told) == [
        "a 1", "a 3", "b 2", "gap b 0..3 late",
    ]  # fmt: skip


@pytest.mark.parametrize("patterns", [pytest.param(["a"], id="a set that others have"),
                                      pytest.param(["a", "b"], id="a set that nobody has yet")])  # fmt: skip
def test_who_joins_between_an_event_and_its_flush_gets_it(patterns: list[str]) -> None:
    flow = Flow()
    flow.connect("a")
    flow.connect("b")
    joining = flow.connect()
    flow.publish("a")
    for number, pattern in enumerate(patterns):
        joining.say(subscribe=pattern, id=number)
    replies = [f"reply {number} at 0 recovered" for number in range(len(patterns))]
    assert joining.heard() == ["welcome at 0", *replies]
    flow.flush()
    assert joining.heard() == ["a 1"]


def test_who_joins_between_a_gap_and_its_flush_asks_the_log() -> None:
    flow = Flow()
    flow.connect("a", "b")
    flow.hub.expire()  # nobody has the set of a alone
    joining = flow.connect()
    flow.publish("a", is_heard=False)
    flow.publish("b")
    flow.lose(gap("a", 0, 2))
    joining.say(subscribe="a", id=1)
    flow.rest()
    assert joining.heard() == ["welcome at 0", "reply 1 at 0 recovered", "a 1"]


def test_who_leaves_in_the_middle_of_a_flush_gets_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "SENDS_PER_TURN", 1)
    flow = Flow()
    sockets = [flow.connect("a") for _ in range(3)]
    flow.publish("a")
    flush = flow.hub.flush()
    next(flush)
    leaving = [socket for socket in sockets if not socket.has_unread]
    for socket in leaving:
        flow.hub.remove(socket)
    for _ in flush:
        pass
    assert [socket.heard() for socket in leaving] == [[], []]
    assert sum(len(socket.heard()) for socket in sockets) == 1


# Slow readers


def test_a_slow_reader_goes_on_from_the_ring() -> None:
    flow = Flow()
    slow, fast = flow.connect("a", room=FRAME_BYTES // 2), flow.connect("a")
    flow.publish("a")
    flow.flush()
    writes = slow.writes
    for _ in range(3):
        flow.publish("a", "a")
        flow.flush()
    assert fast.heard() == [f"a {seq}" for seq in range(1, 8)]
    assert slow.heard() == []
    assert slow.writes == writes  # nothing is offered to a socket that has no room
    assert slow.read() == [f"a {seq}" for seq in range(1, 8)]
    assert flow.log.asked == []
    assert flow.hub.counts["slow"] == 1
    flow.publish("a")
    flow.flush()
    assert slow.heard() == ["a 8"]  # it is in the live flow again
    assert slow.behind is None


@pytest.mark.parametrize("room", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1])
def test_a_reader_that_takes_little_gets_all_of_it_in_order(room: int) -> None:
    flow = Flow()
    slow = flow.connect("a", room=room)
    heard: list[str] = []
    for _ in range(5):
        flow.publish("a", "b", "a")
        flow.flush()
        heard += slow.heard()
        heard += slow.read(room)
    heard += slow.read()
    assert heard == [f"a {seq}" for seq in range(1, 16) if seq % 3 != 2]


def test_a_long_way_back_is_read_in_pages() -> None:
    flow = Flow()
    slow = flow.connect("a", room=1)
    flow.publish("a")
    flow.flush()
    flow.publish(*["a"] * (2 * PAGE_EVENTS + 3))
    flow.flush()
    assert slow.read() == [f"a {seq}" for seq in range(1, 2 * PAGE_EVENTS + 5)]
    assert flow.log.asked == []


@pytest.mark.parametrize("is_of_log", [False, True], ids=["from the ring", "from the log"])
def test_who_takes_a_long_past_at_once_lets_others_have_their_turn(is_of_log: bool) -> None:
    flow = Flow(ring_bytes=1 if is_of_log else 1 << 30)
    reader = flow.connect("a", room=1)
    flow.publish("a")
    flow.flush()
    payload = b"x" * PAGE_BYTES
    flow.publish(*["a"] * 10, payload=payload)
    flow.flush()
    heard = [reader.read()]
    flow.log.answer()
    heard.append(reader.heard())
    while flow.later:
        flow.later.popleft()()
        heard.append(reader.heard())
    assert [told for turn in heard for told in turn] == [f"a {seq}" for seq in range(1, 12)]
    assert max(map(len, heard)) <= 4


def test_an_answer_that_the_socket_did_not_take_is_not_cut_by_a_flush() -> None:
    flow = Flow()
    socket = flow.connect("a", room=5)
    socket.say(ping=1, id=1)
    socket.room = 1 << 20
    flow.publish("a")
    flow.flush()
    assert socket.heard() == []
    assert socket.read() == ["reply 1", "a 1"]


def test_a_slow_reader_holds_a_position_and_no_queue() -> None:
    flow = Flow()
    slow = flow.connect("a", room=1)
    flow.publish("a")
    flow.flush()
    for _ in range(100):
        flow.publish("a")
        flow.flush()
    assert slow.behind and slow.behind.past and slow.behind.unsent
    assert len(slow.behind.unsent) == FRAME_BYTES - 1
    assert not slow.behind.told
    assert slow.behind.past.position == position(1)


def test_what_the_ring_no_longer_has_comes_from_the_log() -> None:
    flow = Flow(ring_bytes=3 * EVENT_BYTES)
    slow = flow.connect("a", room=1)
    flow.publish(*"aaaaaaaa")
    flow.flush()
    flow.publish(*"aaaaaaaa")
    flow.flush()
    assert slow.read() == [f"a {seq}" for seq in range(1, 9)]  # the flush that it could not take
    assert flow.log.asked == ["replay a after 8 upto 16"]
    flow.publish("a")
    flow.flush()
    assert slow.heard() == []  # what is before it comes first
    flow.rest()
    flow.publish("a")
    flow.flush()
    assert slow.heard() == [f"a {seq}" for seq in range(9, 19)]
    assert len(flow.log.asked) == 1


def test_what_the_log_no_longer_has_is_a_gap_in_its_place() -> None:
    flow = Flow(ring_bytes=3 * EVENT_BYTES)
    slow = flow.connect("a", room=1)
    flow.publish("a")
    flow.flush()
    flow.publish(*"aaaaaaaa")
    flow.flush()
    flow.log.forget(5)
    assert slow.read() == ["a 1"]
    flow.rest()
    flow.publish("a")
    flow.flush()
    assert slow.heard() == ["gap a 1..6 retention", "a 6", "a 7", "a 8", "a 9", "a 10"]


def test_a_log_that_does_not_answer_is_asked_again() -> None:
    flow = Flow(ring_bytes=EVENT_BYTES)
    slow = flow.connect("a", room=1)
    flow.publish("a")
    flow.flush()
    flow.publish(*"aaa")
    flow.flush()
    assert slow.read() == ["a 1"]
    flow.log.fail()
    flow.rest()
    assert slow.heard() == ["a 2", "a 3", "a 4"]
    assert flow.log.asked == ["replay a after 1 upto 4"] * 2


def test_a_history_that_is_not_answered_is_asked_for_again() -> None:
    flow = Flow()
    flow.publish("a")
    flow.connect("a")
    socket = flow.connect()
    socket.say(subscribe="a", id=1, history=1)
    flow.log.fail()
    flow.rest()
    assert socket.heard() == ["welcome at 1", "#1 a 1", "reply 1 at 1 recovered"]


# Gaps


def test_a_gap_comes_in_its_place_to_those_it_concerns() -> None:
    flow = Flow()
    of_a, of_b, of_all = flow.connect("a"), flow.connect("b"), flow.connect("**")
    flow.publish("b")
    flow.publish("a", is_heard=False)
    flow.publish("b")
    flow.lose(gap("a", 0, 3))
    flow.publish("a")
    flow.flush()
    assert of_a.heard() == ["gap a 0..3 late", "a 4"]
    assert of_b.heard() == ["b 1", "b 3"]
    assert of_all.heard() == ["b 1", "b 3", "gap a 0..3 late", "a 4"]


def test_a_gap_in_everything_is_told_to_all_who_subscribe() -> None:
    flow = Flow()
    of_a, idle = flow.connect("a"), flow.connect()
    idle.heard()
    flow.lose(gap("**", 0, 3))
    flow.flush()
    assert of_a.heard() == ["gap ** 0..3 late"]
    assert idle.heard() == []


def test_who_is_behind_a_gap_finds_it_in_the_log() -> None:
    flow = Flow()
    slow = flow.connect("a", room=1)
    flow.publish("a")
    flow.flush()
    flow.publish("a", is_heard=False)
    flow.publish("a", is_heard=False)
    flow.log.forget(3)
    flow.lose(gap("a", 1, 4))
    flow.publish("a")
    flow.flush()
    assert slow.read() == ["a 1"]
    flow.rest()
    assert slow.heard() == ["gap a 1..4 retention", "a 4"]


def test_who_is_past_a_gap_on_its_way_is_told_of_it() -> None:
    flow = Flow()
    slow = flow.connect("a", "b", room=1)
    flow.publish("b", "b")
    flow.flush()
    flow.lose(gap("a", 0, 2))  # an event of a was lost, and b's of that time are out already
    assert slow.read() == ["b 1", "b 2", "gap a 0..2 late"]


def test_a_gap_that_was_not_sent_goes_with_who_leaves_the_flow() -> None:
    flow = Flow()
    flow.connect("b")  # so that the prefix is in force
    socket = flow.connect("a")
    flow.publish("a", "b")
    flow.flush()
    flow.lose(gap("a", 1, 3))
    socket.say(subscribe="b", id=1)
    flow.rest()
    assert [told for told in socket.heard() if "reply" not in told] == ["a 1", "gap a 1..3 late"]


# A subscribe is one cut


def test_history_comes_tagged_then_the_reply_then_the_larger_set() -> None:
    flow = Flow()
    flow.publish("b", "b", "b")
    socket = flow.connect("a")
    flow.publish("a")
    socket.say(subscribe="b", id=7, history=2)
    flow.later.popleft()()
    flow.force()
    flow.flush()
    assert flow.log.asked == ["last 2 of b upto 4"]
    flow.publish("a", "b")
    flow.flush()
    assert socket.heard() == ["a 4"]  # at the cut the flow stands still
    flow.log.answer()
    assert socket.heard() == ["#7 b 2", "#7 b 3", "reply 7 at 4 recovered", "a 5", "b 6"]
    flow.publish("b", "a")
    flow.flush()
    assert socket.heard() == ["b 7", "a 8"]


def test_history_of_a_pattern_is_merged_by_seq() -> None:
    flow = Flow()
    flow.publish(*"ababcab")
    socket = flow.connect()
    socket.say(subscribe="*", id=1, history=2)
    flow.rest()
    assert socket.heard() == [
        "welcome at 7", "#1 a 3", "#1 b 4", "#1 c 5", "#1 a 6", "#1 b 7", "reply 1 at 7 recovered",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("is_truncated", "damaged", "reply"),
    [
        pytest.param(True, [], "reply 1 at 1 recovered truncated", id="more than the limit"),
        pytest.param(False, [(1, 1)], "reply 1 at 1", id="damaged"),
    ],
)
def test_history_that_is_not_whole_says_so(
    is_truncated: bool, damaged: list[tuple[int, int]], reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow()
    flow.publish("a")
    monkeypatch.setattr(
        "tests.support.flow.LastPage",
        lambda at: LastPage(at=at, truncated=is_truncated, damaged=damaged),
    )
    socket = flow.connect()
    socket.say(subscribe="a", id=1, history=2)
    flow.rest()
    assert socket.heard()[-1] == reply


def test_without_history_the_reply_comes_at_once_where_the_prefix_is_in_force() -> None:
    flow = Flow()
    flow.connect("a")
    socket = flow.connect()
    socket.say(subscribe="a", id=1)
    assert socket.heard() == ["welcome at 0", "reply 1 at 0 recovered"]
    assert flow.log.asked == []


def test_before_its_barrier_a_subscribe_is_not_answered() -> None:
    flow = Flow()
    socket = flow.connect("a")
    socket.say(subscribe="b", id=1)
    flow.publish("b", "a")
    flow.flush()
    assert socket.heard() == ["a 2"]  # the flow goes on meanwhile
    flow.rest()
    flow.publish("b")
    flow.flush()
    assert socket.heard() == ["reply 1 at 2 recovered", "b 3"]


def test_a_subscribe_of_who_is_behind_waits_for_the_place_of_the_barrier() -> None:
    flow = Flow()
    slow = flow.connect("a", room=1)
    flow.publish("a")
    flow.flush()
    flow.publish("b", "a")
    flow.flush()
    flow.connect("b")  # in force since 3
    slow.say(subscribe="b", id=1)
    assert slow.read() == ["a 1", "a 3", "reply 1 at 3 recovered"]
    assert flow.log.asked == []
    flow.publish("b")
    flow.flush()
    assert slow.heard() == ["b 4"]


def test_commands_that_arrive_meanwhile_wait_their_turn() -> None:
    flow = Flow()
    socket = flow.connect()
    socket.say(subscribe="a", id=1, history=1)
    socket.say(ping=1, id=2)
    socket.say(unsubscribe="a", id=3)
    assert socket.heard() == ["welcome at 0"]
    flow.rest()
    assert socket.heard() == ["reply 1 at 0 recovered", "reply 2", "reply 3"]


def test_subscribing_again_sends_the_past_once_more_and_live_events_once() -> None:
    flow = Flow()
    socket = flow.connect("a")
    flow.publish("a")
    flow.flush()
    socket.say(subscribe="a", id=1, history=5)
    flow.rest()
    flow.publish("a")
    flow.flush()
    assert socket.heard() == ["a 1", "#1 a 1", "reply 1 at 1 recovered", "a 2"]


def test_a_raw_connection_gets_its_history_as_payloads() -> None:
    flow = Flow()
    flow.publish("a", payload=b"old")
    socket = flow.connect(form=RAW)
    socket.say(subscribe="a", id=1, history=5)
    flow.rest()
    flow.publish("a", payload=b"new")
    flow.flush()
    assert list(socket.frames()) == [b"old", b"new"]


# Since


def test_since_brings_what_was_missed_from_the_ring() -> None:
    flow = Flow()
    flow.connect("a", "b")
    flow.publish(*"abaab")
    flow.flush()
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(1)))
    assert socket.heard() == ["welcome at 5", "#1 a 3", "#1 a 4", "reply 1 at 5 recovered"]
    assert flow.log.asked == []


def test_since_from_before_the_prefix_was_followed_asks_the_log() -> None:
    flow = Flow()
    flow.publish(*"aba")
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(1)))
    flow.rest()
    assert socket.heard() == ["welcome at 3", "#1 a 3", "reply 1 at 3 recovered"]
    assert flow.log.asked == ["replay a after 1 upto 3"]


def test_since_now_brings_nothing() -> None:
    flow = Flow()
    flow.connect("a")
    flow.publish("a")
    flow.flush()
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(1)))
    assert socket.heard() == ["welcome at 1", "reply 1 at 1 recovered"]


def test_since_from_before_what_the_log_has_is_not_recovered() -> None:
    flow = Flow()
    flow.publish(*"aaaaa")
    flow.log.forget(3)
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(1)))
    flow.rest()
    assert socket.heard() == ["welcome at 5", "#1 gap a 1..4 retention", "#1 a 4", "#1 a 5", "reply 1 at 5"]


@pytest.mark.parametrize(
    ("since", "told"),
    [
        pytest.param(0, "#1 gap a 0..4 retention lost=3", id="from the very beginning"),
        pytest.param(1, "#1 gap a 1..4 retention", id="from where nobody counts"),
    ],
)
def test_how_many_are_gone_is_told_where_it_is_certain(since: int, told: str) -> None:
    flow = Flow()
    flow.publish(*"aaaaa")
    flow.log.forget(3)
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(since)))
    flow.rest()
    assert socket.heard()[1] == told


def test_what_is_gone_is_told_also_where_the_log_knows_only_a_bound_of_its_seq() -> None:
    flow = Flow()
    flow.publish(*"aaaaa")
    flow.log.forget(1)
    flow.log.gone["a"] = (2, 1)  # as after a restart: 2 stands
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(0)))
    flow.rest()
    assert socket.heard()[1:3] == ["#1 gap a 0..3 retention lost=1", "#1 a 2"]


def test_who_reads_on_from_a_page_knows_how_many_are_gone_behind_it() -> None:
    flow = Flow(ring_bytes=3 * EVENT_BYTES)
    slow = flow.connect("a", room=1)
    flow.publish(*"aaa")
    flow.flush()
    flow.publish(*"aaaa")
    flow.flush()
    slow.read(room=250)  # of what it was sent at first, and nothing of the page that it asks for
    flow.rest()
    flow.publish(*"aaaaaaaaaa")
    flow.flush()
    flow.log.forget(14)
    assert slow.read() == [f"a {seq}" for seq in range(4, 8)]
    flow.rest()
    assert slow.heard() == ["gap a 7..15 retention lost=7", "a 15", "a 16", "a 17"]


def counted(flow: Flow) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """Of each cause and place with gaps: how many, the events that they stand for, and who was told."""
    losses = flow.hub.losses
    return {
        cell: (count, losses.events[cell], losses.told[cell]) for cell, count in losses.gaps.items() if count
    }


def test_a_gap_of_the_stream_is_counted_once_and_told_to_each_who_is_concerned() -> None:
    flow = Flow()
    flow.connect("a")
    flow.connect("a", "b")
    flow.connect("b")
    flow.connect("a", form=RAW)  # is told of no gap
    flow.publish("a")
    flow.publish("a", "a", is_heard=False)
    flow.publish("b")
    flow.lose(Gap("a", position(1), position(4), "late", 2))
    flow.flush()
    assert counted(flow) == {("late", "stream"): (1, 2, 2)}


def test_a_gap_of_the_past_is_counted_once_and_told_to_each_who_finds_it() -> None:
    flow = Flow()
    flow.publish(*"aaaaa")
    flow.log.forget(3)
    for since in (1, 0, 0):
        flow.connect().say(subscribe="a", id=1, since=str(position(since)))
        flow.rest()
    assert counted(flow) == {("retention", "past"): (1, 3, 3)}


def test_since_beyond_the_log_is_not_recovered() -> None:
    flow = Flow()
    flow.publish("a", "a")
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(9)))
    flow.rest()
    assert socket.heard() == ["welcome at 2", "#1 gap a 9..3 future", "reply 1 at 2"]


def test_since_beyond_this_gateway_waits_until_it_is_so_far() -> None:
    flow = Flow()
    flow.connect("a")
    flow.publish("a")
    flow.flush()
    flow.publish("a", "a", is_heard=False)  # another gateway was quicker
    late = flow.log.events[1:]
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(2)))
    flow.log.answer()
    assert socket.heard() == ["welcome at 1"]
    for arrived in late:
        flow.hear_of(arrived)
    flow.rest()
    flow.publish("a")
    flow.flush()
    assert socket.heard() == ["#1 a 3", "reply 1 at 3 recovered", "a 4"]


def test_since_of_another_log_is_not_recovered_and_brings_all_of_this_one() -> None:
    flow = Flow()
    flow.publish("a", "b", "a")
    socket = flow.connect()
    socket.say(subscribe="a", id=1, since=str(position(7, OTHER_EPOCH)))
    flow.rest()
    assert socket.heard() == ["welcome at 3", "#1 gap a 1d.7..1 epoch", "#1 a 1", "#1 a 3", "reply 1 at 3"]


# Other commands


def test_what_is_unsubscribed_stops_and_the_rest_goes_on() -> None:
    flow = Flow()
    socket = flow.connect("a", "b")
    flow.publish("a", "b")
    flow.flush()
    socket.say(unsubscribe="a", id=1)
    flow.publish("a", "b")
    flow.flush()
    assert socket.heard() == ["a 1", "b 2", "reply 1", "b 4"]


def test_what_is_not_subscribed_cannot_be_left() -> None:
    flow = Flow()
    socket = flow.connect("a")
    socket.say(unsubscribe="b", id=1)
    flow.publish("a")
    flow.flush()
    assert socket.heard() == ["reply 1: not_subscribed", "a 1"]


def test_a_connection_has_so_many_subscriptions() -> None:
    flow = Flow()
    patterns = ["a", "b", "c"]
    assert len(patterns) == LIMITS["subscriptions"]
    socket = flow.connect(*patterns)
    socket.say(subscribe="d", id=1)
    socket.say(subscribe="a", id=2)
    socket.say(unsubscribe="b", id=3)
    socket.say(subscribe="d", id=4)
    flow.rest()
    assert socket.heard() == ["reply 1: limit", "reply 2 at 0 recovered", "reply 3", "reply 4 at 0 recovered"]


def test_what_is_refused_for_its_number_is_not_followed() -> None:
    """Or a client could make the broker's subscriptions without end."""
    flow = Flow()
    socket = flow.connect("a", "b", "c")
    socket.receive("\n".join(f'{{"subscribe": "d/{n}", "id": {n}}}' for n in range(50)))
    assert flow.fresh == []
    flow.rest()
    assert socket.heard() == [f"reply {n}: limit" for n in range(50)]


def test_a_refused_command_is_answered_and_the_connection_stays() -> None:
    flow = Flow()
    socket = flow.connect("a")
    socket.receive('nonsense\n{"ping": 1, "id": 2}')
    flow.publish("a")
    flow.flush()
    assert socket.heard() == ["reply None: bad_request", "reply 2", "a 1"]


def test_a_connection_that_only_asks_is_full_until_it_is_answered() -> None:
    flow = Flow()
    socket = flow.connect("a", room=1)
    for number in range(COMMANDS_MAX + 1):  # the first one's answer is what the socket does not take
        assert not socket.is_full
        socket.say(ping=1, id=number)
    assert socket.is_full
    assert socket.read()[0] == "reply 0"
    assert not socket.is_full
    flow.rest()
    assert socket.heard()[-1] == f"reply {COMMANDS_MAX}"


def test_of_a_large_frame_no_more_is_looked_at_than_may_wait() -> None:
    flow = Flow()
    socket = flow.connect("a", room=1)
    socket.receive("\n".join(f'{{"ping": 1, "id": {number}}}' for number in range(COMMANDS_PER_FRAME)))
    assert socket.behind
    assert len(socket.behind.commands) == COMMANDS_MAX
    assert socket.is_full
    socket.room = 1 << 20
    socket.pump()
    flow.rest()
    assert socket.heard() == [f"reply {number}" for number in range(COMMANDS_PER_FRAME)]
    assert not socket.is_full


def test_a_ping_is_answered_between_two_frames() -> None:
    flow = Flow()
    socket = flow.connect("a", room=FRAME_BYTES // 2)
    flow.publish("a")
    flow.flush()
    socket.interpose(pong_frame(b"first"))
    socket.interpose(pong_frame(b"newest"))
    socket.room = 1 << 20
    socket.pump()
    assert list(socket.frames()) == [native(flow.log.events[0]), b"newest"]


# The broker's state


def test_silence_of_the_broker_is_told_and_its_end() -> None:
    flow = Flow()
    before, raw = flow.connect("a"), flow.connect("a", form=RAW)
    flow.hub.set_stale(True)
    flow.flush()
    later = flow.connect()
    flow.hub.set_stale(False)
    flow.flush()
    assert before.heard() == ["stale", "fresh"]
    assert later.heard() == ["welcome at 0", "stale", "fresh"]
    assert list(raw.frames()) == []


def test_who_comes_before_the_broker_was_heard_learns_the_position_later() -> None:
    flow = Flow(is_heard=False)
    flow.publish("a", "a", is_heard=False)
    socket = flow.connect()
    socket.say(subscribe="a", id=1, history=1)
    assert socket.heard() == ["welcome at 0.0", "stale"]
    flow.hear()
    flow.rest()
    assert socket.heard() == ["at 2", "fresh", "#1 a 2", "reply 1 at 2 recovered"]


def test_another_log_is_told_to_everybody_and_the_flow_goes_on_in_it() -> None:
    flow = Flow()
    live, slow, idle = flow.connect("a"), flow.connect("a", room=1), flow.connect()
    idle.heard()
    flow.publish("a", "a")
    flow.flush()
    flow.publish("a")
    flow.hub.change_epoch(OTHER_EPOCH, 0, 0)
    flow.lose(Gap("**", position(3), position(1, OTHER_EPOCH), "epoch"))
    flow.log.begin_anew(OTHER_EPOCH)
    flow.log.append(event("a", 1, epoch=OTHER_EPOCH))
    flow.hub.offer(flow.log.events[0])
    flow.flush()
    assert live.heard() == ["a 1", "a 2", "a 3", "gap ** 3..1d.1 epoch", "a 1"]
    assert idle.heard() == ["gap ** 3..1d.1 epoch"]
    assert slow.read() == ["a 1", "a 2", "gap ** 2..1d.1 epoch", "a 1"]  # a 3 is in no log any more


# Coming and going


def test_a_prefix_is_followed_until_nobody_needed_it_for_a_while() -> None:
    flow = Flow()
    first, second = flow.connect("a"), flow.connect("a")
    flow.hub.remove(first)
    flow.pass_time(1_000)
    assert "a" in flow.since
    second.say(unsubscribe="a", id=1)
    flow.pass_time(59)
    assert "a" in flow.since
    flow.pass_time(1)
    assert "a" not in flow.since


def test_who_comes_back_in_time_finds_its_prefix_in_force() -> None:
    flow = Flow()
    flow.hub.remove(flow.connect("a"))
    flow.pass_time(50)
    socket = flow.connect()
    socket.say(subscribe="a", id=1)
    flow.pass_time(50)
    flow.publish("a")
    flow.flush()
    assert socket.heard() == ["welcome at 0", "reply 1 at 0 recovered", "a 1"]


@pytest.mark.parametrize(
    "busy_with",
    [
        pytest.param(lambda flow, socket: None, id="nothing"),
        pytest.param(
            lambda flow, socket: socket.say(subscribe="b", id=1, history=5), id="a past from the log"
        ),
        pytest.param(lambda flow, socket: socket.say(ping=1, id=1), id="a question"),
        pytest.param(lambda flow, socket: flow.publish("a"), id="events to come"),
    ],
)
def test_a_connection_that_went_leaves_no_trace(busy_with: Move) -> None:
    flow = Flow()
    flow.connect("b")
    socket = flow.connect("a", "*")
    socket.room = 0
    flow.publish("a")
    flow.flush()
    socket.room = 1 << 20
    socket.pump()
    busy_with(flow, socket)
    writes = socket.writes
    flow.hub.remove(socket)
    flow.hub.remove(socket)
    flow.rest()
    flow.publish("a")
    flow.flush()
    assert socket.writes == writes
    trace = weakref.ref(socket)
    del socket
    gc.collect()
    assert trace() is None
    flow.pass_time(60)
    assert list(flow.since) == ["b"]
    assert len(flow.hub.connections) == 1
    assert [len(cohort.members) for cohort in flow.hub._cohorts.values()] == [1]
    assert flow.hub._routes.of("a") == ((), ())


def test_sets_that_nobody_has_any_more_are_let_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client that subscribes to more and more leaves many behind, and others are not to wait for it."""
    monkeypatch.setattr(hub_module, "PATTERNS_PER_TURN", 10)
    flow = Flow()
    flow.connect(*(f"t/{number}" for number in range(12)))
    left = [count_of(flow)]
    flow.hub.expire()
    left.append(count_of(flow))
    while flow.later:
        flow.later.popleft()()
        left.append(count_of(flow))
    assert left[-1] == 1 < len(left) < left[0]


def count_of(flow: Flow) -> int:
    return len(flow.hub._cohorts)
