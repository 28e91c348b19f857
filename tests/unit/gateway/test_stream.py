"""Event streams: what one GET gets, which ids bring a client how far, and what is sent into silence."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from broker.gap import Gap
from broker.topics import Pattern
from broker.wire import Position
from gateway.forms import SSE
from gateway.protocol import Subscribe
from gateway.stream import COMMENT, Stream
from gateway.wheel import TICKS, Wheel
from tests.support.events import EPOCH, OTHER_EPOCH, event, position
from tests.support.flow import PLENTY, Flow, Socket
from tests.support.sse import Block, block

KEEP_ALIVE_S = 15.0  # what clients and proxies are promised


def opened(flow: Flow, *patterns: str, history: int = 0, since: Position | None = None) -> Socket:
    """A stream whose request has been read, and no more."""
    stream = flow.connect(form=SSE)
    stream.command(Subscribe(0, frozenset(map(Pattern, patterns)), history, since))
    return stream


def blocks(stream: Socket) -> list[Block]:
    """The whole ones that came since they were last asked for."""
    *whole, stream._sent = stream._sent.split(b"\n\n")
    return [block(text.decode()) for text in whole]


def heard(stream: Socket) -> list[str]:
    """In short: the id's seq (or "-"), then what was told."""
    return [f"{found.id.rpartition('.')[2] if found.id else '-'} {_short(found)}" for found in blocks(stream)]


def _short(found: Block) -> str:
    told = found.told
    if found.name == "message":
        return f"{'history ' if 'history' in told else ''}{told['topic']} {told['seq']}"
    if found.name == "gap":
        return f"gap {told['gap']['pattern']} {told['gap']['cause']}"
    if found.name == "reply":
        return " ".join(["reply", *(name for name in ("recovered", "truncated") if told["ok"].get(name))])
    return f"{found.name} {told['notice']}"


