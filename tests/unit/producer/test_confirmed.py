"""A confirmed publisher over real sockets and with its real thread: the test is the broker."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from broker.errors import BadPayload, BadSetting, ControlError, Fenced, LogLost, NotConfirmed, PublishTimeout
from producer import Publisher
from producer.confirmation import Confirmation
from producer.window import READ_BYTES
from tests.support.played_broker import PlayedBroker, control_port
from tests.support.ports import reserved_ports
from tests.support.processes import environment
from tests.support.waiting import wait_for

DEADLINE_S = 20.0
CLOSE_S = 10.0


@pytest.fixture
def broker() -> PlayedBroker:
    return PlayedBroker()


@pytest.fixture
def control(broker: PlayedBroker) -> Iterator[str]:
    with control_port(broker) as address:
        yield address


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address where nobody listens until the test does."""
    with reserved_ports(1) as (port,):
        yield f"tcp://127.0.0.1:{port}"


def payloads(broker: PlayedBroker) -> list[bytes]:
    return [each.payload for each in broker.log]


@contextmanager
def confirmed(control: str, **settings: object) -> Iterator[Publisher]:
    """Closed after the block, with nothing left to wait for."""
    publisher = Publisher(confirm=True, control=control, **settings)  # type: ignore[arg-type]
    try:
        yield publisher
    finally:
        publisher.close(0)


def test_each_event_is_confirmed_with_its_position(broker: PlayedBroker, control: str) -> None:
    with confirmed(control) as publisher:
        confirmations = [publisher.publish("a", number) for number in range(10)]
        assert [each.result(DEADLINE_S) for each in confirmations] == [
            f"{broker.epoch:016x}.{number}" for number in range(1, 11)
        ]
        assert all(each.done and each.error is None for each in confirmations)
        assert (publisher.published, publisher.unconfirmed, publisher.last) == (10, 0, 10)
        assert publisher.close()
    assert payloads(broker) == [b"%d" % number for number in range(10)]


def test_flush_returns_when_all_is_confirmed(broker: PlayedBroker, control: str) -> None:
    with confirmed(control) as publisher:
        for number in range(10_000):
            publisher.publish("a", number)
        publisher.flush(DEADLINE_S)
        assert len(broker.log) == 10_000
        publisher.flush(0)  # nothing is left to wait for


def test_it_works_before_the_broker_is_there(broker: PlayedBroker, nowhere: str) -> None:
    with confirmed(nowhere) as publisher:
        first = publisher.publish("a", 0)
        assert not first.done and first.position == ""
        with pytest.raises(NotConfirmed, match=r"1 event not confirmed .* within 0.05 s: it is not there"):
            publisher.flush(0.05)
        with pytest.raises(NotConfirmed, match="it is not there"):
            first.result(0)
        with control_port(broker, nowhere):
            assert first.result(DEADLINE_S) == f"{broker.epoch:016x}.1"


def test_a_broker_that_comes_back_gets_the_rest_and_flush_says_meanwhile_that_it_is_away(
    broker: PlayedBroker, nowhere: str
) -> None:
    with confirmed(nowhere) as publisher:
        with control_port(broker, nowhere):
            publisher.publish("a", 0).result(DEADLINE_S)
        confirmation = publisher.publish("a", 1)
        wait_for(lambda: why(publisher) == "it is away", what="the loss of the link")
        with control_port(broker, nowhere):
            confirmation.result(DEADLINE_S)
    assert payloads(broker) == [b"0", b"1"]
    assert broker.hellos == 1


def why(publisher: Publisher) -> str:
    try:
        publisher.flush(0)
    except NotConfirmed as error:
        return error.why
    return ""


def test_flush_says_why_the_broker_refuses_and_what_was_refused_is_logged_later(
    broker: PlayedBroker, control: str
) -> None:
    with confirmed(control) as publisher:
        publisher.publish("a", 0).result(DEADLINE_S)
        broker.trouble = "cannot write to the log (disk full): make room on the disk"
        publisher.publish("a", 1)
        wait_for(lambda: why(publisher) == broker.trouble, what="the refusal")
        broker.trouble = ""
        publisher.flush(DEADLINE_S)
    assert payloads(broker) == [b"0", b"1"]


def test_a_callback_is_told_once(control: str) -> None:
    told: list[tuple[Confirmation, str]] = []
    with confirmed(control) as publisher:
        given = [
            publisher.publish("a", number, on_confirm=lambda each: told.append((each, each.position)))
            for number in range(100)
        ]
        publisher.flush(DEADLINE_S)
        assert publisher.close()
    assert [position for _, position in told] == [each.position for each in given]


