"""The same for those who want less than all: each has the newest of every topic, or was told of a hole."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from broker.retention import Keep
from broker.wire import Position
from gateway.cohort import Cohort
from gateway.event import Item
from tests.model.clients import ClientsMachine, give_way_after_each_send
from tests.model.machine import PATTERNS, Loss, place, runs, search

__all__ = ["TestConflation", "give_way_after_each_send"]

DELIVERIES: list[Any] = ["latest", {"hz": 1}, {"hz": 5}, "all"]


class ConflationMachine(ClientsMachine):
    """Clients subscribe in all ways, several on one connection."""

    delivery: ClassVar[Any] = {"hz": 1}

    @rule(client=place, pattern=st.sampled_from(PATTERNS), history=st.sampled_from([0, 2]),
          delivery=st.sampled_from(DELIVERIES))  # fmt: skip
    def subscribe(self, client: int, pattern: str, history: int, delivery: Any = "latest") -> None:
        chosen = self.clients[client % len(self.clients)]
        if pattern not in chosen.subscriptions:
            chosen.subscribe(pattern, history, delivery)


ConflationMachine.TestCase.settings = runs(200)
TestConflation = ConflationMachine.TestCase


def test_the_model_finds_the_loss_if_the_position_passes_what_is_kept_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a model that never fails would prove nothing."""

    def settled(self: Cohort, at: Position, unsent: list[Item], beyond: int = 0) -> Position:
        return at

    monkeypatch.setattr(Cohort, "settled", settled)
    machine = type("WithoutSettling", (ConflationMachine,), {"faults": frozenset()})  # to find it soon
    with pytest.raises(Loss):
        search(machine)


def test_what_a_full_socket_was_owed_of_a_log_that_is_gone_is_told() -> None:
    """Found by chance, once in some thousand runs."""
    machine = ConflationMachine()
    keep = Keep(events=1_000)
    machine.begin(durability="process", keep=keep, ring_bytes=1_200, reverse=False, shuffle=0)
    machine.publish(topics=["a", "a", "a"])
    machine.reach_the_disk()
    machine.read(client=0, room=0)
    machine.busy(node=0)
    machine.lose_power()
    machine.teardown()


def test_what_one_rate_was_sent_is_not_sent_again_for_what_another_is_owed() -> None:
    """Found by chance as well."""
    machine = ConflationMachine()
    machine.begin(
        durability="process", keep=Keep(events=1_000), ring_bytes=1_200, reverse=False, shuffle=0
    )
    machine.subscribe(client=0, pattern="a", history=0, delivery="latest")
    machine.resume(client=0, gateway=1, room=200, talks=True)
    machine.busy(node=1)
    machine.subscribe(client=0, pattern="b/x", history=0, delivery="latest")
    machine.publish(topics=["b/x", "b/x"])
    machine.publish(topics=["a"])
    machine.read(client=0, room=50)
    machine.teardown()


def test_who_had_so_much_of_a_log_that_is_gone_had_nothing_of_the_next() -> None:
    """Found by a search of some thousand runs, too."""
    machine = ConflationMachine()
    machine.begin(durability="memory", keep=Keep(events=1_000), ring_bytes=1_200, reverse=False, shuffle=0)
    machine.publish(topics=["a"])
    machine.resume(client=0, gateway=0, room=200, talks=False)
    for _ in range(16):
        machine.break_feed(node=0)
    machine.busy(node=0)
    machine.publish_dropped(node=0, topics=["a"])
    machine.break_feed(node=0)
    machine.busy(node=0)
    machine.publish_and_die(topics=["a"])
    machine.publish_dropped(node=0, topics=["a"])
    machine.teardown()