def test_an_event_is_a_block_with_its_position() -> None:
    assert SSE.encode(event("a", 7, 3, nth=2, payload=b'{"v":\r\n1}')) == (
        b"id: %016x.7\n"
        b'data: {"topic":"a","seq":7,"prev":3,"nth":2,"time":1790000000.000007,"data":{"v":  1}}\n\n' % EPOCH
    )


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"a\r\nb\rc\nd", id="line ends"),
        pytest.param(b'{"a":\r\n[1,\r2,\n3]}', id="line ends in JSON"),
        pytest.param(b"a\0b", id="NUL"),
        pytest.param(b'"a\\u0000b"', id="NUL in JSON"),
        pytest.param("a\u2028b\u2029c\u0085d".encode(), id="separators"),
        pytest.param('"a\u2028b\u2029c\u0085d"'.encode(), id="separators in JSON"),
        pytest.param("\ufeffa".encode(), id="a byte order mark"),
        pytest.param(b"\xff\n\n\xfe", id="bytes"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_no_payload_breaks_out_of_its_line(payload: bytes) -> None:
    told = SSE.encode(event("a", 1, payload=payload))
    assert told.count(b"\n") == 3
    assert not set(told) & {0, ord("\r")}


def test_a_fresh_stream_begins_with_where_it_is() -> None:
    flow = Flow()
    flow.publish("a")
    stream = opened(flow, "a", "b/*")
    assert heard(stream) == []
    flow.rest()
    assert heard(stream) == ["1 reply recovered"]
    flow.publish("a", "c", "b/1")
    flow.flush()
    assert heard(stream) == ["2 a 2", "4 b/1 4"]


def test_history_of_all_patterns_comes_by_seq_and_brings_nobody_further() -> None:
    flow = Flow()
    flow.publish("a", "b/1", "b/2", "a", "a", "b/1", "c")
    stream = opened(flow, "a", "b/*", history=2)
    flow.rest()
    flow.publish("b/2")
    flow.flush()
    assert flow.log.asked == ["last 2 of a b/* upto 7"]
    assert heard(stream) == [
        "- history b/1 2",
        "- history b/2 3",
        "- history a 4",
        "- history a 5",
        "- history b/1 6",
        "7 reply recovered",
        "8 b/2 8",
    ]


def test_a_stream_goes_on_where_it_was() -> None:
    flow = Flow()
    flow.publish("a", "b", "c", "a")
    stream = opened(flow, "a", "b", since=position(1))
    flow.rest()
    flow.publish("b")
    flow.flush()
    # These have their ids: whoever breaks off among them has come so far.
    assert heard(stream) == ["2 b 2", "4 a 4", "4 reply recovered", "5 b 5"]


@pytest.mark.parametrize("breaks_after", range(1, 7))
def test_whoever_breaks_off_anywhere_misses_nothing(breaks_after: int) -> None:
    flow = Flow()
    flow.publish("a", "b")
    first = opened(flow, "a", "b", history=1)
    flow.rest()
    flow.publish("a", "b", "a")
    flow.flush()
    taken = blocks(first)[:breaks_after]
    ids = [found.id for found in taken if found.id]
    since = Position.parse(ids[-1]) if ids else None
    flow.publish("b")
    second = opened(flow, "a", "b", history=0 if since else 1, since=since)
    flow.rest()
    flow.publish("a")
    flow.flush()
    taken += blocks(second)
    seqs = {found.told["seq"] for found in taken if found.name == "message"}
    # Without an id it asks for the newest of each topic again, as of seq 5, and all from there on.
    assert seqs == ({1, 2, 3, 4, 5, 6, 7} if since else {*range(1, breaks_after + 1), 4, 5, 6, 7})
    live = [found.told["seq"] for found in taken if found.name == "message" and found.id]
    assert live == sorted(set(live))


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        pytest.param(
            Position(OTHER_EPOCH, 9),
            ["- gap a epoch", "- gap b epoch", "1 a 1", "2 b 2", "2 reply"],
            id="of another log",
        ),
        pytest.param(
            Position(0, 0), ["- gap a epoch", "- gap b epoch", "1 a 1", "2 b 2", "2 reply"], id="of no log"
        ),
        pytest.param(position(99), ["- gap a future", "- gap b future", "2 reply"], id="beyond the end"),
        pytest.param(
            position((1 << 64) - 1), ["- gap a future", "- gap b future", "2 reply"], id="far beyond the end"
        ),
        pytest.param(position(2), ["2 reply recovered"], id="the end"),
    ],
)
def test_a_place_that_never_was_is_a_gap(since: Position, expected: list[str]) -> None:
    flow = Flow()
    flow.publish("a", "b")
    stream = opened(flow, "a", "b", since=since)
    flow.rest()
    assert heard(stream) == expected


def test_what_retention_removed_is_told_before_the_rest() -> None:
    flow = Flow()
    flow.publish("a", "b", "a", "b")
    flow.log.forget(3)
    stream = opened(flow, "a", "b", since=position(0))
    flow.rest()
    assert heard(stream) == ["- gap a retention", "- gap b retention", "4 b 4", "4 reply"]


def test_another_log_is_told_and_brings_nobody_further() -> None:
    flow = Flow()
    stream, waiting = opened(flow, "a"), opened(flow, "b", since=position(0))
    flow.rest()
    heard(stream), heard(waiting)
    flow.lose(Gap("**", position(0), Position(OTHER_EPOCH, 1), "epoch"))
    flow.flush()
    # Whoever breaks off now has a position of the old log, and is told again.
    assert (heard(stream), heard(waiting)) == (["- gap ** epoch"], ["- gap ** epoch"])


def test_one_that_came_before_the_broker_is_told_and_waits() -> None:
    flow = Flow(is_heard=False)
    stream = opened(flow, "a")
    assert heard(stream) == ["- notice {'code': 'stale', 'stale': True}"]
    flow.hear()
    flow.rest()
    flow.publish("a")
    flow.flush()
    assert heard(stream) == ["- notice {'code': 'stale', 'stale': False}", "0 reply recovered", "1 a 1"]


def test_a_new_log_that_counts_from_less_is_not_waited_for() -> None:
    flow = Flow()
    flow.publish("a")
    flow.connect("a")
    flow.publish("a", "a", is_heard=False)
    stream = opened(flow, "a", since=position(3))  # from a gateway that was further than this one
    flow.log.answer()
    assert heard(stream) == []
    flow.hub.change_epoch(OTHER_EPOCH, 0, 0)
    flow.log.begin_anew(OTHER_EPOCH)
    flow.since = {"a": 0}
    flow.rest()
    assert heard(stream) == ["- gap a epoch", "0 reply"]


