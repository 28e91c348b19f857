"""A Socket.IO client that does what official ones do, at a played hub, over polls that are answered at once.

gateway = Played(Flow())
browser = gateway.browser()
browser.ask("subscribe", "a")
browser.break_off()
browser.connect()       # with its token and offset
"""

from __future__ import annotations

import json
from typing import Any

from broker.errors import ControlTimeout
from gateway.hub import Hub
from gateway.socketio.clients import Clients
from gateway.socketio.engine import Over
from gateway.socketio.engine_client import EngineClient
from gateway.socketio.feed_client import FeedClient
from gateway.socketio.feeds import Feeds
from gateway.socketio.kept_sets import Looked
from gateway.socketio.limits import Limits
from gateway.socketio.urls import maybe_opening
from gateway.wheel import Wheel
from tests.support.flow import LIMITS, Flow

WHEEL = Wheel(stall_s=20, ping_interval_s=25, ping_timeout_s=20, frame_s=10, messages_per_s=1_000)
SEPARATOR = "\x1e"


class PlayedKeeping:
    """What the broker keeps for gateways. `later` as of a flow."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.values: dict[str, str] = {}
        self.asked: list[str] = []
        self.is_silent = False  # each answer is an error

    def keep(self, name: str, value: str, done: Looked) -> None:
        self._answer("keep", name, done, value)

    def look(self, name: str, done: Looked) -> None:
        self._answer("look", name, done, None)

    def _answer(self, what: str, name: str, done: Looked, value: str | None) -> None:
        self.asked.append(f"{what} {name}")

        def answer() -> None:
            if self.is_silent:
                done(ControlTimeout("the broker", 1.0))
                return
            if value is not None:
                self.values.setdefault(name, value)
            done(self.values.get(name))

        self._flow.later.append(answer)


class Played:
    """One gateway's clients at the hub of a flow."""

    def __init__(self, flow: Flow, keeping: PlayedKeeping | None = None) -> None:
        self.flow = flow
        self.keeping = keeping or PlayedKeeping(flow)
        self.told: list[str] = []  # to other gateways
        self.feeds = Feeds(self.keeping, self.told.append)
        self.clients = Clients(
            flow.hub,
            WHEEL,
            self._make,
            gateway_id="00",
            limits=Limits(25, 20, 1 << 20, 1_000_000),
            later=flow.later.append,
            forgotten=self._forget,
        )

    def browser(self, query: str = "", *, connects: bool = True) -> Browser:
        """One that has connected, and has read all there is."""
        browser = Browser(self, query)
        if connects:
            browser.connect()
        return browser

    def _make(self, clients: Clients, sid: str, fd: int | None, query: str) -> FeedClient:
        form = clients.form_of(self.flow.hub.interest(frozenset()), Over.POLLING)
        opening = maybe_opening(query, LIMITS["history"], LIMITS["subscriptions"])
        return FeedClient(clients, self.feeds, form, sid, fd, opening)

    def _forget(self, client: EngineClient) -> None:
        assert isinstance(client, FeedClient)
        self.feeds.forget(client)


class _Poll:
    """A GET of one connection."""

    def __init__(self, browser: Browser, client: FeedClient) -> None:
        self._browser, self._client = browser, client
        self.is_being_taken = False

    def answer(self, body: bytes) -> None:
        self._browser._answered(self._client, body.decode())

    def look(self) -> None:
        pass  # no answer of it waits


class Browser:
    """What a page has of its client: whether it is recovered, and what it heard."""

    def __init__(self, at: Played, query: str = "") -> None:
        self.at, self._query = at, query
        self.pid: str | None = None
        self.offset: str | None = None
        self.recovered: list[bool] = []  # of each connect
        self.events: list[dict[str, Any]] = []  # those that have no mark of a past
        self.past: list[dict[str, Any]] = []
        self.others: list[tuple[str, Any]] = []  # gaps, notices and errors
        self.acks: dict[int, Any] = {}
        self.is_closed = True
        self.client: FeedClient | None = None
        self.is_reading = True  # it polls again when it is answered
        self._has_polled = False
        self.words: list[str] = []  # packets as they came
        self._event: list[Any] = []  # that waits for its attachments
        self._id = 0

    @property
    def hub(self) -> Hub:
        return self.at.flow.hub

    # What it does

    def connect(self, at: Played | None = None, *, rests: bool = True) -> None:
        """Anew or again, here or elsewhere."""
        self.at = at or self.at
        self.is_closed = False
        client = self.at.clients.open(None, self._query)
        assert isinstance(client, FeedClient)
        self.client = client
        self._poll(client)
        client.open()
        auth = {"pid": self.pid, "offset": self.offset} if self.pid else {}
        client.take_payload("40" + json.dumps({name: value for name, value in auth.items() if value}))
        if rests:
            self.at.flow.rest()

    def ask(self, name: str, *args: Any, rests: bool = True) -> Any:
        """Its answer, None if that has not come."""
        self._id += 1
        self.emit(name, *args, id=self._id)
        if rests:
            self.at.flow.rest()
        return self.acks.get(self._id)

    def emit(self, name: str, *args: Any, id: int | str = "") -> None:
        assert self.client is not None
        self.client.take_payload(f"42{id}" + json.dumps([name, *args]))

    def break_off(self, *, is_known: bool = True) -> None:
        """Whatever was on its way to it is lost. `is_known`: to the gateway."""
        client, self.client = self.client, None
        self.is_closed = True
        if is_known and client is not None:
            client.lose_poll()

    # What it hears

    @property
    def seqs(self) -> list[int]:
        return [each["seq"] for each in self.events]

    @property
    def topics(self) -> list[str]:
        return [f"{each['topic']} {each['seq']}" for each in self.events]

    def _answered(self, client: FeedClient, body: str) -> None:
        if client is not self.client:
            return  # it is lost
        for packet in body.split(SEPARATOR):
            self.words.append(packet)
            self._take(packet)
        self._has_polled = False
        if self.is_reading:
            self.at.flow.later.append(lambda: self._poll_again(client))

    def read(self) -> None:
        """On, if it did not."""
        self.is_reading = True
        if self.client is not None and not self._has_polled:
            self._poll_again(self.client)

    def _poll_again(self, client: FeedClient) -> None:
        if client is not self.client or self._has_polled:
            return
        if client.engine.is_closed:
            self.is_closed = True
        else:
            self._poll(client)

    def _poll(self, client: FeedClient) -> None:
        self._has_polled = True
        client.poll(_Poll(self, client))

    def _take(self, packet: str) -> None:
        if packet.startswith("40"):
            told = json.loads(packet[2:])
            pid = told.get("pid")
            self.recovered.append(pid is not None and pid == self.pid)
            self.pid = pid
        elif packet.startswith("42"):
            self._hear(json.loads(packet[2:]))
        elif packet.startswith("451-"):
            self._event = json.loads(packet[4:])
        elif packet.startswith("b"):
            self._event[1]["data"] = packet[1:]
            self._hear(self._event)
        elif packet.startswith("43"):
            id, _, rest = packet[2:].partition("[")
            self.acks[int(id)] = json.loads("[" + rest)[0]
        elif packet.startswith("1"):
            self.is_closed = True
        else:
            assert packet[0] in "026", packet

    def _hear(self, args: list[Any]) -> None:
        name, told = args[:2]
        if name != "event":
            if name != "at":
                self.others.append((name, told))
        elif told.get("history"):
            self.past.append(told)
        else:
            self.events.append(told)
        if self.pid and isinstance(args[-1], str):
            self.offset = args[-1]
