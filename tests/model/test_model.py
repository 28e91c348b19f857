"""Every client has each retained event once and in order, or was told a gap that covers what it lacks.

A hypothesis state machine drives the world of `tests/model/world.py` with drops, delays, breaks and
restarts at every arrow, and at the end lets it come to rest and compares. A failing run prints the
moves that lead to the loss, as few as it can find.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import gateway.hub
from broker.log import Durability
from broker.retention import Keep
from tests.model.client import Client
from tests.model.world import Socket, World

TOPICS = ["a", "b/x", "b/y", "q"]
PATTERNS = ["a", "b/*", "b/**", "**", "b/x", "q"]
place = st.integers(0, 7)
ALL_FAULTS = frozenset({"drop", "die", "power", "age", "break"})


@pytest.fixture(autouse=True, scope="module")
def give_way_after_each_send() -> object:
    """So that others move in the middle of every flush."""
    before, gateway.hub.SENDS_PER_TURN = gateway.hub.SENDS_PER_TURN, 1
    yield
    gateway.hub.SENDS_PER_TURN = before


class Loss(AssertionError):
    """A client lacks something and was not told."""


class Machine(RuleBasedStateMachine):
    """Moves are small, so that every interleaving can come up; `busy` does several at once."""

    off: int | None = None  # the rule of the design that is switched off
    faults = ALL_FAULTS
    counts_drops = True
    first = (("**",), ("b/*",))  # what the first clients subscribe to
    delivery: ClassVar[Any] = "all"  # and how

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.world: World
        self.clients: list[Client] = []
        self.sockets: dict[int, Socket | None] = {}

    @initialize(
        durability=st.sampled_from(["process", "memory"]),
        keep=st.sampled_from([Keep(), Keep(events=2), Keep(events=2, forget_s=30.0)]),
        ring_bytes=st.sampled_from([1_200, 3_000, 100_000]),
        reverse=st.booleans(),
        shuffle=place,
    )
    def begin(self, durability: Durability, keep: Keep, ring_bytes: int, reverse: bool, shuffle: int) -> None:
        self.world = World(
            self.folder, durability=durability, off=self.off, keep=keep, ring_bytes=ring_bytes,
            reverse_filters=reverse, shuffle=shuffle,
        )  # fmt: skip
        for place, patterns in enumerate(self.first):
            self.clients.append(Client(is_strict=self.off is None, history_moves=self.off == 6))
            self.sockets[place] = self.world.connect(self.clients[place], place)
            for pattern in patterns:
                self.clients[place].subscribe(pattern, delivery=self.delivery)
        self.world._run_dry()

    # Producers and broker

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4))
    def publish(self, topics: list[str]) -> None:
        self.world.publish(topics)

    @precondition(lambda self: "drop" in self.faults)
    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=2), gateway=st.integers(0, 1))
    def publish_dropped(self, topics: list[str], gateway: int) -> None:
        self.world.publish(topics, drop_at=gateway, is_counted=self.counts_drops)

    @precondition(lambda self: "die" in self.faults)
    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=2))
    def publish_and_die(self, topics: list[str]) -> None:
        self.world.publish(topics, is_killed=True)

    @rule(lost=st.sampled_from([None, None, 0, 1]))
    def beat(self, lost: int | None) -> None:
        self.world.beat(drop_at=lost)

    @precondition(lambda self: "die" in self.faults)
    @rule()
    def kill_broker(self) -> None:
        self.world.kill_broker()

    @precondition(lambda self: "power" in self.faults and self.world.broker.durability == "process")
    @rule()
    def reach_the_disk(self) -> None:
        self.world.saved = self.world.broker.save()

    @precondition(lambda self: self.world.saved is not None)
    @rule()
    def lose_power(self) -> None:
        self.world.lose_power()

    @precondition(lambda self: "age" in self.faults)
    @rule(seconds=st.sampled_from([11.0, 70.0]))
    def age(self, seconds: float) -> None:
        self.world.now_s += seconds
        self.world.broker.maintain(self.world.now_s)

    # What is on its way

    @rule(gateway=place, times=st.integers(1, 5))
    def deliver(self, gateway: int, times: int) -> None:
        for _ in range(times):
            self.world.gateways[gateway % 2].deliver()

    @rule(gateway=place, times=st.integers(1, 3))
    def carry_command(self, gateway: int, times: int) -> None:
        for _ in range(times):
            self.world.gateways[gateway % 2].carry_command()

    @rule(gateway=place, which=place)
    def carry_request(self, gateway: int, which: int) -> None:
        self.world.gateways[gateway % 2].carry_request(which)

    @rule(gateway=place, which=place)
    def carry_answer(self, gateway: int, which: int) -> None:
        self.world.gateways[gateway % 2].carry_answer(which)

    @precondition(lambda self: "drop" in self.faults)
    @rule(gateway=place, which=place)
    def lose_upstream_answer(self, gateway: int, which: int) -> None:
        """A request of the upstream, which asks again, is lost. The log's are asked again by their link."""
        self.world.gateways[gateway % 2].lose_request(which)

    @precondition(lambda self: "break" in self.faults)
    @rule(gateway=place)
    def break_feed(self, gateway: int) -> None:
        self.world.gateways[gateway % 2].disconnect()
        self.world.gateways[gateway % 2].connect()

    @rule(gateway=place, times=st.integers(1, 4))
    def turn(self, gateway: int, times: int) -> None:
        for _ in range(times):
            self.world.gateways[gateway % 2].turn()

    @rule(gateway=place)
    def busy(self, gateway: int) -> None:
        """All that is on its way to one gateway arrives."""
        each = self.world.gateways[gateway % 2]
        for _ in range(20):
            each.carry_command()
            each.deliver()
            each.carry_request(0)
            each.carry_answer(0)
            each.turn()

    @rule(seconds=st.sampled_from([0.5, 1.1, 4.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

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
            self.world.cut_off(socket)
        self.clients[client].reconnect()
        socket = self.sockets[client] = self.world.connect(self.clients[client], gateway, room)
        if talks:
            self.world.talk(socket)

    def _socket(self, client: int) -> Socket | None:
        socket = self.sockets[client % len(self.clients)]
        return socket if socket and socket.is_open else None

    def teardown(self) -> None:
        try:
            if self.clients:
                for place, client in enumerate(self.clients):
                    if self._socket(place) is None:
                        client.reconnect()
                        self.sockets[place] = self.world.connect(client, place)
                self.world.settle()
                if lost := [loss for client in self.clients for loss in self.world.losses(client)]:
                    raise Loss("; ".join(lost))
                if wrong := [each for client in self.clients for each in self.world.miscounts(client)]:
                    raise Loss("; ".join(wrong))
        finally:
            if hasattr(self, "world"):
                self.world.close()
            shutil.rmtree(self.folder)


Machine.TestCase.settings = settings(
    max_examples=int(os.environ.get("PENSTOCK_MODEL_RUNS", "200")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestModel = Machine.TestCase


class UncountedMachine(Machine):
    """The counter in the stamps has gone round: holes show by `prev` and tails alone, later. Nobody breaks
    off before that: who resumes from beyond a hole that is not found yet is not told.
    """

    faults = frozenset({"drop", "age"})
    counts_drops = False


UncountedMachine.TestCase.settings = settings(Machine.TestCase.settings, max_examples=50)
TestUncounted = UncountedMachine.TestCase


# Where the search takes minutes from most beginnings, one from which it takes seconds.
BEGINNINGS = {3: 3, 6: 3}


@pytest.mark.parametrize(
    ("off", "faults"),
    [
        # A quiet topic's last event is dropped, and no successor betrays it.
        pytest.param(1, frozenset({"drop"}), id="1 beat and tails"),
        # An event comes between the replay that was asked and the subscription's arrival.
        pytest.param(2, frozenset(), id="2 barrier"),
        # The feed has a hole where it broke.
        pytest.param(3, frozenset({"break", "die"}), id="3 a new barrier after each reconnect"),
        # The hub runs on past a hole, and what fills it comes too late.
        pytest.param(4, frozenset({"drop"}), id="4 one upstream that holds"),
        # Another topic's event hides the hole.
        pytest.param(5, frozenset({"drop"}), id="5 the last seq of each topic"),
        # The past of a new pattern moves the position of the old.
        pytest.param(6, frozenset(), id="6 a subscribe is one cut"),
        # A broker that starts again at 1 is taken for a repetition.
        pytest.param(8, frozenset({"die"}), id="8 an epoch in every position"),
        # Seqs that were seen are given out again.
        pytest.param(9, ALL_FAULTS, id="9 a new epoch after lost power"),
        # What was forwarded is not in the log, and its seq is used twice.
        pytest.param(10, frozenset({"die"}), id="10 commit first, reserved seqs"),
        # A topic that was forgotten looks as if it had never been.
        pytest.param(11, frozenset({"age"}), id="11 forgotten"),
        # The ring is asked about a prefix that it did not follow.
        pytest.param(12, frozenset(), id="12 what the ring covers"),
    ],
)
def test_the_model_finds_the_loss_with_a_rule_switched_off(off: int, faults: frozenset[str]) -> None:
    """Or a model that never fails would prove nothing. Only the faults that matter, to find it soon."""
    several = (("b/*", "a"), ("a", "b/**"))  # patterns of one client, for one to hide the other's loss
    machine = type(f"Without{off}", (Machine,), {"off": off, "faults": faults, "first": several})
    if off in BEGINNINGS:
        seed(BEGINNINGS[off])(machine)
    search = settings(
        max_examples=5_000,
        stateful_step_count=60,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(Loss):
        run_state_machine_as_test(machine, settings=search)
