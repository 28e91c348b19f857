"""The same for backend programs: whatever breaks, and whenever they die, they have all, or were told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from broker.log import Durability
from broker.retention import Keep
from broker.wire import Position
from producer import pending
from producer.pending import Pending
from tests.model.machine import PATTERNS, TOPICS, Loss, Machine, place, runs, search
from tests.model.program import Kinds, Program, Told
from tests.model.world import World


@pytest.fixture(autouse=True, scope="module")
def few_wait() -> object:
    """So that readers are slow after a few events."""
    before, pending.EVENTS_MAX = pending.EVENTS_MAX, 4
    yield
    pending.EVENTS_MAX = before


class SubscribersMachine(Machine):
    kinds: ClassVar[Kinds] = Kinds()

    def __init__(self) -> None:
        super().__init__()
        self.lives = 0
        self.programs: list[Program] = []

    @property
    def readers(self) -> Sequence[Told]:
        return [program.told for program in self.programs]

    @initialize(
        durability=st.sampled_from(["process", "memory"]),
        keep=st.sampled_from([Keep(), Keep(events=2), Keep(events=2, forget_s=30.0)]),
        reverse=st.booleans(),
        patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True),
        histories=st.tuples(st.sampled_from([0, 2]), st.sampled_from([0, 2])),
    )
    def begin(
        self,
        durability: Durability,
        keep: Keep,
        reverse: bool,
        patterns: list[str],
        histories: tuple[int, int],
    ) -> None:
        self.world = World(self.folder, durability=durability, keep=keep, reverse_filters=reverse, gateways=0)
        for told in (Told(["**"], histories[0]), Told(patterns, histories[1])):
            self._start(told)

    def _start(self, told: Told) -> Program:
        self.lives += 1
        program = Program(self.world, f"p{self.lives}", told, self.kinds)
        self.programs.append(program)
        self.world.programs.append(program)
        return program

    # Programs

    @precondition(lambda self: "drop" in self.faults)
    @rule(program=place)
    def lose_requests(self, program: int) -> None:
        self.programs[program % 2].lose_requests()

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4), program=place)
    def flow(self, topics: list[str], program: int) -> None:
        """Events come as they do mostly."""
        self.world.publish(topics)
        self.busy(program)

    @rule(program=place, count=st.integers(1, 8), stores=st.booleans())
    def read(self, program: int, count: int, stores: bool) -> None:
        self.programs[program % 2].read(count)
        if stores:
            self.programs[program % 2].store()

    @rule(program=place)
    def die(self, program: int) -> None:
        """kill -9 and restart, with what was stored."""
        told = self.programs[program % 2].told
        told.die()
        self.lives += 1
        reborn = Program(self.world, f"p{self.lives}", told, self.kinds)
        self.programs[program % 2] = self.world.programs[program % 2] = reborn

    def wrongs(self) -> list[str]:
        return [*(wrong for told in self.readers for wrong in told.wrong), *super().wrongs()]


SubscribersMachine.TestCase.settings = runs(50)
TestSubscribers = SubscribersMachine.TestCase


class Ahead(Pending):
    """Counts for taken what was put."""

    @property
    def position(self) -> Position | None:
        self._place = self._tip
        return super().position


def test_the_model_finds_the_loss_if_the_position_is_beyond_what_was_read() -> None:
    """Or a model that never fails would prove nothing."""
    machine = type(
        "Broken", (SubscribersMachine,), {"kinds": Kinds(pending=Ahead), "faults": frozenset[str]()}
    )
    with pytest.raises(Loss):
        search(machine)