def test_a_callback_that_fails_or_publishes_holds_up_nothing(
    broker: PlayedBroker, control: str, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[Exception] = []

    def fail(_: Confirmation) -> None:
        raise ValueError("mine")

    def publish_more(_: Confirmation) -> None:
        publisher.publish("more", 1)

    def wait(each: Confirmation) -> None:
        each.result()  # it is there already
        try:
            publisher.flush()
        except RuntimeError as error:
            waited.append(error)

    with confirmed(control) as publisher:
        for callback in (fail, publish_more, wait):
            publisher.publish("a", 0, on_confirm=callback)
        wait_for(lambda: len(broker.log) == 4 and waited, what="all four events, and an error")
        publisher.flush(DEADLINE_S)
    assert "on_confirm failed" in caplog.text


def test_a_callback_may_close(broker: PlayedBroker, control: str) -> None:
    publisher = Publisher(confirm=True, control=control)
    publisher.publish("a", 0, on_confirm=lambda _: publisher.close())
    publisher.publish("a", 1)
    wait_for(lambda: not publishing_threads(), what="its end")
    assert (payloads(broker), publisher.unconfirmed) == ([b"0", b"1"], 0)


def publishing_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("penstock publisher")]


# Back-pressure


def test_a_full_window_refuses_at_once_or_after_its_time_and_takes_nothing(
    broker: PlayedBroker, nowhere: str
) -> None:
    for wait_s in (0, 0.05):
        with confirmed(nowhere, high_water=10, wait_s=wait_s) as publisher:
            for number in range(10):
                publisher.publish("a", number)
            with pytest.raises(PublishTimeout, match=f"took nothing for {wait_s:g} s: not sent"):
                publisher.publish("a", 10)
            assert (publisher.published, publisher.unconfirmed) == (10, 10)
            with control_port(broker, nowhere):
                publisher.flush(DEADLINE_S)
                publisher.publish("a", 10)
                publisher.flush(DEADLINE_S)
    assert payloads(broker) == [b"%d" % number for number in range(11)] * 2


def test_a_full_window_waits_for_room(broker: PlayedBroker, nowhere: str) -> None:
    with confirmed(nowhere, high_water=10) as publisher, ThreadPoolExecutor(1) as other:

        def publish_all() -> None:
            for number in range(1_000):
                publisher.publish("a", number)

        publishing = other.submit(publish_all)
        wait_for(lambda: publisher.unconfirmed == 10, what="a full window")
        with control_port(broker, nowhere):
            publishing.result(DEADLINE_S)
            publisher.flush(DEADLINE_S)
    assert payloads(broker) == [b"%d" % number for number in range(1_000)]


def test_threads_may_share_one(broker: PlayedBroker, control: str) -> None:
    with confirmed(control, high_water=100) as publisher, ThreadPoolExecutor(4) as pool:

        def publish_some(thread: int) -> None:
            for number in range(500):
                publisher.publish("a", f"{thread}.{number}")

        list(pool.map(publish_some, range(4)))
        publisher.flush(DEADLINE_S)
    for thread in range(4):
        of_thread = [each for each in payloads(broker) if each.startswith(b"%d." % thread)]
        assert of_thread == [b"%d.%d" % (thread, number) for number in range(500)]


# One id, one program


def test_last_says_how_far_the_log_is(broker: PlayedBroker, control: str) -> None:
    for start in (0, 5, 10):
        with confirmed(control, producer_id="p") as publisher:
            assert publisher.last == start
            for number in range(5):
                publisher.publish("a", start + number)
            publisher.flush(DEADLINE_S)
            assert publisher.last == start + 5
    assert payloads(broker) == [b"%d" % number for number in range(15)]


def test_last_waits_as_publish_does(nowhere: str) -> None:
    with confirmed(nowhere, wait_s=0.05) as publisher, pytest.raises(PublishTimeout, match="it is not there"):
        assert publisher.last


