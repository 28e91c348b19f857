"""However many connections and topics there are: how often the hub gives way, and what it touches. Counted,
not timed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.topics import pattern
from gateway import hub as hub_module
from gateway.connection import Connection
from gateway.forms import FRAME_BYTES, NATIVE
from gateway.hub import SENDS_PER_TURN
from gateway.interest import Want
from gateway.routes import Routes
from tests.support.flow import Flow


class Sink(Connection):
    """Takes everything, and counts."""

    __slots__ = ("taken",)
    writes = 0  # of all of them

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow.hub, NATIVE)
        self.taken = 0

    def write(self, data: bytes | memoryview) -> int:
        Sink.writes += 1
        self.taken += 1
        return len(data)

    def await_room(self) -> None:
        raise AssertionError("there is always room")


def sinks(flow: Flow, count: int, *topics: str, own: bool = False) -> list[Sink]:
    """That many, in the flow, at the topics or at one of their own."""
    flow.since |= dict.fromkeys((pattern(topic).prefix for topic in topics), 0)
    made = []
    for number in range(count):
        sink = Sink(flow)
        flow.hub.add(sink)
        wanted = [f"own/{number}"] if own else topics
        flow.since |= dict.fromkeys(wanted, 0)
        for topic in wanted:
            sink.receive('{"subscribe":"%s","id":1}' % topic)  # noqa: UP031
        made.append(sink)
    flow.rest()
    return made


def turns(flush: Iterator[None]) -> list[int]:
    """How much was written before each time that it gave way, and at the end."""
    counts, before = [], Sink.writes
    for _ in flush:
        counts.append(Sink.writes - before)
        before = Sink.writes
    return [*counts, Sink.writes - before]


def test_a_flush_to_fifty_thousand_gives_way_after_every_few() -> None:
    flow = Flow()
    everybody = sinks(flow, 1, "a")
    for _ in range(49_999):  # without the way through a subscribe
        sink = Sink(flow)
        sink.interest = everybody[0].interest
        assert flow.hub.join(sink)
        everybody.append(sink)
    flow.publish("a")
    before = [sink.taken for sink in everybody]
    found = turns(flow.hub.flush())
    assert max(found) <= SENDS_PER_TURN
    assert [sink.taken - had for sink, had in zip(everybody, before, strict=True)] == [1] * 50_000


def test_a_flush_to_many_cohorts_gives_way_as_often() -> None:
    flow = Flow()
    sinks(flow, 2_000, own=True)
    flow.publish(*(f"own/{number}" for number in range(2_000)))
    assert max(turns(flow.hub.flush())) <= SENDS_PER_TURN


def test_word_to_everybody_gives_way_as_often() -> None:
    flow = Flow()
    everybody = sinks(flow, 5_000, "a")
    before = sum(sink.taken for sink in everybody)
    flow.hub.set_stale(True)
    assert sum(sink.taken for sink in everybody) == before
    assert max(turns(flow.hub.flush())) <= SENDS_PER_TURN
    assert sum(sink.taken for sink in everybody) == before + 5_000


def test_those_who_wait_for_a_flush_have_their_turns_too() -> None:
    flow = Flow()
    flow.hub.flushed = -1  # nobody can join before the next
    calls = []
    for number in range(1_000):
        flow.hub.after_flush(lambda number=number: calls.append(number))  # type: ignore[misc]
    counts = []
    for _ in flow.hub.flush():
        counts.append(len(calls))
    assert counts == list(range(SENDS_PER_TURN, 1_000 + 1, SENDS_PER_TURN))[: len(counts)]
    assert len(calls) == 1_000


@pytest.mark.parametrize(
    ("text", "touched"),
    [
        pytest.param("t/7", {"t/7"}, id="a topic"),
        pytest.param("t/*", {f"t/{number}" for number in range(100)}, id="a pattern"),
        pytest.param("u/**", set(), id="nothing that came"),
    ],
)
def test_a_subscription_touches_only_the_topics_it_matches(text: str, touched: set[str]) -> None:
    flow = Flow()
    sinks(flow, 3, "t/**")
    topics = [f"t/{number}" for number in range(100)] + ["v/1"]
    routes: Routes = flow.hub._routes
    before = {topic: routes.of(topic) for topic in topics}
    sinks(flow, 1, text)
    assert {topic for topic in topics if routes.of(topic) is not before[topic]} == touched


def test_a_reader_that_is_behind_keeps_one_frame_however_large_the_flush() -> None:
    flow = Flow()
    slow = flow.connect("a", room=1)
    payload = b'"%b"' % (b"x" * 10_000)
    flow.publish(*("a" * 1_000), payload=payload)
    flow.flush()
    assert slow.behind and slow.behind.unsent
    kept = slow.behind.unsent.obj
    assert isinstance(kept, bytes) and len(kept) <= FRAME_BYTES + len(payload) + 200
    heard = slow.read()
    flow.rest()
    assert heard + slow.read() == [f"a {seq}" for seq in range(1, 1_001)]


def test_readers_that_fall_behind_at_one_place_share_that_frame() -> None:
    flow = Flow()
    slow = [flow.connect("a", room=number + 1) for number in range(5)]
    flow.publish(*"aaa", payload=b'"%b"' % (b"x" * 50_000))
    flow.flush()
    kept = [each.behind.unsent.obj for each in slow if each.behind and each.behind.unsent]
    assert len(kept) == 5
    assert all(each is kept[0] for each in kept)


def test_wants_are_shared() -> None:
    flow = Flow()
    everybody = sinks(flow, 10, "a", "b")
    assert len({id(sink.interest) for sink in everybody}) == 1
    assert everybody[0].interest.wants == {Want(pattern("a")), Want(pattern("b"))}
    assert hub_module.SENDS_PER_TURN == 16
