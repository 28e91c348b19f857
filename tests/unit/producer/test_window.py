"""The window of a confirmed publisher: what it asks the broker, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.control import Head, Hello, HelloPage, Publish, PublishPage, Run
from broker.errors import ControlError, Fenced, LogLost
from broker.sockets import REQUEST_MAX_BYTES
from broker.wire import Position, pack_event
from producer.window import (
    IN_FLIGHT_MAX,
    PAUSE_MAX_S,
    PAUSE_S,
    READ_BYTES,
    REQUEST_BYTES,
    REQUEST_EVENTS,
    TIMEOUT_S,
    Batch,
    Sending,
    Window,
)

EPOCH = 0x9F3C
FULL = REQUEST_EVENTS


def head(epoch: int = EPOCH) -> Head:
    return Head(epoch=f"{epoch:016x}", head=0, oldest=1, forgotten=0, start=0)


def hello_page(last: int, incarnation: int = 1, epoch: int = EPOCH, payload_max: int = 0) -> HelloPage:
    return HelloPage(at=head(epoch), incarnation=incarnation, last=last, payload_max_bytes=payload_max)


def hello(id: int, answered: int = 0) -> Hello:
    """After so many that were answered."""
    return Hello(id=id, producer="p", instance=f"i.{answered}")


def page(last: int, *runs: Run, epoch: int = EPOCH) -> PublishPage:
    return PublishPage(at=head(epoch), last=last, runs=list(runs))


def put(window: Window, *parts: bytes) -> list[tuple[Batch, int]]:
    return [window.put(part, note=part) for part in parts]


def fill(window: Window, count: int) -> list[tuple[Batch, int]]:
    return put(window, *(b"%d" % number for number in range(count)))


def asked(sendings: list[Sending]) -> list[tuple[int, list[bytes]]]:
    """First number and events of each request to publish."""
    return [(each.request.first, each.parts) for each in sendings if isinstance(each.request, Publish)]


def ids(sendings: list[Sending]) -> list[int]:
    return [each.request.id for each in sendings]


def linked(*, held_max: int = 10**6, numbered: bool = False) -> Window:
    window = Window("p", held_max, instance="i", numbered=numbered)
    window.on_link()
    return window


def greeted(last: int = 0, *, held_max: int = 10**6, numbered: bool = False, payload_max: int = 0) -> Window:
    """With its hello answered, and nothing in it."""
    window = linked(held_max=held_max, numbered=numbered)
    assert window.due(0) == [Sending(hello(1), [])]
    window.on_hello(1, hello_page(last, payload_max=payload_max))
    return window


def flowing(last: int = 0, *, numbered: bool = False, payload_max: int = 0) -> Window:
    """With one event confirmed, after which as much as may be is in flight."""
    window = greeted(last, numbered=numbered, payload_max=payload_max)
    put(window, b"first")
    (request,) = window.due(0)
    window.on_published(request.request.id, page(last + 1), 0)
    window.notes.clear()
    return window


def settled(window: Window) -> list[object]:
    notes, window.notes = window.notes, []
    return [note for _, _, note in notes]


# What is asked


def test_nothing_is_sent_without_a_link_and_nothing_but_a_hello_before_its_answer() -> None:
    window = Window("p", 10, instance="i")
    put(window, b"a")
    assert (window.due(0), window.next_s) == ([], None)
    window.on_link()
    assert [each.request for each in window.due(0)] == [hello(1)]
    assert window.due(0) == []
    assert window.last is None
    window.on_hello(1, hello_page(last=41, incarnation=7))
    assert window.due(0) == [Sending(Publish(id=2, producer="p", incarnation=7, first=42, known=41), [b"a"])]
    assert window.last == 41


def test_while_an_answer_is_awaited_what_comes_gathers_into_one_request() -> None:
    window = flowing()
    put(window, b"a")
    (first,) = window.due(0)
    put(window, b"b", b"c")
    assert window.due(0) == []
    window.on_published(first.request.id, page(2), 0)
    assert asked(window.due(0)) == [(3, [b"b", b"c"])]


def test_full_requests_do_not_wait_for_answers_up_to_so_many_in_flight() -> None:
    window = flowing()
    fill(window, FULL * (IN_FLIGHT_MAX + 2))
    sendings = window.due(0)
    assert [first for first, _ in asked(sendings)] == [2 + FULL * place for place in range(IN_FLIGHT_MAX)]
    assert all(len(parts) == FULL for _, parts in asked(sendings))
    assert window.due(0) == []
    window.on_published(sendings[0].request.id, page(1 + FULL), 0)
    assert [first for first, _ in asked(window.due(0))] == [2 + FULL * IN_FLIGHT_MAX]


def test_a_request_is_bounded_in_bytes_and_a_larger_event_goes_alone() -> None:
    window = flowing()
    half, large = b"h" * (REQUEST_BYTES // 2), b"l" * (REQUEST_BYTES + 1)
    put(window, half, half, b"s", large, b"e")
    assert [parts for _, parts in asked(window.due(0))] == [[half, half], [b"s"], [large]]


def test_it_says_what_it_knows() -> None:
    window = flowing()
    put(window, b"a")
    (sending,) = window.due(0)
    assert isinstance(sending.request, Publish)
    assert sending.request.known == 1


@pytest.mark.parametrize(
    ("parts", "full", "room"),
    [
        pytest.param([b"x"] * 3, False, True, id="room"),
        pytest.param([b"x"] * 4, True, False, id="so many events"),
        pytest.param([b"x" * 75], False, True, id="three quarters of the bytes"),
        pytest.param([b"x" * 76], False, False, id="a quarter is wanted before who waits goes on"),
        pytest.param([b"x" * 1_000], True, False, id="so many bytes, by one event"),
    ],
)
def test_it_is_bounded(parts: list[bytes], full: bool, room: bool) -> None:
    window = Window("p", 4, 100, instance="i")
    put(window, *parts)
    assert (window.is_full, window.has_room) == (full, room)


# What is confirmed


def test_what_is_confirmed_has_its_place_and_is_let_go() -> None:
    window = flowing()
    places = fill(window, FULL + 2)
    (sending,) = window.due(0)
    window.on_published(sending.request.id, page(FULL + 1, Run(2, 500, 10), Run(12, 900, FULL - 10)), 0)
    positions = [batch.maybe_position(place) for batch, place in places]
    assert positions[:10] == [Position(EPOCH, 500 + place) for place in range(10)]
    assert positions[10:FULL] == [Position(EPOCH, 900 + place) for place in range(FULL - 10)]
    assert positions[FULL:] == [None, None]
    assert [batch.is_settled(place) for batch, place in places] == [True] * FULL + [False] * 2
    assert settled(window) == [b"%d" % number for number in range(FULL)]
    assert (window.held, window.last, places[0][0].parts) == (2, FULL + 1, [])


def test_an_answer_confirms_what_others_were_asked_for_whose_answers_are_lost() -> None:
    window = flowing()
    places = fill(window, FULL * 3)
    sendings = window.due(0)
    window.on_published(sendings[1].request.id, page(1 + 2 * FULL, Run(2, 10, 2 * FULL)), 0)
    assert [batch.maybe_position(place) for batch, place in places[: 2 * FULL]] == [
        Position(EPOCH, 10 + place) for place in range(2 * FULL)
    ]
    assert window.held == FULL


def test_an_answer_that_comes_after_its_time_confirms_as_well() -> None:
    window = flowing()
    put(window, b"a")
    (late,) = window.due(0)
    window.tick(TIMEOUT_S)
    (again,) = window.due(TIMEOUT_S)
    window.on_published(late.request.id, page(2, Run(2, 77, 1)), TIMEOUT_S)
    assert settled(window) == [b"a"]
    window.on_published(again.request.id, page(2, Run(2, 77, 1)), TIMEOUT_S)
    assert (window.held, window.last) == (0, 2)


def test_a_place_that_the_broker_does_not_know_any_more_is_none() -> None:
    window = flowing()
    ((batch, place),) = put(window, b"a")
    (sending,) = window.due(0)
    window.on_published(sending.request.id, page(2), 0)
    assert (batch.is_settled(place), batch.maybe_position(place), batch.maybe_error(place)) == (
        True,
        None,
        None,
    )


# What is sent again


def again_after_timeout(window: Window, sendings: list[Sending]) -> float:
    window.tick(TIMEOUT_S)
    return TIMEOUT_S


def again_after_another_link(window: Window, sendings: list[Sending]) -> float:
    window.on_link_lost("away")
    assert window.due(0) == []
    window.on_link()
    return 0


def again_after_a_link_whose_loss_was_not_heard(window: Window, sendings: list[Sending]) -> float:
    window.on_link()
    return 0


def again_after_unavailable(window: Window, sendings: list[Sending]) -> float:
    window.on_refused(sendings[0].request.id, "unavailable", "the disk is full", 0)
    assert (window.why, window.due(0), window.next_s) == ("the disk is full", [], PAUSE_S)
    window.tick(PAUSE_S)
    return PAUSE_S


def again_after_a_code_of_tomorrow(window: Window, sendings: list[Sending]) -> float:
    window.on_refused(sendings[0].request.id, "too_many", "later", 0)
    window.tick(PAUSE_S)
    return PAUSE_S


def again_after_out_of_order(window: Window, sendings: list[Sending]) -> float:
    window.on_refused(sendings[1].request.id, "out_of_order", "", 0)
    return 0


def again_after_a_full_link(window: Window, sendings: list[Sending]) -> float:
    window.on_unsent(0)
    assert window.due(0) == []
    window.tick(PAUSE_S)
    return PAUSE_S


@pytest.mark.parametrize(
    "trouble",
    [
        again_after_timeout,
        again_after_another_link,
        again_after_a_link_whose_loss_was_not_heard,
        again_after_unavailable,
        again_after_a_code_of_tomorrow,
        again_after_out_of_order,
        again_after_a_full_link,
    ],
)
def test_after_trouble_all_that_is_not_confirmed_is_sent_again_one_request_first(
    trouble: Callable[[Window, list[Sending]], float],
) -> None:
    window = flowing()
    fill(window, FULL * 3 + 1)  # a request is full when the next event has no room in it
    sendings = window.due(0)
    assert len(sendings) == 3
    now_s = trouble(window, sendings)
    (probe,) = window.due(now_s)
    assert (asked([probe]), window.due(now_s)) == (asked(sendings[:1]), [])
    # Those behind it that the broker refused as well say nothing new.
    for late in sendings[1:]:
        window.on_refused(late.request.id, "out_of_order", "", now_s)
    assert window.due(now_s) == []
    window.on_published(probe.request.id, page(1 + FULL), now_s)
    assert asked(window.due(now_s)) == asked(sendings[1:])


def test_pauses_and_deadlines_grow_and_are_short_again_after_an_answer() -> None:
    window, now_s, pauses = flowing(), 0.0, []
    put(window, b"a")
    for _ in range(10):
        (sending,) = window.due(now_s)
        window.on_refused(sending.request.id, "unavailable", "full", now_s)
        assert window.next_s is not None
        pauses.append(window.next_s - now_s)
        now_s = window.next_s
        window.tick(now_s)
    assert pauses[:3] == pytest.approx([PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S])
    assert pauses[-1] == pytest.approx(PAUSE_MAX_S)
    (sending,) = window.due(now_s)
    window.on_published(sending.request.id, page(2), now_s)
    put(window, b"b")
    (sending,) = window.due(now_s)
    window.on_refused(sending.request.id, "unavailable", "full", now_s)
    assert window.next_s == pytest.approx(now_s + PAUSE_S)


def test_a_hello_that_is_not_answered_is_said_again_and_only_the_newest_counts() -> None:
    window = linked()
    (first,) = window.due(0)
    assert window.next_s == TIMEOUT_S
    window.tick(TIMEOUT_S)
    (second,) = window.due(TIMEOUT_S)
    assert isinstance(second.request, Hello)
    # The broker has read both, in this order: the first one's incarnation is over.
    window.on_hello(first.request.id, hello_page(5, incarnation=1))
    assert window.last is None
    window.on_hello(second.request.id, hello_page(5, incarnation=2))
    put(window, b"a")
    (sending,) = window.due(TIMEOUT_S)
    assert isinstance(sending.request, Publish) and sending.request.incarnation == 2


def test_a_hello_that_is_refused_is_said_again_after_a_pause() -> None:
    window = linked()
    (hello,) = window.due(0)
    window.on_refused(hello.request.id, "unavailable", "the disk is full", 0)
    assert (window.due(0), window.why) == ([], "the disk is full")
    window.tick(PAUSE_S)
    assert isinstance(window.due(PAUSE_S)[0].request, Hello)


# Who has the id


def test_another_program_with_the_id_ends_it_and_what_is_held_fails() -> None:
    window = flowing()
    places = put(window, b"a", b"b")
    (sending,) = window.due(0)
    put(window, b"c")
    window.on_refused(sending.request.id, "fenced", "another program uses this id", 0)
    assert isinstance(window.failure, Fenced)
    assert [batch.maybe_error(place) for batch, place in places] == [window.failure] * 2
    assert (settled(window), window.held, window.given_up) == ([b"a", b"b", b"c"], 0, 3)
    # Nothing confirms it any more.
    window.on_published(sending.request.id, page(3), 0)
    assert (window.last, window.due(0), window.next_s) == (1, [], None)


def test_what_was_confirmed_before_stays_confirmed() -> None:
    window = flowing()
    ((batch, place),) = put(window, b"a")
    (sending,) = window.due(0)
    window.on_published(sending.request.id, page(2, Run(2, 9, 1)), 0)
    put(window, b"b")
    (sending,) = window.due(0)
    window.on_refused(sending.request.id, "fenced", "", 0)
    assert (batch.maybe_position(place), batch.maybe_error(place)) == (Position(EPOCH, 9), None)


def test_more_events_than_it_has_sent_are_those_of_another_program() -> None:
    window = flowing()
    put(window, b"a", b"b")
    (sending,) = window.due(0)
    put(window, b"c")
    window.on_published(sending.request.id, page(4), 0)
    assert isinstance(window.failure, Fenced)
    assert window.last == 1


# A log that has gone back


@pytest.mark.parametrize(
    ("code", "last", "epoch", "lost"),
    [
        pytest.param("unknown_producer", 0, EPOCH + 1, 21, id="another log"),
        pytest.param("unknown_producer", 7, EPOCH + 1, 14, id="another log, and another program was there"),
        pytest.param("unknown_producer", 40, EPOCH + 1, 0, id="and has published more"),
        pytest.param("out_of_order", 19, EPOCH + 1, 2, id="its end is lost"),
        pytest.param("unknown_producer", 0, EPOCH, 0, id="it has forgotten the producer"),
    ],
)
def test_a_log_that_has_gone_back_gets_what_is_held_under_new_numbers(
    code: str, last: int, epoch: int, lost: int
) -> None:
    window = flowing(last=20)
    put(window, b"a", b"b")
    (sending,) = window.due(0)
    assert asked([sending]) == [(22, [b"a", b"b"])]
    window.on_refused(sending.request.id, code, "", 0)
    (hello,) = window.due(0)
    assert isinstance(hello.request, Hello)
    window.on_hello(hello.request.id, hello_page(last, 9, epoch))
    assert (settled(window), window.held) == ([], 2), "a hello confirms nothing"
    (sending,) = window.due(0)
    assert isinstance(sending.request, Publish) and sending.request.incarnation == 9
    assert (asked([sending]), window.lost) == ([(last + 1, [b"a", b"b"])], lost)
    window.on_published(sending.request.id, page(last + 2), 0)
    assert settled(window) == [b"a", b"b"]


def test_an_answer_of_an_incarnation_that_is_over_confirms_nothing() -> None:
    window = flowing()
    fill(window, 2 * FULL + 1)
    first, second = window.due(0)
    window.on_refused(first.request.id, "unknown_producer", "", 0)
    (hello,) = window.due(0)
    window.on_hello(hello.request.id, hello_page(0, incarnation=2))
    window.due(0)
    window.on_published(second.request.id, page(FULL), 0)
    assert (settled(window), window.last) == ([], 0)


def test_out_of_order_behind_what_is_not_confirmed_is_no_sign_of_a_loss() -> None:
    """The answer to the first is lost: a hello would have its events logged again."""
    window = flowing()
    fill(window, 2 * FULL + 1)
    sendings = window.due(0)
    window.on_refused(sendings[1].request.id, "out_of_order", "", 0)
    assert asked(window.due(0)) == asked(sendings[:1])


def test_where_numbers_mean_something_a_loss_is_the_end() -> None:
    window = flowing(last=20, numbered=True)
    put(window, b"a")
    (sending,) = window.due(0)
    window.on_refused(sending.request.id, "out_of_order", "", 0)
    (hello,) = window.due(0)
    window.on_hello(hello.request.id, hello_page(19, incarnation=2))
    assert isinstance(window.failure, LogLost)
    assert (window.failure.confirmed, window.failure.last) == (21, 19)
    assert (settled(window), window.due(0)) == ([b"a"], [])


# Events that are refused for good


def refuse(window: Window, sending: Sending, code: str = "payload_too_large") -> None:
    window.on_refused(sending.request.id, code, "at most 1 are taken", 0)


@pytest.mark.parametrize("code", ["bad_topic", "system_topic", "payload_too_large", "bad_request"])
def test_of_a_request_refused_for_good_only_the_event_that_is_at_fault_fails(code: str) -> None:
    window = flowing()
    places = put(window, b"a", b"BAD", b"c")
    (sending,) = window.due(0)
    refuse(window, sending, code)
    (single,) = window.due(0)
    assert asked([single]) == [(2, [b"a"])]
    window.on_published(single.request.id, page(2), 0)
    (single,) = window.due(0)
    assert asked([single]) == [(3, [b"BAD"])]
    refuse(window, single, code)
    error = places[1][0].maybe_error(places[1][1])
    assert isinstance(error, ControlError) and error.code == code
    assert (settled(window), window.dropped, window.held) == ([b"a", b"BAD"], 1, 1)
    # What was sent under the old numbers may be read late: only a new incarnation keeps it out.
    (hello,) = window.due(0)
    assert isinstance(hello.request, Hello)
    window.on_hello(hello.request.id, hello_page(2, incarnation=2))
    (last,) = window.due(0)
    assert asked([last]) == [(3, [b"c"])]
    window.on_published(last.request.id, page(3, Run(3, 70, 1)), 0)
    assert (places[2][0].maybe_position(places[2][1]), window.lost) == (Position(EPOCH, 70), 0)


def test_an_event_is_not_dropped_before_those_in_front_of_it_are_confirmed() -> None:
    """The answer to them is lost: they are asked for again, and then it."""
    window = flowing()
    put(window, b"a" * REQUEST_BYTES, b"BAD" * REQUEST_BYTES, b"c")
    first, second = window.due(0)
    refuse(window, second)
    assert settled(window) == []
    (single,) = window.due(0)
    assert asked([single]) == asked([first])


def test_after_the_fault_full_requests_go_on() -> None:
    window = flowing()
    fill(window, 3 * FULL + 1)
    sendings = window.due(0)
    refuse(window, sendings[0])
    (single,) = window.due(0)
    refuse(window, single)
    (hello,) = window.due(0)
    window.on_hello(hello.request.id, hello_page(1, incarnation=2))
    (probe,) = window.due(0)
    assert [(first, len(parts)) for first, parts in asked([probe])] == [(2, FULL - 1)]
    window.on_published(probe.request.id, page(FULL), 0)
    assert [len(parts) for _, parts in asked(window.due(0))] == [FULL, FULL]


def test_where_numbers_mean_something_an_event_refused_for_good_is_the_end() -> None:
    window = flowing(numbered=True)
    put(window, b"BAD", b"b")
    (sending,) = window.due(0)
    refuse(window, sending)
    (single,) = window.due(0)
    refuse(window, single)
    assert isinstance(window.failure, ControlError)
    assert (settled(window), window.dropped) == ([b"BAD", b"b"], 0)


# Events that the broker does not even read

LARGE = pack_event(b"t", bytes(READ_BYTES), 3)


def test_what_every_broker_reads_is_what_ours_reads() -> None:
    assert READ_BYTES == REQUEST_MAX_BYTES


@pytest.mark.parametrize(
    ("part", "payload_max", "is_sent"),
    [
        pytest.param(LARGE, READ_BYTES, True, id="it takes so much"),
        pytest.param(LARGE, READ_BYTES - 1, False, id="it takes less"),
        pytest.param(LARGE, 0, True, id="it has not said what it takes"),
        pytest.param(pack_event(b"t", bytes(READ_BYTES - 8), 3), 1, True, id="it says so itself"),
    ],
)
def test_an_event_that_would_cost_the_link_is_refused_unsent(
    part: bytes, payload_max: int, is_sent: bool
) -> None:
    window = greeted(payload_max=payload_max)
    ((batch, place),) = put(window, part)
    assert asked(window.due(0)) == ([(1, [part])] if is_sent else [])
    assert (window.dropped, window.held) == ((0, 1) if is_sent else (1, 0))
    error = batch.maybe_error(place)
    assert isinstance(error, ControlError) is not is_sent
    assert error is None or (error is window.refusal and window.refusal.code == "payload_too_large")


def test_it_is_refused_in_its_turn_and_the_next_one_gets_its_number() -> None:
    window = flowing(payload_max=1)
    put(window, b"a", LARGE, LARGE, b"b")
    (first,) = window.due(0)
    assert (asked([first]), window.is_due, settled(window)) == ([(2, [b"a"])], False, [])
    window.on_link_lost("gone")
    window.on_link()
    (again,) = window.due(0)
    assert (asked([again]), window.is_due, settled(window)) == ([(2, [b"a"])], False, [])
    window.on_published(again.request.id, page(2), 0)
    assert asked(window.due(0)) == [(3, [b"b"])]
    assert (settled(window), window.dropped, window.last) == ([b"a", LARGE, LARGE], 2, 2)


def test_where_numbers_mean_something_it_is_the_end() -> None:
    window = flowing(numbered=True, payload_max=1)
    put(window, LARGE, b"b")
    assert window.due(0) == []
    assert isinstance(window.failure, ControlError)
    assert (settled(window), window.dropped) == ([LARGE, b"b"], 0)


def test_a_broker_that_confirms_less_than_it_was_asked_is_asked_again() -> None:
    window = flowing()
    put(window, b"a", b"b")
    (sending,) = window.due(0)
    window.on_published(sending.request.id, page(2), 0)
    window.tick(PAUSE_S)
    assert (settled(window), asked(window.due(PAUSE_S))) == ([b"a"], [(3, [b"b"])])
