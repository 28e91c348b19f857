"""Questions to the broker: one outcome each, whatever the other side does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
import zmq
import zmq.green
from gevent.event import AsyncResult, Event

from broker import control
from broker.errors import ControlError, ControlTimeout, ControlUnsent
from broker.wire import pack_event, pack_records, pack_stamp
from gateway.links import IN_FLIGHT_MAX, ControlLink

DEADLINE_S = 5
HEAD = {"epoch": "0" * 15 + "1", "head": 7, "oldest": 1, "forgotten": 0, "start": 0}
PAGE = {"at": HEAD, "through": 7}
STATUS = control.Status(id=0)
SUBMIT = control.Submit(id=0, key="k")
REPLAY = control.Replay(id=0, patterns=("a",), after=0)

Answer = Callable[[dict[str, Any]], list[bytes]]


def said(fields: dict[str, Any], *records: bytes) -> Answer:
    return lambda request: [json.dumps({"id": request["id"], **fields}).encode(), *records]


def ok(page: dict[str, Any], *records: bytes) -> Answer:
    return said({"ok": page}, *records)


class FakeBroker:
    """Answers each request by a function of it; the frames go over a real ROUTER."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.events: list[list[bytes]] = []  # what came behind each
        self.answer: Answer = ok(PAGE)
        context: Any = zmq.green.Context.instance()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind("tcp://127.0.0.1:*")
        self.address: str = self._socket.last_endpoint.decode()
        self._greenlet = gevent.spawn(self._serve)

    def _serve(self) -> None:
        while True:
            peer, data, *events = self._socket.recv_multipart()
            self.asked.append(json.loads(data))
            self.events.append(events)
            if frames := self.answer(self.asked[-1]):
                self._socket.send_multipart([peer, *frames])

    def close(self) -> None:
        self._greenlet.kill()
        self._socket.close()


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    with gevent.Timeout(DEADLINE_S):
        yield


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    broker = FakeBroker()
    try:
        yield broker
    finally:
        broker.close()


@pytest.fixture
def link(broker: FakeBroker) -> Iterator[ControlLink]:
    link = ControlLink(zmq.Context.instance(), broker.address)
    try:
        yield link
    finally:
        link.close()


def test_a_page_and_its_records_come_back(broker: FakeBroker, link: ControlLink) -> None:
    broker.answer = ok(PAGE, b"records")
    page, records = link.call(REPLAY)
    assert page == control.ReplayPage(at=control.Head(**HEAD), through=7)  # type: ignore[arg-type]
    assert records == b"records"
    assert broker.asked[0]["op"] == "replay" and broker.asked[0]["patterns"] == ["a"]


def test_an_answer_that_came_while_we_stood_still_is_in_time(broker: FakeBroker, link: ControlLink) -> None:
    heard: AsyncResult = AsyncResult()
    link.ask(STATUS, lambda page, _: heard.set(page), timeout_s=-1)  # its time is over
    link._swept_s -= 60
    link._sweep()
    assert not heard.ready()
    link._sweep()
    assert isinstance(heard.get(), ControlTimeout)


def test_events_go_behind_a_request_that_publishes(broker: FakeBroker, link: ControlLink) -> None:
    broker.answer = ok({"at": HEAD, "position": "9.9", "repeated": True})
    heard: AsyncResult = AsyncResult()
    events = pack_event(b"a", b"1", 1)
    link.ask(SUBMIT, lambda page, _: heard.set(page), events=events)
    page = heard.get()
    assert (page.position, page.repeated) == ("9.9", True)
    assert (broker.asked[0]["op"], broker.asked[0]["key"], broker.events) == ("submit", "k", [[events]])


def test_an_immediate_link_sends_nothing_that_would_have_to_wait(broker: FakeBroker) -> None:
    link = ControlLink(zmq.Context.instance(), "tcp://127.0.0.1:1", is_immediate=True)
    with pytest.raises(ControlUnsent):
        link.call(STATUS)
    link.close()
    link = ControlLink(zmq.Context.instance(), broker.address, is_immediate=True)
    while True:
        with suppress(ControlUnsent):  # until it stands
            link.call(REPLAY)
            break
    assert len(broker.asked) == 1
    link.close()