def test_a_second_program_with_the_id_ends_the_first(broker: PlayedBroker, control: str) -> None:
    told: list[Confirmation] = []
    with ExitStack() as stack:
        first = stack.enter_context(confirmed(control, producer_id="p"))
        first.publish("a", 0).result(DEADLINE_S)
        second = stack.enter_context(confirmed(control, producer_id="p"))
        second.publish("a", 1).result(DEADLINE_S)
        late = first.publish("a", 2, on_confirm=told.append)
        for ask in (lambda: late.result(DEADLINE_S), first.flush, lambda: first.publish("a", 3)):
            with pytest.raises(Fenced):
                ask()
        with pytest.raises(Fenced):
            assert first.last
        assert not first.close()
        assert (late.done, late.position, isinstance(late.error, Fenced)) == (True, "", True)
        assert [each.error for each in told] == [late.error]
        second.publish("a", 4).result(DEADLINE_S)
    assert payloads(broker) == [b"0", b"1", b"4"]


def test_two_publishers_without_an_id_are_two_producers(broker: PlayedBroker, control: str) -> None:
    with confirmed(control) as one, confirmed(control) as other:
        for publisher in (one, other, one):
            publisher.publish("a", 0).result(DEADLINE_S)
    assert sorted(each.number for each in broker.log) == [1, 1, 2]


def test_only_one_without_an_id_is_passing(broker: PlayedBroker, control: str) -> None:
    with confirmed(control, producer_id="named") as named, confirmed(control) as nameless:
        for publisher in (named, nameless):
            publisher.publish("a", 0).result(DEADLINE_S)
    assert broker.passing == {each.producer for each in broker.log} - {"named"}


# What goes wrong


