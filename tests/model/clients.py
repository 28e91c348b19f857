"""The model of browsers: they come and go, subscribe, read little, and come back to any gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import gateway.hub
from broker.log import Durability
from broker.retention import Keep
from tests.model.client import Client
from tests.model.gateway import Socket
from tests.model.machine import PATTERNS, Machine, place
from tests.model.world import World


@pytest.fixture(autouse=True, scope="module")
def give_way_after_each_send() -> object:
    """So that others move in the middle of every flush."""
    before, gateway.hub.SENDS_PER_TURN = gateway.hub.SENDS_PER_TURN, 1
    yield
    gateway.hub.SENDS_PER_TURN = before


class ClientsMachine(Machine):
    off: int | None = None  # the rule of the design that is switched off
    first = (("**",), ("b/*",))  # what the first clients subscribe to
    delivery: ClassVar[Any] = "all"  # and how
    breaks_off = True  # who is connected, too
    forgets = True  # the log whole topics

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[Client] = []
        self.sockets: dict[int, Socket | None] = {}

    @property
    def readers(self) -> Sequence[Client]:
        return self.clients

    @initialize(
        durability=st.sampled_from(["process", "memory"]),
        keep=st.sampled_from([Keep(), Keep(events=2), Keep(events=2, forget_s=30.0)]),
        ring_bytes=st.sampled_from([1_200, 3_000, 100_000]),
        reverse=st.booleans(),
        shuffle=place,
    )
    def begin(self, durability: Durability, keep: Keep, ring_bytes: int, reverse: bool, shuffle: int) -> None:
        if not self.forgets:
            keep = replace(keep, forget_s=Keep().forget_s)
        self.world = World(
            self.folder, durability=durability, off=self.off, keep=keep, ring_bytes=ring_bytes,
            reverse_filters=reverse, shuffle=shuffle,
        )  # fmt: skip
        for number, patterns in enumerate(self.first):
            self.clients.append(Client(is_strict=self.off is None, history_moves=self.off == 6))
            self.sockets[number] = self.world.connect(self.clients[number], number)
            for pattern in patterns:
                self.clients[number].subscribe(pattern, delivery=self.delivery)
        self.world._run_dry()

    # Gateways

    @precondition(lambda self: "drop" in self.faults)
    @rule(gateway=place, which=place)
    def lose_upstream_answer(self, gateway: int, which: int) -> None:
        """A request of the upstream, which asks again, is lost. The log's are asked again by their link."""
        self.world.gateways[gateway % 2].lose_request(which)

    @precondition(lambda self: "break" in self.faults)
    @rule(gateway=place)
    def replace_gateway(self, gateway: int) -> None:
        self.world.replace_gateway(gateway % 2)

    # Clients

    @precondition(lambda self: len(self.clients) < 4)
    @rule(gateway=place, pattern=st.sampled_from(PATTERNS), history=st.sampled_from([0, 2]))
    def join(self, gateway: int, pattern: str, history: int) -> None:
        client = Client(is_strict=self.off is None, history_moves=self.off == 6)
        self.clients.append(client)
        self.sockets[len(self.clients) - 1] = self.world.connect(client, gateway)
        client.subscribe(pattern, history)

    @rule(client=place, pattern=st.sampled_from(PATTERNS), history=st.sampled_from([0, 2]))
    def subscribe(self, client: int, pattern: str, history: int) -> None:
        chosen = self.clients[client % len(self.clients)]
        if pattern not in chosen.subscriptions:
            chosen.subscribe(pattern, history)

    @rule(client=place, pattern=st.sampled_from(PATTERNS))
    def unsubscribe(self, client: int, pattern: str) -> None:
        self.clients[client % len(self.clients)].unsubscribe(pattern)

    @rule(client=place)
    def talk(self, client: int) -> None:
        if (socket := self._socket(client)) is not None:
            self.world.talk(socket)

    @rule(client=place, room=st.sampled_from([0, 50, 300, 700, 1 << 30]))
    def read(self, client: int, room: int) -> None:
        if (socket := self._socket(client)) is not None:
            socket.read(room)

    @rule(client=place, gateway=place, room=st.sampled_from([200, 400, 1 << 30]), talks=st.booleans())
    def resume(self, client: int, gateway: int, room: int, talks: bool) -> None:
        """The connection breaks; the client comes back, to any gateway."""
        client %= len(self.clients)
        if (socket := self._socket(client)) is not None:
            if not self.breaks_off:
                return
            self.world.cut_off(socket)
        self.clients[client].reconnect()
        socket = self.sockets[client] = self.world.connect(self.clients[client], gateway, room)
        if talks:
            self.world.talk(socket)

    def _socket(self, client: int) -> Socket | None:
        socket = self.sockets[client % len(self.clients)]
        return socket if socket and socket.is_open else None

    def settle(self) -> None:
        """Whoever is away comes back first."""
        for number, client in enumerate(self.clients):
            if self._socket(number) is None:
                client.reconnect()
                self.sockets[number] = self.world.connect(client, number)
        super().settle()
