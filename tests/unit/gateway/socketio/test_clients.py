"""Clients that poll, between a played upstream and polls that the test reads."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway.socketio.clients import Clients
from gateway.socketio.engine import Over
from gateway.socketio.engine_client import PACKETS_MAX, EngineClient
from gateway.socketio.errors import BadPacket
from gateway.socketio.feed_client import FeedClient
from gateway.socketio.feeds import Feeds
from gateway.socketio.kept_sets import Looked
from gateway.socketio.limits import Limits
from gateway.wheel import Wheel
from tests.support.flow import Flow

LIMITS = Limits(ping_interval_s=25, ping_timeout_s=20, message_max_bytes=65_536, messages_per_s=1_000)


class Kept:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Looked]] = []

    def keep(self, name: str, value: str, done: Looked) -> None:
        self.asked.append((value, done))

    def look(self, name: str, done: Looked) -> None:
        raise AssertionError("nobody comes back here")

    def answer(self) -> None:
        asked, self.asked = self.asked, []
        for value, done in asked:
            done(value)


class Poll:
    def __init__(self) -> None:
        self.body: bytes | None = None
        self.is_being_taken = False

    def answer(self, body: bytes) -> None:
        self.body = body

    def look(self) -> None:
        """It is here."""


class Stage:
    """One gateway's clients; the clock is the test's."""

    def __init__(self, connect_s: float = 45) -> None:
        self.flow, self.kept = Flow(), Kept()
        self.feeds = Feeds(self.kept, lambda pid: None)
        self.forgotten: list[EngineClient] = []
        self.clients = Clients(
            self.flow.hub,
            Wheel(),
            self._make,
            gateway_id="00",
            limits=LIMITS._replace(connect_s=connect_s),
            later=self.flow.later.append,
            forgotten=self.forgotten.append,
        )
        self.now_s = 1_000.0
        self.clients.now_s = lambda: self.now_s

    def _make(self, clients: Clients, sid: str, fd: int | None, query: str) -> FeedClient:
        form = clients.form_of(self.flow.hub.interest(frozenset()), Over.POLLING)
        return FeedClient(clients, self.feeds, form, sid, fd, None)

    def open(self) -> EngineClient:
        """A session, of which the first packet has been polled."""
        client = self.clients.open(None, "")
        poll = Poll()
        client.poll(poll)
        client.open()
        self.flow.rest()
        assert poll.body is not None and poll.body.startswith(b"0{")
        return client

    def poll(self, client: EngineClient) -> list[str]:
        """What there is to say; the poll waits where that is nothing."""
        poll = Poll()
        client.poll(poll)
        self.flow.rest()
        return [] if poll.body is None else poll.body.decode().split("\x1e")


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    for client in list(made.clients._by_sid.values()):
        client.end()


def test_what_is_asked_before_the_greeting_waits_for_it(stage: Stage) -> None:
    client = stage.open()
    client.take_payload('40\x1e421["subscribe","a"]\x1e422["unsubscribe","a"]')
    stage.flow.rest()
    assert not client.has_ended
    stage.kept.answer()
    stage.flow.rest()
    heard: list[str] = []
    while len(heard) < 3:
        heard += [packet[:3] for packet in stage.poll(client) if packet[:2] in ("40", "43")]
    assert heard == ["40{", "431", "432"]


@pytest.mark.parametrize("packet", ["40/none", "3"])
def test_what_is_told_between_two_polls_is_kept(stage: Stage, packet: str) -> None:
    client = stage.open()
    client.ping()
    client.take_payload(packet)
    assert stage.poll(client)[0] == "2"


def test_it_is_full_of_what_waits_to_be_polled(stage: Stage) -> None:
    client = stage.open()
    for _ in range(64):
        assert not client.is_full
        client.take_payload("40/none")
    client.take_payload("40/none")
    assert client.is_full
    assert len(stage.poll(client)) == 65
    assert not client.is_full


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("\x1e".join(["3"] * (PACKETS_MAX + 1)), id="in one payload"),
        pytest.param("\x1e".join(["3"] * 600), id="in a second"),
    ],
)
def test_too_many_messages_end_a_session(stage: Stage, body: str) -> None:
    client = stage.open()
    client.take_payload("\x1e".join(["3"] * 600))
    with pytest.raises(BadPacket, match=r"too many|more than"):
        client.take_payload(body)
    assert client.has_ended and stage.forgotten == [client]
    assert stage.clients.maybe_client(client.sid) is None


def test_who_answers_no_ping_is_gone_when_it_is_looked_for() -> None:
    stage = Stage(connect_s=1_000)
    silent, answering = stage.open(), stage.open()
    stage.now_s += 25
    stage.clients.look()
    assert stage.poll(answering) == ["2"]
    answering.take_payload("3")
    stage.now_s += 20
    assert stage.clients.maybe_client(silent.sid) is None
    assert stage.clients.maybe_client(answering.sid) is answering
    assert (silent.has_ended, answering.has_ended, len(stage.clients)) == (True, False, 1)


def test_a_pong_that_was_held_up_is_heard_while_the_session_is_there() -> None:
    stage = Stage(connect_s=1_000)
    client = stage.open()
    stage.now_s += 25
    stage.clients.look()
    assert stage.poll(client) == ["2"]
    stage.now_s += 20.1
    late = stage.clients.maybe_late_client(client.sid)
    assert late is client
    late.take_payload("3")
    assert stage.clients.maybe_client(client.sid) is client


@pytest.mark.parametrize("is_there", [True, False], ids=["a poll waits", "none does"])
def test_a_pong_without_a_poll_that_could_bring_the_ping_is_none(is_there: bool) -> None:
    stage = Stage(connect_s=1_000)
    client = stage.open()
    if is_there:
        assert stage.poll(client) == []
    stage.now_s += 25
    stage.clients.look()
    client.take_payload("3")
    stage.now_s += 20
    assert (stage.clients.maybe_client(client.sid) is not None) == is_there


def test_who_takes_its_answer_slowly_has_the_time_for_its_pong_anew() -> None:
    stage = Stage(connect_s=1_000)
    client, poll = stage.open(), Poll()
    client.poll(poll)
    client.take_payload("40/none")
    stage.flow.rest()
    assert poll.body is not None
    poll.is_being_taken = True
    stage.now_s += 25
    stage.clients.look()
    stage.now_s += 20
    assert stage.clients.maybe_client(client.sid) is client
    poll.is_being_taken = False
    assert stage.poll(client) == ["2"]
    client.take_payload("3")
    stage.now_s += 20
    assert stage.clients.maybe_client(client.sid) is client


def test_a_message_has_so_long_for_its_attachments() -> None:
    stage = Stage(connect_s=1_000)
    late, whole = stage.open(), stage.open()
    for client in (late, whole):
        client.take_payload("40")
    stage.kept.answer()
    stage.flow.rest()
    for client in (late, whole):
        client.take_payload('452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        stage.poll(client)
    stage.now_s += 20
    for client in (late, whole):
        client.take_payload("bAQ==")
    whole.take_payload("bAQ==")
    stage.now_s += 10
    stage.clients.look()
    assert (late.has_ended, whole.has_ended) == (True, False)


def test_sessions_that_poll_are_counted_until_they_end(stage: Stage) -> None:
    pollers = stage.clients.pollers
    opened = [stage.clients.open(None, "", address="a") for _ in range(LIMITS.polling_per_address)]
    assert pollers.maybe_refusal("b") is None
    refusal = pollers.maybe_refusal("a")
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.headers) == (429, "too_many_sessions", {"Retry-After": "5"})
    opened[0].end()
    opened[0].end()
    assert pollers.maybe_refusal("a") is None


def test_who_enters_no_namespace_is_gone(stage: Stage) -> None:
    outside, inside = stage.open(), stage.open()
    inside.take_payload("40")
    stage.kept.answer()
    stage.flow.rest()
    for _ in range(3):
        stage.now_s += 15
        for client in (outside, inside):
            if stage.clients.maybe_client(client.sid):
                if not client.is_polled:
                    stage.poll(client)
                client.take_payload("3")
    stage.clients.look()
    assert (outside.has_ended, inside.has_ended) == (True, False)


def test_a_poll_that_is_cut_off_ends_the_session(stage: Stage) -> None:
    client = stage.open()
    assert stage.poll(client) == []
    client.lose_poll()
    assert client.has_ended and stage.flow.hub.connections == set()


def test_events_are_polled_from_where_they_were_left(stage: Stage) -> None:
    client = stage.open()
    client.take_payload('40\x1e421["subscribe","a"]')
    stage.kept.answer()
    stage.flow.rest()
    while not any(packet.startswith("431") for packet in stage.poll(client)):
        pass
    for _ in range(3):
        stage.flow.publish("a", "a")
        stage.flow.rest()
    heard: list[int] = []

    def hear(packets: list[str]) -> None:
        heard.extend(json.loads(each[2:])[1]["seq"] for each in packets if each.startswith('42["event"'))

    while len(heard) < 6:
        hear(stage.poll(client))
    assert heard == [1, 2, 3, 4, 5, 6]