def test_what_the_log_has_lost_is_counted_and_the_rest_goes_on(
    broker: PlayedBroker, nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    with confirmed(nowhere) as publisher:
        with control_port(broker, nowhere):
            publisher.publish("a", 0).result(DEADLINE_S)
        broker.begin_anew()
        with control_port(broker, nowhere):
            publisher.publish("a", 1).result(DEADLINE_S)
        assert publisher.lost == 1
    assert payloads(broker) == [b"1"]
    assert "lost confirmed events" in caplog.text


def test_where_numbers_mean_something_a_loss_is_the_end(broker: PlayedBroker, nowhere: str) -> None:
    with confirmed(nowhere, producer_id="p", numbered=True) as publisher:
        with control_port(broker, nowhere):
            publisher.publish("a", 0).result(DEADLINE_S)
        broker.begin_anew()
        with control_port(broker, nowhere), pytest.raises(LogLost, match=r"has 0 events .* confirmed 1"):
            publisher.publish("a", 1).result(DEADLINE_S)
    assert payloads(broker) == []


def test_an_event_that_the_broker_refuses_for_good_fails_alone(
    broker: PlayedBroker, nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker.payload_max = 10
    with confirmed(nowhere) as publisher:
        given = [publisher.publish("a", b"x" * size) for size in (1, 2, 11, 3)]
        with control_port(broker, nowhere):
            with pytest.raises(ControlError, match="at most 10 are taken"):
                publisher.flush(DEADLINE_S)
            publisher.flush(DEADLINE_S)  # it was told of
            with pytest.raises(ControlError, match="at most 10 are taken"):
                given[2].result(DEADLINE_S)
            assert [bool(each.position) for each in given] == [True, True, False, True]
            assert publisher.dropped == 1
            assert not publisher.close()
    assert payloads(broker) == [b"x", b"xx", b"xxx"]
    assert "at most 10 are taken" in caplog.text


def test_an_event_larger_than_the_broker_reads_fails_alone_and_is_not_sent(
    broker: PlayedBroker, control: str
) -> None:
    with Publisher(confirm=True, control=control, payload_max_bytes=2 * READ_BYTES) as publisher:
        told: list[Confirmation] = []
        given = [
            publisher.publish("a", b"x" * size, on_confirm=told.append) for size in (1, READ_BYTES + 1, 2)
        ]
        with pytest.raises(ControlError, match="at most 1048576 are taken") as raised:
            publisher.flush(DEADLINE_S)
        assert raised.value.code == "payload_too_large"
        assert [bool(each.position) for each in given] == [True, False, True]
        # The only one: for who waits for it, and hears nothing else of the broker then.
        alone = publisher.publish("a", b"x" * (READ_BYTES + 1))
        with pytest.raises(ControlError, match="at most 1048576 are taken"):
            alone.result(DEADLINE_S)
    assert [each.error is None for each in told] == [True, False, True]
    assert (payloads(broker), broker.hellos) == ([b"x", b"xx"], 1)


def test_what_is_refused_before_it_is_sent_is_not_counted(broker: PlayedBroker, control: str) -> None:
    with confirmed(control) as publisher:
        with pytest.raises(BadPayload):
            publisher.publish("a", float("nan"))
        assert publisher.published == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"control": "nonsense"}, "no address", id="no address"),
        pytest.param({"ingest": "tcp://127.0.0.1:5555"}, "`control`", id="a stream's address"),
        pytest.param({"wait": True}, "`control`", id="two kinds"),
        pytest.param({"producer_id": "p" * 256}, "255", id="a long id"),
        pytest.param({"producer_id": ""}, "one of its own", id="an empty id"),
        pytest.param({"producer_id": "\ud800"}, "want text", id="an id that cannot be said"),
        pytest.param({"high_water": 0}, "1 or more", id="no room"),
        pytest.param({"confirm": False, "control": "tcp://127.0.0.1:5557"}, "confirm=True", id="plain"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        Publisher(**{"confirm": True, **settings})  # type: ignore[arg-type]


def test_how_far_it_is_a_closed_one_does_not_wait_for(nowhere: str) -> None:
    publisher = Publisher(confirm=True, control=nowhere)
    publisher.close(0)
    with pytest.raises(RuntimeError, match="closed"):
        print(publisher.last)


def test_a_plain_one_confirms_nothing_and_says_so(nowhere: str) -> None:
    publisher = Publisher(nowhere)
    plain = publisher.publish("a", 0)
    assert (plain.done, plain.position, plain.error) == (False, "", None)
    for ask in (plain.result, publisher.flush, lambda: publisher.publish("a", 0, on_confirm=print)):
        with pytest.raises(RuntimeError, match="confirm=True"):
            ask()
    publisher.close(0)


# The end


def test_closing_waits_for_what_is_not_confirmed(broker: PlayedBroker, control: str) -> None:
    for _ in range(20):
        publisher = Publisher(confirm=True, control=control)
        publisher.publish("a", 0)
        assert publisher.close(CLOSE_S)
        assert publisher.close(CLOSE_S)  # again: the same answer
    assert len(broker.log) == 20


def test_closing_without_a_broker_ends_in_time_and_says_what_is_not_confirmed(
    nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Confirmation] = []
    publisher = Publisher(confirm=True, control=nowhere)
    confirmation = publisher.publish("a", 0, on_confirm=told.append)
    assert not publisher.close(0.1)
    assert publisher.unconfirmed == 1
    assert "1 event not confirmed" in caplog.text and "it is not there" in caplog.text
    with pytest.raises(NotConfirmed):
        confirmation.result()
    assert [each.error for each in told] == [confirmation.error]
    assert not publisher.close()  # again: the same answer
    with pytest.raises(RuntimeError, match="closed"):
        publisher.publish("a", 1)


def test_who_tells_it_himself_closes_without_a_warning(
    nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(confirm=True, control=nowhere)
    publisher.publish("a", 0)
    assert not publisher.close(0, warns=False)
    assert caplog.text == ""


def test_closing_with_nothing_published_does_not_wait_for_a_broker(nowhere: str) -> None:
    assert Publisher(confirm=True, control=nowhere).close(CLOSE_S)


def test_closing_ends_who_waits_for_room(nowhere: str) -> None:
    publisher = Publisher(confirm=True, control=nowhere, high_water=1)
    publisher.publish("a", 0)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(publisher.publish, "a", 1)
        asking = other.submit(lambda: publisher.last)
        wait_for(lambda: waiting.running(), what="it waits")
        assert not publisher.close(0)
        with pytest.raises(RuntimeError, match="closed"):
            waiting.result(DEADLINE_S)
        with pytest.raises(NotConfirmed):
            asking.result(DEADLINE_S)


def test_one_that_is_forgotten_is_flushed_and_leaves_no_thread(broker: PlayedBroker, control: str) -> None:
    Publisher(confirm=True, control=control).publish("a", 0)
    gc.collect()
    assert payloads(broker) == [b"0"]
    assert not publishing_threads()


FORGETFUL = """
import sys
from producer import Publisher
publisher = Publisher(confirm=True, control=sys.argv[1])
for number in range(1_000): publisher.publish("a", number)
"""


def test_a_script_that_ends_without_closing_loses_nothing(broker: PlayedBroker, control: str) -> None:
    command = [sys.executable, "-c", FORGETFUL, control]
    subprocess.run(command, env=environment({}), timeout=DEADLINE_S, check=True)
    assert payloads(broker) == [b"%d" % number for number in range(1_000)]


def test_many_come_and_go_and_leave_nothing_open(control: str) -> None:
    with ExitStack() as stack:
        for _ in range(50):
            publisher = stack.enter_context(confirmed(control))
            publisher.publish("a", 0)
    assert not publishing_threads()