def test_records_are_read_as_events(broker: FakeBroker, link: ControlLink) -> None:
    stamp = pack_stamp(0, 1, 1, 7, 0, 9)
    broker.answer = ok(PAGE, pack_records([(b"a", stamp, b"payload")]))
    assert [(event.topic, event.seq) for event in read(link)[1]] == [("a", 7)]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(b"records", id="no records"),
        pytest.param(pack_records([(b"a", pack_stamp(0, 1, 1, 7, 0, 9), b"p")])[:-1], id="cut off"),
        pytest.param(pack_records([(b"\xff", pack_stamp(0, 1, 1, 7, 0, 9), b"p")]), id="no topic"),
        pytest.param(pack_records([(b"a", b"\x09" + bytes(39), b"p")]), id="a stamp of another version"),
    ],
)
def test_records_that_are_none_are_a_bad_answer(
    broker: FakeBroker, link: ControlLink, records: bytes
) -> None:
    broker.answer = ok(PAGE, records)
    page, events = read(link)
    assert (page.code, len(events)) == ("bad_answer", 0)


def read(link: ControlLink) -> tuple[Any, Any]:
    heard: AsyncResult = AsyncResult()
    link.read(REPLAY, lambda page, events: heard.set((page, events)))
    found: tuple[Any, Any] = heard.get()
    return found


def test_many_questions_at_once_find_their_own_answers(broker: FakeBroker, link: ControlLink) -> None:
    broker.answer = lambda request: ok({**PAGE, "through": request["after"]})(request)
    count, heard, all_heard = 500, [], Event()

    def done(after: int, page: Any) -> None:
        heard.append((after, page.through))
        if len(heard) == count:
            all_heard.set()

    for after in range(count):
        request = control.Replay(id=0, after=after)
        link.ask(request, lambda page, _, after=after: done(after, page))  # type: ignore[misc]
    assert not heard, "done is never called from within ask"
    all_heard.wait()
    assert sorted(heard) == [(after, after) for after in range(count)]


def test_done_may_ask_again(broker: FakeBroker, link: ControlLink) -> None:
    finished, seqs = Event(), []

    def done(page: Any, _: bytes) -> None:
        seqs.append(page.through)
        if len(seqs) < 200:
            link.ask(REPLAY, done)
        else:
            finished.set()

    link.ask(REPLAY, done)
    finished.wait()
    assert len(seqs) == 200


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(
            said({"error": {"code": "damaged", "message": "m"}}), "damaged", id="the broker's error"
        ),
        pytest.param(ok({"at": HEAD}), "bad_answer", id="page of another kind"),
        pytest.param(said({}), "bad_answer", id="neither"),
        pytest.param(lambda request: [], "timeout", id="silence"),
        pytest.param(lambda request: [b"no json"], "timeout", id="no JSON"),
        pytest.param(
            lambda request: ok(PAGE)({"id": request["id"] + 1000}), "timeout", id="answer to another question"
        ),
    ],
)
def test_every_failure_is_a_control_error(
    broker: FakeBroker, link: ControlLink, answer: Answer, code: str
) -> None:
    broker.answer = answer
    with pytest.raises(ControlError) as caught:
        link.call(REPLAY, timeout_s=0.3)
    assert caught.value.code == code
    broker.answer = ok(PAGE)
    assert link.call(REPLAY)[0].through == 7


def test_a_broker_that_is_not_there_is_a_timeout_that_names_it() -> None:
    broker = FakeBroker()
    address = broker.address
    broker.close()
    link = ControlLink(zmq.Context.instance(), address)
    with pytest.raises(ControlTimeout, match=f"broker at {address} within 0.2 s"):
        link.call(STATUS, timeout_s=0.2)
    link.close()


def test_questions_beyond_the_bound_are_refused_at_once() -> None:
    link = ControlLink(zmq.Context.instance(), "tcp://127.0.0.1:1")
    outcomes: list[Any] = []
    for _ in range(IN_FLIGHT_MAX + 10):
        link.ask(STATUS, lambda page, _: outcomes.append(page))
    with pytest.raises(ControlUnsent) as caught:
        link.call(STATUS)
    assert caught.value.code == "unavailable"
    assert len(outcomes) == 10
    link.close()
    gevent.idle()
    assert {outcome.code for outcome in outcomes} == {"unavailable"}
    assert len(outcomes) == IN_FLIGHT_MAX + 10


def test_a_closed_link_answers_unavailable(link: ControlLink) -> None:
    link.close()
    link.close()
    with pytest.raises(ControlError) as caught:
        link.call(STATUS)
    assert caught.value.code == "unavailable"
