"""The same for backend programs: whatever breaks, and whenever they die, they have all, or were told."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from broker.log import Durability
from broker.retention import Keep
from broker.wire import Position
from producer import pending
from producer.pending import Pending
from tests.model.program import Kinds, Program, Told
from tests.model.test_model import ALL_FAULTS, PATTERNS, TOPICS, Loss, place
from tests.model.world import World


@pytest.fixture(autouse=True, scope="module")
def few_wait() -> object:
    """So that readers are slow after a few events."""
    before, pending.EVENTS_MAX = pending.EVENTS_MAX, 4
    yield
    pending.EVENTS_MAX = before


class Machine(RuleBasedStateMachine):
    kinds: ClassVar[Kinds] = Kinds()
    faults = ALL_FAULTS

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.world: World
        self.lives = 0
        self.programs: list[Program] = []

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

    # Producers and broker

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4))
    def publish(self, topics: list[str]) -> None:
        self.world.publish(topics)

    @precondition(lambda self: "drop" in self.faults)
    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=2), program=st.integers(0, 1))
    def publish_dropped(self, topics: list[str], program: int) -> None:
        self.world.publish(topics, drop_at=program)

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

    @rule(program=place, times=st.integers(1, 5))
    def deliver(self, program: int, times: int) -> None:
        for _ in range(times):
            self.programs[program % 2].deliver()

    @rule(program=place, times=st.integers(1, 3))
    def carry_command(self, program: int, times: int) -> None:
        for _ in range(times):
            self.programs[program % 2].carry_command()

    @rule(program=place, which=place)
    def carry_request(self, program: int, which: int) -> None:
        self.programs[program % 2].carry_request(which)

    @rule(program=place, which=place)
    def carry_answer(self, program: int, which: int) -> None:
        self.programs[program % 2].carry_answer(which)

    @precondition(lambda self: "drop" in self.faults)
    @rule(program=place)
    def lose_requests(self, program: int) -> None:
        self.programs[program % 2].lose_requests()

    @precondition(lambda self: "break" in self.faults)
    @rule(program=place)
    def break_feed(self, program: int) -> None:
        self.programs[program % 2].disconnect()
        self.programs[program % 2].connect()

    @rule(program=place)
    def turn(self, program: int) -> None:
        self.programs[program % 2].turn()

    @rule(program=place)
    def busy(self, program: int) -> None:
        """All that is on its way to one program arrives."""
        each = self.programs[program % 2]
        for _ in range(20):
            each.carry_command()
            each.deliver()
            each.carry_request(0)
            each.carry_answer(0)
            each.turn()

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4), program=place)
    def flow(self, topics: list[str], program: int) -> None:
        """Events come as they do mostly."""
        self.world.publish(topics)
        self.busy(program)

    @rule(seconds=st.sampled_from([0.5, 1.1, 4.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    # Programs

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

    def teardown(self) -> None:
        try:
            if self.programs:
                self.world.settle()
                for told in (program.told for program in self.programs):
                    if lost := [*told.wrong, *self.world.losses(told), *self.world.miscounts(told)]:
                        raise Loss("; ".join(lost))
        finally:
            if hasattr(self, "world"):
                self.world.close()
            shutil.rmtree(self.folder)


Machine.TestCase.settings = settings(
    max_examples=int(os.environ.get("PENSTOCK_MODEL_RUNS", "50")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSubscribers = Machine.TestCase


class Ahead(Pending):
    """Counts for taken what was put."""

    @property
    def position(self) -> Position | None:
        self._place = self._tip
        return super().position


def test_the_model_finds_the_loss_if_the_position_is_beyond_what_was_read() -> None:
    """Or a model that never fails would prove nothing."""
    machine = type("Broken", (Machine,), {"kinds": Kinds(pending=Ahead), "faults": frozenset[str]()})
    search = settings(
        Machine.TestCase.settings,
        max_examples=2_000,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        print_blob=False,
        report_multiple_bugs=False,
    )
    with pytest.raises(Loss):
        run_state_machine_as_test(machine, settings=search)
