"""The broker's log as the hub asks it: how often the broker is asked, and who hears the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from broker import control
from broker.errors import ControlError
from broker.wire import pack_records, pack_stamp
from gateway.log import BrokerLog
from tests.support.events import EPOCH, TIME_US, head

DEADLINE_S = 5


class FakeLink:
    """Keeps what was asked; `answer` answers the oldest question."""

    def __init__(self) -> None:
        self.asked: list[tuple[control.AnyRequest, Callable[[Any, bytes], None]]] = []
        self.count = 0

    def ask(self, request: control.AnyRequest, done: Callable[[Any, bytes], None]) -> None:
        self.count += 1
        self.asked.append((request, done))

    def answer(self, page: Any, *seqs: int) -> None:
        _, done = self.asked.pop(0)
        stamps = [pack_stamp(0, seq, EPOCH, seq, seq - 1, TIME_US) for seq in seqs]
        done(page, pack_records((b"a", stamp, b"1") for stamp in stamps))


class Heard:
    """What came back, in order."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, Any, list[int]]] = []

    def by(self, name: str) -> Callable[[Any, Any], None]:
        return lambda page, events: self.answers.append((name, page, [event.seq for event in events]))


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def answered() -> Event:
    return Event()


@pytest.fixture
def log(link: FakeLink, answered: Event) -> BrokerLog:
    return BrokerLog(link, answered.set, 100)  # type: ignore[arg-type]  # all of a link that it uses


def page(through: int) -> control.ReplayPage:
    return control.ReplayPage(at=head(through), through=through)


def test_one_read_answers_all_who_ask_for_the_same(log: BrokerLog, link: FakeLink, heard: Heard) -> None:
    log.replay(["a"], 3, 5, heard.by("one"))
    log.replay(["a"], 3, 5, heard.by("two"))
    assert link.count == 1
    link.answer(page(5), 4, 5)
    assert heard.answers == [("one", page(5), [4, 5]), ("two", page(5), [4, 5])]


def test_other_questions_are_reads_of_their_own(log: BrokerLog, link: FakeLink, heard: Heard) -> None:
    log.replay(["a"], 3, 5, heard.by("one"))
    log.replay(["b"], 3, 5, heard.by("two"))
    log.last(["a"], 3, 5, heard.by("three"))
    log.newest(["a"], 3, 5, heard.by("four"))
    assert link.count == 4


def test_an_error_is_told_only_when_there_is_some_hope(
    log: BrokerLog, link: FakeLink, heard: Heard, answered: Event
) -> None:
    log.last(["a"], 3, 5, heard.by("one"))
    link.answer(ControlError("timeout", "m"))
    assert heard.answers == []
    with gevent.Timeout(DEADLINE_S):
        answered.wait()
    ((name, told, events),) = heard.answers
    assert (name, told.code, events) == ("one", "timeout", [])
