"""Looking after connections without a timer each: who is asked, who is given up, and what it costs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway import frames
from gateway.forms import NATIVE
from gateway.frames import close_frame, text_frame
from gateway.peer import BEAT, PING, Peer
from gateway.wheel import TICKS, Wheel
from tests.support.flow import Flow

# Four looks in the shortest deadline, so seconds are looks times a quarter.
QUARTERS = {"stall_s": 2, "ping_interval_s": 3, "ping_timeout_s": 1, "frame_s": 2, "messages_per_s": 40}


class Counted:
    def __init__(self) -> None:
        self.looks = 0

    def look(self) -> None:
        self.looks += 1

    @property
    def is_over(self) -> bool:
        return self.looks > 0


def turn(wheel: Wheel, times: int = 1) -> None:
    for _ in range(TICKS * times):
        wheel.tick()


def test_everybody_is_looked_at_once_a_turn() -> None:
    wheel = Wheel()
    looked = {fd: Counted() for fd in (3, 4, 5, 100, 10_000)}
    for fd, each in looked.items():
        wheel.add(fd, each)
    turn(wheel, 3)
    assert [each.looks for each in looked.values()] == [3] * 5
    wheel.discard(4)
    wheel.discard(-1)
    wheel.discard(20_000)
    turn(wheel)
    assert [each.looks for each in looked.values()] == [4, 3, 4, 4, 4]


def test_a_tick_looks_at_a_part() -> None:
    wheel = Wheel()
    looked = [Counted() for _ in range(TICKS * 10)]
    for fd, each in enumerate(looked):
        wheel.add(fd, each)
    wheel.tick()
    assert sum(each.looks for each in looked) == 10


@pytest.mark.parametrize(
    ("seconds", "turn_s", "looks"),
    [
        pytest.param({}, 3.0, (24, 9, 7, 10), id="as installed"),
        pytest.param({"stall_s": 2}, 0.5, (4, 50, 40, 60), id="the shortest gives the pace"),
        pytest.param({"stall_s": 90, "ping_timeout_s": 60}, 3.0, (30, 9, 20, 10), id="never slower"),
    ],
)
def test_deadlines_are_counted_in_looks(
    seconds: dict[str, float], turn_s: float, looks: tuple[int, ...]
) -> None:
    wheel = Wheel(**seconds)
    found = wheel.deadlines
    assert wheel.turn_s == turn_s
    assert (found.stall, found.ping, found.pong, found.frame) == looks


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        far = socket.create_connection(listener.getsockname())
        return listener.accept()[0], far


class Line:
    """A WebSocket over a real connection, after its handshake; the test has the far end."""

    def __init__(self, flow: Flow, *topics: str, is_tcp: bool = True) -> None:
        self.flow, self.wheel = flow, Wheel(**QUARTERS)
        near, self.far = tcp_pair() if is_tcp else socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        near.setblocking(False)
        self.far.settimeout(10)
        self.peer = Peer(flow.hub, NATIVE, near.detach(), self.wheel, 1 << 16)
        self.peer.start_with(b"", b"")
        for number, topic in enumerate(topics):
            self.peer.receive(json.dumps({"subscribe": topic, "id": number}))
            flow.rest()

    def look(self, times: int = 1) -> None:
        turn(self.wheel, times)
        self.flow.rest()

    def read_to_end(self) -> bytes:
        found = b""
        while data := self.far.recv(1 << 16):
            found += data
        return found

    def read(self) -> bytes:
        return self.far.recv(1 << 16)

    def close(self) -> None:
        self.peer._gone()
        self.far.close()


@pytest.fixture
def line() -> Iterator[Line]:
    with closing(Line(Flow(), "a")) as line:
        line.read()
        yield line


@pytest.fixture
def pipe() -> Iterator[Line]:
    """Without TCP's windows, which open again when TCP likes: what is read makes room at once."""
    with closing(Line(Flow(), "a", is_tcp=False)) as line:
        line.read()
        yield line


def stuff(line: Line) -> None:
    """Until its socket takes no more."""
    while line.peer.behind is None or line.peer.behind.past is None:
        line.flow.publish("a", payload=b'"%b"' % (b"x" * 10_000))
        line.flow.flush()


def test_a_silent_client_is_asked_and_one_that_answers_stays(line: Line) -> None:
    for _ in range(3):
        line.look(12)
        assert line.read() == PING
        line.peer.receive_bytes(b"")
        line.far.sendall(bytes((0x8A, 0x80, 0, 0, 0, 0)))
        line.peer._quiet = 0  # what the event loop does when the pong is there
    assert not line.peer.has_ended


def test_a_client_that_does_not_answer_is_closed(line: Line) -> None:
    line.look(15)
    assert not line.peer.has_ended
    line.look()
    assert line.peer.has_ended
    assert line.read_to_end() == PING + close_frame(frames.GOING_AWAY, "no pong came")
    assert line.flow.hub.counts["unheard"] == 1


def test_a_client_that_is_sent_much_is_asked_all_the_same(line: Line) -> None:
    for _ in range(12):
        line.flow.publish("a")
        line.flow.flush()
        line.look()
    assert line.read().endswith(PING)


