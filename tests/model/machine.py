"""What every model does to the world of `tests/model/world.py`, and how it ends.

Moves of producers, of the broker and of what is on its way are here; each model adds those of its readers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.model.client import Client
from tests.model.node import Node
from tests.model.world import World

TOPICS = ["a", "b/x", "b/y", "q"]
PATTERNS = ["a", "b/*", "b/**", "**", "b/x", "q"]
place = st.integers(0, 7)
ALL_FAULTS = frozenset({"drop", "die", "power", "age", "break"})


class Loss(AssertionError):
    """A reader lacks something and was not told."""


class Machine(RuleBasedStateMachine):
    """Moves are small, so that every interleaving can come up; `busy` does several at once."""

    faults = ALL_FAULTS
    counts_drops = True

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.world: World

    # What each model adds

    @property
    @abstractmethod
    def readers(self) -> Sequence[Client]:
        """Who is to have everything; nobody before the world began."""

    def settle(self) -> None:
        """No more faults: all that is on its way arrives."""
        self.world.settle()

    def wrongs(self) -> list[str]:
        """What the readers lack and were not told of, or were told wrongly."""
        checks = (self.world.losses, self.world.miscounts)
        return [wrong for reader in self.readers for check in checks for wrong in check(reader)]

    # Producers and broker

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4))
    def publish(self, topics: list[str]) -> None:
        self.world.publish(topics)

    @precondition(lambda self: "drop" in self.faults)
    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=2), node=st.integers(0, 1))
    def publish_dropped(self, topics: list[str], node: int) -> None:
        self.world.publish(topics, drop_at=node, is_counted=self.counts_drops)

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

    def node(self, number: int) -> Node:
        """One of the two that have a feed."""
        return self.world.nodes[number % 2]

    @rule(node=place, times=st.integers(1, 5))
    def deliver(self, node: int, times: int) -> None:
        for _ in range(times):
            self.node(node).deliver()

    @rule(node=place, times=st.integers(1, 3))
    def carry_command(self, node: int, times: int) -> None:
        for _ in range(times):
            self.node(node).carry_command()

    @rule(node=place, which=place)
    def carry_request(self, node: int, which: int) -> None:
        self.node(node).carry_request(which)

    @rule(node=place, which=place)
    def carry_answer(self, node: int, which: int) -> None:
        self.node(node).carry_answer(which)

    @precondition(lambda self: "break" in self.faults)
    @rule(node=place)
    def break_feed(self, node: int) -> None:
        self.node(node).disconnect()
        self.node(node).connect()

    @rule(node=place, times=st.integers(1, 4))
    def turn(self, node: int, times: int) -> None:
        for _ in range(times):
            self.node(node).turn()

    @rule(node=place)
    def busy(self, node: int) -> None:
        """All that is on its way to one of them arrives."""
        each = self.node(node)
        for _ in range(20):
            each.carry_command()
            each.deliver()
            each.carry_request(0)
            each.carry_answer(0)
            each.turn()

    @rule(seconds=st.sampled_from([0.5, 1.1, 4.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    def teardown(self) -> None:
        try:
            if self.readers:
                self.settle()
                if wrongs := self.wrongs():
                    raise Loss("; ".join(wrongs))
        finally:
            if hasattr(self, "world"):
                self.world.close()
            shutil.rmtree(self.folder)


MOVES = settings(stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))


def runs(usual: int) -> settings:
    """So many of them, if nobody asks for another number (see tests/conftest.py)."""
    return settings(MOVES, max_examples=int(os.environ.get("PENSTOCK_MODEL_RUNS", usual)))


def search(machine: type[Machine]) -> None:
    """Runs it until it fails, through the same moves each time (or, with hypothesis.seed, through others).

    What fails is not made shorter: that takes long, and here it is meant to.
    """
    run_state_machine_as_test(
        machine,
        settings=settings(
            MOVES,
            max_examples=5_000,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            print_blob=False,
            report_multiple_bugs=False,
        ),
    )
