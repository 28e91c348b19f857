"""A connection that publishes: what waits for what, and what is answered when."""

from __future__ import annotations

import pytest

from gateway.connection import COMMANDS_MAX
from gateway.publishing import Published, Refused
from tests.support.events import position
from tests.support.flow import Flow, Socket

LATER = Refused("unavailable", "later")


def published(seq: int, is_repeated: bool = False) -> Published:
    return Published(str(position(seq)), is_repeated)


def publish(socket: Socket, topic: str, number: int, **more: object) -> None:
    socket.say(publish=topic, data=1, id=number, **more)


def test_a_publish_is_answered_when_it_is_confirmed() -> None:
    flow = Flow()
    socket = flow.connect("b")
    publish(socket, "a", 1, key="k")
    assert [(draft.topic, draft.key) for draft in flow.publishing.drafts] == [("a", "k")]
    assert socket.heard() == []
    flow.publishing.settle(published(7))
    assert socket.heard() == ["reply 1 at 7"]
    publish(socket, "a", 2, key="k")
    flow.publishing.settle(published(7, is_repeated=True))
    assert socket.heard() == ["reply 2 at 7 repeated"]


def test_other_commands_and_events_do_not_wait_for_it() -> None:
    flow = Flow()
    socket = flow.connect("b")
    publish(socket, "a", 1)
    socket.say(ping=1, id=2)
    assert socket.heard() == ["reply 2"]
    flow.publish("b")
    flow.flush()
    assert socket.heard() == ["b 1"]
    socket.say(subscribe="a", id=3)
    flow.rest()
    assert socket.heard() == ["reply 3 at 1 recovered"]
    flow.publishing.settle(published(2))
    assert socket.heard() == ["reply 1 at 2"]
    flow.publish("a")
    flow.flush()
    assert socket.heard() == ["a 2"]


def test_its_publishes_are_one_after_the_other() -> None:
    flow = Flow()
    socket, other = flow.connect(), flow.connect()
    for number, topic in enumerate(("a", "b", "c"), 1):
        publish(socket, topic, number)
    publish(other, "x", 1)
    assert flow.publishing.topics == ["a", "x"]
    flow.publishing.settle(published(1))
    assert flow.publishing.topics == ["a", "x", "b"]
    flow.publishing.settle(published(2))
    flow.publishing.settle(LATER)
    flow.publishing.settle(published(3))
    assert flow.publishing.topics == ["a", "x", "b", "c"]


@pytest.mark.parametrize(
    ("outcome", "topics", "replies"),
    [
        pytest.param(
            published(1), ["a", "b", "c"], ["reply 1 at 1", "reply 2 at 2", "reply 3 at 3"], id="confirmed"
        ),
        pytest.param(LATER, ["a", "c"], ["reply 1: unavailable", "reply 2: unavailable", "reply 3 at 3"],
                     id="not now"),
        pytest.param(Refused("conflict", ""), ["a", "c"],
                     ["reply 1: conflict", "reply 2: unavailable", "reply 3 at 3"], id="never"),
    ],
)  # fmt: skip
def test_what_follows_one_that_was_not_confirmed_is_not_published(
    outcome: Published | Refused, topics: list[str], replies: list[str]
) -> None:
    flow = Flow()
    socket = flow.connect()
    socket.heard()
    publish(socket, "a", 1)
    publish(socket, "b", 2, follows=1)
    publish(socket, "c", 3)
    flow.publishing.settle(outcome)
    for seq in range(2, len(topics) + 1):
        flow.publishing.settle(published(3 if topics[seq - 1] == "c" else seq))
    assert flow.publishing.topics == topics
    assert socket.heard() == replies


def test_one_may_follow_one_that_was_confirmed_long_ago() -> None:
    flow = Flow()
    socket = flow.connect()
    publish(socket, "a", 1)
    flow.publishing.settle(published(1))
    flow.publish("a")
    flow.rest()
    publish(socket, "b", 2, follows=1)
    publish(socket, "c", 3, follows=1)
    flow.publishing.settle(published(2))
    assert flow.publishing.topics == ["a", "b"], "c follows another than the one before it"
    assert socket.heard()[1:] == ["reply 1 at 1", "reply 2 at 2", "reply 3: unavailable"]


def test_a_publish_that_nobody_could_take_is_none_to_follow() -> None:
    flow = Flow()
    socket = flow.connect()
    socket.heard()
    publish(socket, "a b", 1)
    publish(socket, "a", 2, follows=1)
    assert socket.heard() == ["reply 1: bad_topic", "reply 2: unavailable"]
    assert flow.publishing.topics == []


def test_what_is_refused_at_once_is_answered_at_once() -> None:
    flow = Flow()
    socket = flow.connect()
    socket.heard()
    flow.publishing.refused = Refused("forbidden", "no")
    for number in range(1, 4):
        publish(socket, "a", number)
    assert socket.heard() == [f"reply {number}: forbidden" for number in range(1, 4)]


def test_publishes_that_wait_count_as_commands_that_wait() -> None:
    flow = Flow()
    socket = flow.connect()
    for number in range(COMMANDS_MAX):
        publish(socket, "a", number)
    assert not socket.is_full
    publish(socket, "a", COMMANDS_MAX)
    assert socket.is_full
    flow.publishing.settle(published(1))
    assert not socket.is_full


def test_a_connection_that_goes_takes_what_waits_along() -> None:
    flow = Flow()
    socket = flow.connect("a")
    publish(socket, "a", 1)
    publish(socket, "a", 2)
    flow.hub.remove(socket)
    flow.publishing.settle(published(1))
    flow.rest()
    assert flow.publishing.topics == ["a"]


def test_a_slow_reader_gets_its_answer_in_the_end() -> None:
    flow = Flow()
    socket = flow.connect("b", room=10)
    publish(socket, "a", 1)
    flow.publish("b")
    flow.flush()
    flow.publishing.settle(published(2))
    assert socket.heard() == []
    heard = socket.read()
    flow.rest()
    assert heard + socket.heard() == ["b 1", "reply 1 at 2"]


def test_a_connection_with_nothing_to_wait_for_keeps_nothing() -> None:
    flow = Flow()
    socket = flow.connect("b")
    publish(socket, "a", 1)
    assert socket.behind is not None and socket.cohort is not None
    flow.publishing.settle(published(1))
    assert socket.behind is None