def test_one_that_reads_nothing_is_given_up_with_its_position(line: Line) -> None:
    stuff(line)
    published = line.flow.hub.seen
    line.look(8)
    assert not line.peer.has_ended
    line.look()
    assert line.peer.has_ended and not line.flow.hub.connections
    found = line.read_to_end()
    at = found.rindex(b"too slow, resume after ") - 4
    assert found[at:] == close_frame(4408, found[at + 4 :].decode())
    place = int(found.rpartition(b".")[2])
    assert 0 < place < published or place == published
    # All that it says has come, up to the frame that was under way, was sent before.
    assert found[:at].count(b'"topic":"a"') == place
    assert b'"seq":%d,' % place in found


def test_one_that_reads_slowly_is_told_so_and_stays(pipe: Line) -> None:
    stuff(pipe)
    for _ in range(40):
        pipe.flow.publish("a", payload=b'"%b"' % (b"x" * 10_000))
        pipe.flow.flush()
        pipe.far.recv(2_000)
        pipe.peer.pump()  # as the event loop does when there is room
        pipe.look()
    assert not pipe.peer.has_ended
    assert pipe.peer.behind and pipe.peer.behind.is_slow


def test_one_that_has_caught_up_is_told_so(pipe: Line) -> None:
    stuff(pipe)
    pipe.look(2)
    found = b""
    while b'"slow":false' not in found:
        found += pipe.read()
        pipe.peer.pump()
    assert found.count(b'{"notice":{"code":"slow","slow":true}}') == 1
    assert pipe.peer.cohort is not None


def test_a_message_that_does_not_end_is_not_awaited_for_ever(line: Line) -> None:
    line.peer.receive_bytes(b"\x81")
    line.look(8)
    assert not line.peer.has_ended
    line.look()
    assert line.read_to_end() == close_frame(frames.POLICY, "a message took too long to come")


def test_one_that_sends_too_much_is_closed(line: Line) -> None:
    few = bytes((0x8A, 0x80, 0, 0, 0, 0)) * 5
    for _ in range(10):
        line.peer.receive_bytes(few * 2)  # 40 a second
        line.look()
    assert not line.peer.has_ended
    line.peer.receive_bytes(few * 3)
    assert line.read_to_end() == close_frame(frames.POLICY, "too many messages")
    assert line.flow.hub.counts["flooding"] == 1


def test_one_that_asked_for_beats_hears_one_each_turn(line: Line) -> None:
    line.look()
    for number, (wish, beats) in enumerate([("true", BEAT), ("false", b"")]):
        line.peer.receive(f'{{"beat":{wish},"id":{number}}}')
        assert line.read() == text_frame(b'{"reply":%d,"ok":{}}' % number)
        line.look(2)
        line.peer.interpose(PING)
        assert line.read() == beats * 2 + PING


def test_one_that_waits_for_the_log_hears_them_too(line: Line) -> None:
    line.peer.receive('{"beat":true,"id":1}\n{"subscribe":"b","id":2,"history":3}')
    assert line.read() == text_frame(b'{"reply":1,"ok":{}}')
    turn(line.wheel)
    assert line.read() == BEAT
    line.flow.rest()
    assert b'{"reply":2,' in line.read()


def test_a_beat_that_a_socket_takes_a_part_of_is_sent_whole(pipe: Line) -> None:
    pipe.peer.receive('{"beat":true,"id":1}')
    pipe.read()
    taken = iter([3])
    write = pipe.peer.write
    pipe.peer.__class__ = type("Stuck", (Peer,), {"__slots__": (), "write": lambda _, data: next(taken, 0)})
    pipe.look()
    assert pipe.peer.cohort is None  # or a flush would write into the middle of it
    pipe.peer.__class__ = Peer
    write(BEAT[:3])
    pipe.peer.pump()
    assert pipe.read() == BEAT


def test_a_fault_in_one_that_a_flush_comes_to_ends_that_one_alone(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    with closing(Line(line.flow, "a")) as other:
        other.read()
        line.peer.__class__ = type("Faulty", (Peer,), {"__slots__": (), "_answer": fail})
        line.peer.receive('{"subscribe":"b","id":1}')  # answered by the flush after the barrier
        line.flow.rest()
        assert line.read_to_end() == b""
        assert line.peer not in line.flow.hub.connections
        assert "a fault of ours" in caplog.text
        line.flow.publish("a")
        line.flow.rest()
        assert b'"seq":1' in other.read()


def test_who_has_what_we_said_last_need_not_be_waited_for(pipe: Line) -> None:
    assert not pipe.wheel.is_over and not pipe.wheel.is_empty
    pipe.peer.send_away(1.5)
    assert not pipe.wheel.is_over  # a pipe holds it until it is read
    notice = b'{"notice":{"code":"draining","come_back_s":1.5}}'
    assert pipe.read_to_end() == text_frame(notice) + close_frame(1012, "draining, come back in 1.5 s")
    assert pipe.wheel.is_over and not pipe.wheel.is_empty
    pipe.far.close()
    pipe.peer._gone()
    assert pipe.wheel.is_empty
