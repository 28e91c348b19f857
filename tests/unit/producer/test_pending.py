"""What waits between the feed's thread and the reader: order, bounds, positions, ends."""

from __future__ import annotations

from threading import Thread

import pytest

from broker.gap import Gap
from broker.wire import Position, pack_stamp
from producer.event import Event
from producer.pending import BYTES_MAX, EVENTS_MAX, ITEM_BYTES, Pending

EPOCH, OTHER_EPOCH = 0x1D, 0x2E
DEADLINE_S = 60.0


def event(seq: int, payload: bytes = b"1", epoch: int = EPOCH) -> Event:
    return Event(b"a", pack_stamp(0, 1, epoch, seq, 0, 0), payload)


def at(seq: int, epoch: int = EPOCH) -> Position:
    return Position(epoch, seq)


class Waking:
    """A thing to be woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def pending(position: Position | None = None) -> tuple[Pending, Waking]:
    waking = Waking()
    return Pending(position, waking), waking


def test_what_is_put_is_taken_in_order_after_a_flush() -> None:
    waiting, _ = pending()
    first, second = event(1), event(2)
    waiting.put(first)
    waiting.put(second)
    assert waiting.take(0) is None
    waiting.flush()
    assert [waiting.take(0), waiting.take(0), waiting.take(0)] == [first, second, None]


def test_a_reader_that_waits_is_woken() -> None:
    waiting, _ = pending()
    taken: list[object] = []
    reader = Thread(target=lambda: taken.append(waiting.take(DEADLINE_S)))
    reader.start()
    item = event(1)
    waiting.put(item)
    waiting.flush()
    reader.join()
    assert taken == [item]


def test_the_position_is_that_of_what_was_taken_and_beyond_it_when_nothing_waits() -> None:
    waiting, _ = pending()
    assert waiting.position is None
    waiting.reach(at(10))
    assert waiting.position is None  # nobody can take before the flush, nobody be beyond it
    waiting.flush()
    assert waiting.position == at(10)
    waiting.put(event(12))
    waiting.put(event(15))
    waiting.reach(at(20))
    waiting.flush()
    assert waiting.position == at(10)
    waiting.take(0)
    assert waiting.position == at(12)
    waiting.take(0)
    assert waiting.position == at(20)


def test_a_position_to_go_on_from_is_there_from_the_start() -> None:
    waiting, _ = pending(at(7))
    assert waiting.position == at(7)
    waiting.flush()
    assert waiting.position == at(7)


@pytest.mark.parametrize(
    ("gap", "position"),
    [
        pytest.param(Gap("a", at(5), at(9), "retention"), at(5), id="in its log: it is told again"),
        pytest.param(Gap("**", at(5), at(4, OTHER_EPOCH), "epoch"), at(3, OTHER_EPOCH), id="to another log"),
        pytest.param(Gap("**", at(5), at(3), "future"), at(2), id="to where the log is"),
    ],
)
def test_a_gap_moves_the_position_only_where_seqs_begin_anew(gap: Gap, position: Position) -> None:
    waiting, _ = pending(at(5))
    waiting.put(gap)
    waiting.put(event(30))
    waiting.flush()
    assert waiting.take(0) == gap
    assert waiting.position == position


@pytest.mark.parametrize(
    ("count", "payload"),
    [
        pytest.param(EVENTS_MAX, b"", id="events"),
        pytest.param(8, bytes(BYTES_MAX // 8 - ITEM_BYTES), id="bytes"),
    ],
)
def test_it_is_full_at_its_bound_and_wakes_when_half_is_taken(count: int, payload: bytes) -> None:
    waiting, waking = pending()
    for seq in range(1, count):
        waiting.put(event(seq, payload))
    assert not waiting.is_full
    waiting.put(event(count, payload))
    waiting.flush()
    assert waiting.is_full
    assert not waiting.await_room()
    for _ in range(count // 2):
        assert waking.count == 0
        waiting.take(0)
    waiting.take(0)
    assert waking.count == 1
    assert waiting.await_room()


def test_who_waits_for_its_beginning_hears_of_it_and_of_its_end() -> None:
    waiting, _ = pending()
    assert not waiting.await_begin(0)
    heard: list[bool] = []
    reader = Thread(target=lambda: heard.append(waiting.await_begin(DEADLINE_S)))
    reader.start()
    waiting.begin()
    reader.join()
    assert heard == [True]
    waiting.end()
    assert not waiting.await_begin(DEADLINE_S)


def test_its_end_wakes_who_waits_and_leaves_the_position() -> None:
    waiting, _ = pending()
    taken: list[object] = []
    reader = Thread(target=lambda: taken.append(waiting.take(DEADLINE_S)))
    reader.start()
    waiting.end()
    reader.join()
    assert taken == [None]
    waiting.put(event(1))
    waiting.flush()
    assert waiting.take(0) is None
    assert waiting.is_ended


def test_an_end_that_nobody_wanted_is_raised() -> None:
    waiting, _ = pending()
    waiting.end(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        waiting.take(0)
