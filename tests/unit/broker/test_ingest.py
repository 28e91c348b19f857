"""What of a producer's frames becomes an event, and why the rest does not."""

from __future__ import annotations

from collections import deque

import pytest

from broker.arrivals import Arrivals
from broker.ingest import Intake
from broker.wire import Content, pack_meta

META = pack_meta(1, 2, 3, Content.JSON)
LIMIT = 100


def intake(known: frozenset[bytes] = frozenset()) -> Intake:
    return Intake(known, LIMIT, Arrivals(is_first=True).note)


@pytest.mark.parametrize(
    ("frames", "event"),
    [
        pytest.param([b"cpu/load", b"1"], (b"cpu/load", b"1", 0), id="topic and payload"),
        pytest.param([b"cpu/load", b"1", META], (b"cpu/load", b"1", 1), id="with meta"),
        pytest.param([b'{"v": 1}'], (b"default", b'{"v": 1}', 0), id="a payload alone"),
        pytest.param([b"a", b""], (b"a", b"", 0), id="an empty payload"),
        pytest.param([b""], (b"default", b"", 0), id="an empty frame alone"),
        pytest.param([b"a", b"x" * LIMIT], (b"a", b"x" * LIMIT, 0), id="as large as allowed"),
        pytest.param(["ü/日本".encode(), b"1"], ("ü/日本".encode(), b"1", 0), id="any script"),
        pytest.param([b"a", b"1", META[:-1] + b"\x09"], (b"a", b"1", 0), id="an unknown content type"),
    ],
)
def test_events(frames: list[bytes], event: tuple[bytes, bytes, int]) -> None:
    taken = intake()
    taken.take(frames)
    assert (taken.empty(), taken.received, taken.dropped.total()) == ([event], 1, 0)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        pytest.param([b"a", b"1", META, b""], "frame_count", id="four frames"),
        pytest.param([b"a", b"1", META[:-1]], "bad_meta", id="meta too short"),
        pytest.param([b"a", b"1", b""], "bad_meta", id="no meta"),
        pytest.param([b"", b"1"], "bad_topic", id="no topic"),
        pytest.param([b"a//b", b"1"], "bad_topic", id="empty segment"),
        pytest.param([b"a b", b"1"], "bad_topic", id="white space"),
        pytest.param([b"a/*", b"1"], "bad_topic", id="a pattern"),
        pytest.param([b"\xff", b"1"], "bad_topic", id="not UTF-8"),
        pytest.param([b"x" * 256, b"1"], "bad_topic", id="too long"),
        pytest.param([b"$broker/beat", b"1"], "system_topic", id="the system's own"),
        pytest.param([b"a", b"x" * (LIMIT + 1)], "payload_too_large", id="too large"),
        pytest.param([b"x" * (LIMIT + 1)], "payload_too_large", id="too large, alone"),
    ],
)
def test_what_is_no_event_is_counted_and_the_rest_goes_on(frames: list[bytes], reason: str) -> None:
    taken = intake()
    for message in ([b"a", b"1"], frames, [b"a", b"2"]):
        taken.take(message)
    assert taken.dropped == {reason: 1}
    assert taken.received == 3
    assert [payload for _, payload, _ in taken.empty()] == [b"1", b"2"]


class Wire:
    """A socket with these messages on it."""

    def __init__(self, *messages: list[bytes]) -> None:
        # Each frame with how many of its message come behind it.
        self._frames = deque(
            (frame, len(each) - place) for each in messages for place, frame in enumerate(each, 1)
        )
        self._left = 0

    def receive(self) -> bytes:
        if not self._frames:
            raise EmptyWire
        frame, self._left = self._frames.popleft()
        return frame

    def has_more(self) -> int:
        return self._left


class EmptyWire(Exception):
    pass


MESSAGES = [
    [b"a", b"1"], [b"a", b"2", META], [b"3"], [b"a"], [b"a", b"4"], [b"new", b"5"], [b"a//b", b"6"],
    [b"a", b"x" * (LIMIT + 1)], [b"a", b"7", META, b"", b"", b""], [b"a", b""], [b"8"],
]  # fmt: skip


def test_drained_or_taken_one_by_one_is_the_same() -> None:
    drained, taken = intake(frozenset([b"a"])), intake(frozenset([b"a"]))
    wire = Wire(*MESSAGES)
    with pytest.raises(EmptyWire):
        drained.drain(wire.receive, wire.has_more, 1_000, 1_000)
    for message in MESSAGES:
        taken.take(message)
    assert (drained.size, drained.received, drained.dropped) == (taken.size, taken.received, taken.dropped)
    assert drained.empty() == taken.empty()


@pytest.mark.parametrize(
    ("message", "messages_max", "bytes_max", "taken"),
    [
        pytest.param([b"a", b"x" * 10], 3, 1_000, 3, id="so many"),
        pytest.param([b"a", b"x" * 10], 100, 25, 3, id="with the one that brings it beyond so many bytes"),
        pytest.param([b"x" * 10], 100, 25, 3, id="the same of payloads alone"),
    ],
)
def test_what_is_drained_is_bounded(
    message: list[bytes], messages_max: int, bytes_max: int, taken: int
) -> None:
    drained, wire = intake(frozenset([b"a"])), Wire(*[message] * 5)
    drained.drain(wire.receive, wire.has_more, messages_max, bytes_max)
    assert len(drained.empty()) == taken


def test_a_batch_is_taken_once() -> None:
    taken = intake()
    taken.take([b"a", b"12"])
    assert taken.size == 2
    assert len(taken.empty()) == 1
    assert (taken.empty(), taken.size) == ([], 0)


def test_a_known_topic_needs_no_second_check() -> None:
    taken = intake(known=frozenset([b"checked before"]))
    taken.take([b"checked before", b"1"])
    assert len(taken.empty()) == 1


def test_whatever_arrives_with_meta_has_arrived_also_if_it_is_dropped() -> None:
    arrivals = Arrivals(is_first=True)
    taken = Intake(frozenset(), LIMIT, arrivals.note)
    for count, topic in ((1, b"a"), (2, b"a//b"), (4, b"a")):
        taken.take([topic, b"1", pack_meta(1, count, count, Content.JSON)])
    taken.take([b"a", b"1", META[:-1]])
    assert (arrivals.missing, taken.dropped) == (1, {"bad_topic": 1, "bad_meta": 1})