def test_streams_of_the_same_topics_share_what_is_sent() -> None:
    flow = Flow()
    streams = [opened(flow, "a", "b"), opened(flow, "b", "a")]
    flow.rest()
    before = [stream.writes for stream in streams]
    flow.publish("a", "b", "a")
    flow.flush()
    assert [stream.writes for stream in streams] == [count + 1 for count in before]
    assert [stream.cohort for stream in streams] == [streams[0].cohort] * 2
    assert [made.sse is None for made in flow.log.events] == [False] * 3


def test_a_slow_one_goes_on_without_a_hole() -> None:
    flow = Flow()
    stream = opened(flow, "a")
    flow.rest()
    heard(stream)
    stream.room = 10
    for _ in range(5):
        flow.publish("a")
        flow.flush()
    assert stream.cohort is None
    stream.room = PLENTY
    stream.pump()
    flow.rest()
    assert heard(stream) == [f"{seq} a {seq}" for seq in range(1, 6)]
    assert stream.cohort is not None


def test_nothing_is_followed_any_more_for_one_that_went() -> None:
    flow = Flow()
    replied = opened(flow, "a", "b/*")
    flow.rest()
    waiting = opened(flow, "a", "c")
    for stream in (replied, waiting):
        flow.hub.remove(stream)
    flow.rest()
    flow.pass_time(61)
    assert flow.since == {}


# Into silence


class Line:
    """A stream over a pair of real sockets; the test has the far end."""

    def __init__(self, flow: Flow, wheel: Wheel) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.far.setblocking(False)
        self.stream = Stream(flow.hub, near.detach(), wheel)
        self.stream.start_with(Subscribe(0, frozenset({Pattern("a")})), retry_s=1.0)
        flow.rest()

    def read(self) -> bytes:
        try:
            return self.far.recv(1 << 16)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.stream._gone()
        self.far.close()


@pytest.fixture
def flow() -> Flow:
    return Flow()


@pytest.fixture
def wheel() -> Wheel:
    return Wheel()


@pytest.fixture
def line(flow: Flow, wheel: Wheel) -> Iterator[Line]:
    line = Line(flow, wheel)
    try:
        yield line
    finally:
        line.close()


def ticks(seconds: float) -> range:
    return range(round(seconds / Wheel().tick_s))


def test_it_begins_with_how_long_to_wait_after_a_break(line: Line) -> None:
    assert line.read().startswith(b"retry: 1500\n\nevent: reply\n")


def test_silence_is_broken_every_15_seconds(line: Line, wheel: Wheel) -> None:
    line.read()
    comments = []
    for tick in ticks(100):
        wheel.tick()
        if data := line.read():
            assert data == COMMENT
            comments.append(tick * wheel.tick_s)
    pauses = [after - before for before, after in zip([0.0, *comments], comments, strict=False)]
    assert all(round(pause, 6) <= KEEP_ALIVE_S for pause in pauses)
    assert pauses[1:] == pytest.approx([KEEP_ALIVE_S] * len(pauses[1:]))


def test_one_that_is_not_silent_gets_no_comments(flow: Flow, line: Line, wheel: Wheel) -> None:
    for tick in ticks(100):
        if tick % TICKS == 0:
            flow.publish("a")
            flow.flush()
        wheel.tick()
        assert COMMENT not in line.read()


def test_a_gateway_that_stops_says_when_to_come_back_and_ends(line: Line, wheel: Wheel) -> None:
    line.read()
    line.stream.send_away(2.0)
    notice = b'{"notice":{"code":"draining","come_back_s":2.0}}'
    assert line.read() == b"retry: 2500\n\nevent: notice\ndata: %b\n\n" % notice
    for _ in ticks(100):
        wheel.tick()  # which speaks to those alone that have not ended
    line.far.setblocking(True)
    assert line.far.recv(1) == b""


def test_one_that_is_gone_is_forgotten(flow: Flow, line: Line, wheel: Wheel) -> None:
    fd = line.stream._fd
    line.stream._gone()
    assert not any(wheel._places)
    assert not flow.hub.connections
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
