"""Confirmed publishing: nothing is confirmed falsely, logged twice or out of order, whatever comes between.

Real: the window. Played: the broker, its log, and the links. Several programs may use the same id; a link
that was cut may still have bytes in it that the broker reads later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import control
from broker.control import HelloPage, PublishPage
from broker.errors import ControlError, Fenced, LogLost
from broker.wire import pack_event
from producer import window as core
from producer.window import Batch, Window
from tests.support.played_broker import PlayedBroker

PRODUCER = "p"
TOO_LARGE = 50  # bytes: the broker takes less for a while
SIZES = [1, 1, 1, 1, 1, 1, 1, 60]
PROGRAMS_MAX = 5


@dataclass(slots=True)
class Link:
    to_broker: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    answers: deque[bytes] = field(default_factory=deque)
    is_cut: bool = False


@dataclass(slots=True)
class Program:
    number: int
    window: Window
    link: Link | None = None
    links: list[Link] = field(default_factory=list)  # also cut ones, with what the broker may still read
    put: list[bytes] = field(default_factory=list)  # payloads
    settled: int = 0
    start: int | None = None  # what was logged under the id when it first heard of it

    def __str__(self) -> str:
        return f"program {self.number}: {len(self.put)} put, {self.settled} settled, {self.window.failure}"


class World:
    def __init__(self, numbered: bool) -> None:
        self.numbered = numbered
        self.broker = PlayedBroker()
        self.now_s = 0.0
        self.programs: list[Program] = []
        self.is_kept = True  # the log never lost anything
        self.is_well = False  # no answer is dropped
        self.is_late = False  # a hello was read after its link was cut
        self.start(Random(0))

    # What goes on all the time

    def go_on(self, chance: Random, steps: int) -> None:
        """Some of the programs, each and each link at its own pace."""
        moves = (self.put, self.send, self.send, self.read, self.read, self.read, self.hear, self.hear)
        active = chance.sample(self.programs, chance.randrange(1, len(self.programs) + 1))
        for _ in range(steps):
            program = chance.choice(active)
            chance.choice(moves)(program, chance)
            if chance.randrange(10) == 0:
                self.connect(program)
            self.check_log()

    def put(self, program: Program, chance: Random) -> None:
        for _ in range(chance.randrange(1, 6)):
            if program.window.failure is None:
                payload = b"%d.%d " % (program.number, len(program.put)) + b"x" * chance.choice(SIZES)
                program.window.put(pack_event(b"t", payload, 0), len(program.put))
                program.put.append(payload)

    def connect(self, program: Program) -> None:
        if program.link is None:
            program.link = Link()
            program.links.append(program.link)
            program.window.on_link()

    def send(self, program: Program, _: Random) -> None:
        program.window.tick(self.now_s)
        for request, parts in program.window.due(self.now_s):
            assert program.link is not None
            program.link.to_broker.append((control.encode(request), b"".join(parts)))
        self.look(program)

    def read(self, program: Program, chance: Random) -> None:
        """The broker reads from one of its links, and answers where it still can."""
        if links := [link for link in program.links if link.to_broker]:
            link = chance.choice(links)
            hellos = self.broker.hellos
            answer = self.broker.ask(*link.to_broker.popleft())
            self.is_late = self.is_late or (link.is_cut and self.broker.hellos > hellos)
            # A ROUTER drops some at its high-water mark.
            if not link.is_cut and (self.is_well or chance.randrange(20)):
                link.answers.append(answer)

    def hear(self, program: Program, _: Random) -> None:
        if program.link is None or not program.link.answers:
            return
        window, answer = program.window, control.decode_answer(program.link.answers.popleft())
        if answer.error is not None:
            window.on_refused(answer.id, answer.error.code, answer.error.message, self.now_s)
        elif window.is_hello(answer.id):
            window.on_hello(answer.id, msgspec.json.decode(answer.ok, type=HelloPage))
            program.start = window.last if program.start is None else program.start
        else:
            window.on_published(answer.id, msgspec.json.decode(answer.ok, type=PublishPage), self.now_s)
        self.look(program)

    # What happens now and then

    def nothing(self, chance: Random) -> None:
        pass

    def start(self, chance: Random) -> None:
        """Another program with the same id; the ones before go on, if they can."""
        if len(self.programs) < PROGRAMS_MAX:
            number = len(self.programs)
            window = Window(PRODUCER, 10**6, instance=str(number), numbered=self.numbered)
            self.programs.append(Program(number, window))
            self.connect(self.programs[-1])

    def cut(self, chance: Random) -> None:
        """Some of its requests are read by the broker some time; no answer is heard."""
        program = chance.choice(self.programs)
        if program.link is not None:
            for _ in range(chance.randrange(len(program.link.to_broker) + 1)):
                program.link.to_broker.pop()
            program.link.is_cut = True
            program.link = None
            program.window.on_link_lost("cut")

    def take_no_more(self, chance: Random) -> None:
        """The link is full."""
        program = chance.choice(self.programs)
        if program.link is not None:
            if program.window.due(self.now_s):
                program.window.on_unsent(self.now_s)
            self.look(program)

    def wait(self, chance: Random) -> None:
        self.now_s += chance.choice([0.1, 1.0, 6.0])
        for program in self.programs:
            program.window.tick(self.now_s)

    def fill_the_disk(self, chance: Random) -> None:
        self.broker.trouble = chance.choice(["", "the disk is full"])

    def take_less(self, chance: Random) -> None:
        """A broker that was started again, with another limit."""
        self.kill(chance)
        self.broker.payload_max = chance.choice([TOO_LARGE, 1_000])

    def kill(self, chance: Random) -> None:
        """The log is kept; what was on its way is not."""
        for program in self.programs:
            for link in program.links:
                link.to_broker.clear()
            if program.link is not None:
                program.link = None
                program.window.on_link_lost("killed")

    def fail_power(self, chance: Random) -> None:
        self.kill(chance)
        kept = max(len(self.broker.log) - chance.randrange(10), 0)
        self.is_kept = self.is_kept and kept == len(self.broker.log)
        self.broker.lose(kept)

    def restart_in_memory(self, chance: Random) -> None:
        self.kill(chance)
        self.is_kept = self.is_kept and not self.broker.log
        self.broker.begin_anew()

    # What has to hold

    def look(self, program: Program) -> None:
        """At each event of which it is known now what has become of it."""
        notes, program.window.notes = program.window.notes, []
        for batch, place, note in notes:
            assert note == program.settled, "settled in the order they were put"
            program.settled += 1
            assert batch.is_settled(place)
            self.check(batch, place, program.put[program.settled - 1])

    def check(self, batch: Batch, place: int, payload: bytes) -> None:
        position, error = batch.maybe_position(place), batch.maybe_error(place)
        assert (position is None) == (error is not None)
        if position is not None:
            logged = self.broker.ever[position.epoch]
            assert [each.payload for each in logged[position.seq - 1 : position.seq]] == [payload]
        elif isinstance(error, Fenced):
            assert len(self.programs) > 1 or self.is_late
        elif isinstance(error, LogLost):
            assert self.numbered and not (self.is_kept and len(self.programs) == 1)
        else:
            assert isinstance(error, ControlError) and error.code == "payload_too_large"
            assert self.numbered or len(payload) > TOO_LARGE

    def check_log(self) -> None:
        """Of each program the log has each event once and in order, and with its number if that is meant."""
        for program in self.programs:
            at = {payload: place for place, payload in enumerate(program.put)}
            logged = [(at[each.payload], each.number) for each in self.broker.log if each.payload in at]
            places = [place for place, _ in logged]
            assert places == sorted(set(places))
            window = program.window
            if self.numbered and program.start is not None:
                assert [number for _, number in logged] == [program.start + 1 + place for place in places]
            assert window.taken == len(program.put)
            if not window.failure:
                assert window.held == window.taken - program.settled
                assert (window._held_bytes == 0) == (window.held == 0)

    def settle(self) -> None:
        """All is well again: the newest program gets everything confirmed."""
        self.is_well, self.broker.trouble, newest = True, "", self.programs[-1]
        self.put(newest, Random(0))  # it hears of what was lost when it publishes again
        for _ in range(10 * len(newest.put)):  # one by one, where some are refused for good
            self.connect(newest)
            self.send(newest, Random(0))
            for link in newest.links:
                while link.to_broker:
                    self.read(newest, Random(0))
            while newest.link and newest.link.answers:
                self.hear(newest, Random(0))
            if newest.window.failure or not newest.window.held:
                break
            self.now_s = max(self.now_s, newest.window.next_s or 0.0)
        else:
            raise AssertionError(f"does not get on: {newest}")
        self.check_log()
        if newest.window.failure is None:
            assert newest.settled == len(newest.put)
            if len(self.programs) == 1:
                self.check_all_is_logged(newest)

    def check_all_is_logged(self, program: Program) -> None:
        """But for what was refused for good, and what was lost and it knows of."""
        window, count = program.window, len(self.broker.log)
        assert [each.number for each in self.broker.log] == list(range(1, count + 1))
        assert window.lost == 0 or not self.is_kept
        assert window.last is None or (window.last, window.lost) == (
            count,
            len(program.put) - window.dropped - count,
        )


def often(fault: Callable[[World, Random], None], times: int = 1) -> list[Callable[[World, Random], None]]:
    return [fault] * times


FAULTS = [
    *often(World.nothing, 3),
    *often(World.cut, 3),
    *often(World.wait, 2),
    *often(World.kill, 2),
    *often(World.fail_power, 2),
    World.start,
    World.take_no_more,
    World.fill_the_disk,
    World.take_less,
    World.restart_in_memory,
]


# Few turns of a seed are the beginning of many: what fails is made short.
@settings(max_examples=200)
@given(seed=st.integers(0, 1 << 32), turns=st.integers(1, 40))
def test_whatever_happens_nothing_is_confirmed_falsely_logged_twice_or_out_of_order(
    seed: int, turns: int
) -> None:
    chance = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "REQUEST_EVENTS", 3)
        # What is too large for a while goes alone, and is not sent where that is known.
        patch.setattr(core, "REQUEST_BYTES", TOO_LARGE)
        patch.setattr(core, "READ_BYTES", TOO_LARGE)
        patch.setattr(core, "IN_FLIGHT_MAX", 3)
        world = World(numbered=chance.random() < 0.3)
        for _ in range(turns):
            chance.choice(FAULTS)(world, chance)
            world.go_on(chance, chance.randrange(60))
        world.settle()
