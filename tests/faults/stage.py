"""A set of real processes for one run: broker, gateways, producers and clients; what is done to it is noted.

with stage("F4", seed, brief=True, gateways=2) as on:
    crowd = on.follow("load/**", count=20)
    on.produce(rate=200)
    with on.fault("kill -9 gateway 0"):
        on.gateways[0].kill()
    verdict = on.judge()
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import msgspec

from broker import control
from broker.control import Head, ReplayPage
from broker.topics import Pattern
from broker.wire import Position, unpack_records, unpack_stamp
from deploy.load.program import program
from tests.faults.actors import Crowd, Producing
from tests.faults.checker import check_clients, check_log, total
from tests.faults.journal import Journal, Kept, Story
from tests.faults.numbered import read, topic_of
from tests.faults.producing import Plan
from tests.faults.times import Times
from tests.faults.verdict import Measure, Moment, Verdict
from tests.support import processes
from tests.support.deployed import Deployed, deployed
from tests.support.log import ask, status
from tests.support.processes import Broker, Gateway, Service
from tests.support.waiting import DEADLINE_S, wait_for

# Far more than any run publishes: what is missing then is a loss, and no retention.
KEEP = 10_000_000


class Start(NamedTuple):
    """How a program is started: `python -m` what, with what besides its settings."""

    module: str
    env: Mapping[str, str] = {}


BROKER, GATEWAY = Start("broker"), Start("gateway")


class Stage:
    """Everything of one run. Ended by `stage`."""

    def __init__(self, row: str, what: str, seed: int, brief: bool, folder: Path, stack: ExitStack) -> None:
        self.verdict = Verdict(row=row, what=what, seed=seed, measures=[], broken=[], moments=[])
        self.seed, self.brief, self.folder = seed, brief, folder
        self.random = random.Random(seed)
        self.gateways: list[Gateway] = []
        self.crowds: list[Crowd] = []
        self.producers: list[Producing] = []
        self.log: Sequence[Kept] = ()  # once it was judged
        self.journals: list[Journal] = []
        self.broker: Broker
        self.stack = stack
        self._started_s = time.monotonic()

    # What runs

    def add_broker(self, folder: Path | None = None, *, start: Start = BROKER, **settings: object) -> Broker:
        """`folder`: of its log and of what it says."""
        where = folder or self.folder
        env = {**processes.broker_environment(where), **_named("BROKER", {"keep_events": KEEP, **settings})}
        self.broker = Broker("broker", ["-m", *start.module.split()], {**env, **start.env}, where)
        self.stack.enter_context(processes.running(self.broker))
        return self.broker

    def add_gateway(self, *, start: Start = GATEWAY, **settings: Any) -> Gateway:
        number = len(self.gateways)
        own = {"number": number, "port": 0, "own_port": 0, "admin_port": 0}
        links = {name: self.addresses[name] for name in ("feed", "control")}
        env = _named("GATEWAY", {**own, **links, **settings})
        made = Gateway(f"gateway-{number}", ["-m", *start.module.split()], {**env, **start.env}, self.folder)
        self.gateways.append(made)
        self.stack.enter_context(processes.running(made))
        return made

    @contextmanager
    def stopped(self, service: Service) -> Iterator[None]:
        """SIGSTOP, and SIGCONT after the block."""
        self.note(f"SIGSTOP to {service.name}")
        os.kill(service.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(service.pid, signal.SIGCONT)
            self.note(f"SIGCONT to {service.name}")

    @property
    def addresses(self) -> dict[str, str]:
        """Of the broker."""
        return self.broker.address

    @property
    def head(self) -> Head:
        """Where the log stands now."""
        return status(self.addresses["control"]).at

    @property
    def urls(self) -> list[str]:
        """Of the gateways, each at a port of its own."""
        return [gateway.address["own"] for gateway in self.gateways]

    def crowd(self) -> Crowd:
        """A process for clients; nobody is in it yet."""
        own = self.stack.enter_context(ExitStack())
        through = own.enter_context(program("tests.faults.crowd", str(self.seed + len(self.crowds))))
        self.crowds.append(Crowd(through, self.folder, own.close))
        return self.crowds[-1]

    def follow(self, pattern: str = "load/**", **how: Any) -> Crowd:
        """Clients over all gateways, in a process of their own; all of them follow."""
        crowd = self.crowd()
        crowd.follow(self.urls, pattern, **how)
        return crowd

    def produce(self, *, kind: str, is_promised: bool = True, id: str = "", **plan: object) -> Producing:
        """One more producer (see producing.Plan); returns when it was promised its first event."""
        name = f"p{len(self.producers)}"
        port = {"push": "push", "pub": "ingest", "confirmed": "control"}[kind]
        made = {
            "kind": kind,
            "address": self.addresses[port],
            "producer": id or name,
            "note": str(self.folder / f"{name}.note"),
            **plan,
        }
        producer = Producing(msgspec.convert(made, Plan), self.folder, is_promised)
        self.stack.callback(producer.end)
        self.producers.append(producer)
        self.await_promised(producer, 1)
        return producer

    def await_promised(self, producer: Producing, more: int) -> None:
        """Until it was promised so many more."""
        wanted = producer.promised + more
        wait_for(lambda: producer.promised >= wanted, what=lambda: f"{wanted} promised\n{producer.stderr()}")

    def pass_events(self, more: int) -> None:
        """Until each producer was promised so many more: the run's own measure of time."""
        for producer in self.producers:
            self.await_promised(producer, more)

    # What is done to it

    def note(self, what: str) -> float:
        """Writes down that this is done now; the monotonic clock, in seconds."""
        now_s = time.monotonic()
        self.verdict.moments.append(Moment(now_s, round(now_s - self._started_s, 3), what))
        return now_s

    def hold(self, seconds: float) -> None:
        """The fault lasts for so long."""
        Event().wait(seconds)

    # What came of it

    def must(self, condition: object, what: str) -> None:
        """Else the run does not hold, and says so."""
        if not condition and what not in self.verdict.broken:
            self.verdict.broken.append(what)

    def measure(self, name: str, value: float, unit: str = "", at_most: float | None = None) -> None:
        """A short run asks nothing of a time or a size: it shares its machine with all other tests."""
        self.verdict.measures.append(Measure(name, value, unit, None if self.brief else at_most))

    def stop_producing(self) -> None:
        for producer in self.producers:
            producer.end()

    def judge(
        self,
        kept: Sequence[Kept] | None = None,
        *,
        allow_unlogged: bool = False,
        catch_up_s: float = DEADLINE_S,
    ) -> Verdict:
        """Producers stop, clients get what is under way, and all is held against the log.

        Args:
            kept: what there ever was, where retention has let some of it go.
        """
        self.note("producers end")
        self.stop_producing()
        if kept is None:
            kept = self.kept()
        self.must(kept, "something was logged")
        self.log = kept
        self.note("clients get the rest")
        for crowd in filter(lambda each: each.pattern, self.crowds):
            self._await_newest(crowd, kept, catch_up_s)
        self.note("checked")
        confirmed: dict[str, int] = {}
        for each in self.producers:
            if each.is_promised:
                name = each.plan.producer
                confirmed[name] = max(each.promised, confirmed.get(name, 0))
        report = check_log(kept, confirmed)
        self.journals = [crowd.journal() for crowd in self.crowds]
        for journal in self.journals:
            report += total(check_clients(kept, journal, allow_unlogged=allow_unlogged))
            self.verdict.broken += journal.errors[:5]
        self.verdict.report = report
        self.verdict.took_s = time.monotonic() - self._started_s
        return self.verdict

    def all_pushed(self, producers: Sequence[Producing]) -> list[Kept]:
        """All that these, and nobody else, ever pushed one after the other, and retention may have let go.

        Each event has the seq of its number, counted over all of them: that is checked by what is left.
        """
        self.stop_producing()
        control_address, every = self.addresses["control"], sum(each.promised for each in producers)
        wait_for(lambda: status(control_address).at.head >= every, what="all of them logged")
        epoch, start, found = status(control_address).at.epoch_number, 0, list[Kept]()
        for each in producers:
            for number in range(1, each.promised + 1):
                topic = topic_of(each.plan.stem, number, each.plan.topics)
                found.append(Kept(Position(epoch, start + number), topic, each.plan.producer, number))
            start += each.promised
        left = {event.at: event.identity for event in self.kept()}
        self.must(left.items() <= {event.at: event.identity for event in found}.items(), "places are numbers")
        return found

    def _await_newest(self, crowd: Crowd, kept: Sequence[Kept], deadline_s: float) -> None:
        """Each of its clients has the newest event that is due to it, or what it lacks will count as lost."""
        wanted = Pattern(crowd.pattern)
        last = max((event.at.seq for event in kept if wanted.matches(event.topic)), default=0)
        with suppress(AssertionError):
            crowd.wait(
                lambda state: state.following == state.clients and state.least_seq >= last,
                f"all clients at seq {last}",
                deadline_s,
            )
        state = crowd.look()
        self.must(state.following == state.clients, f"all clients follow in the end: {state}")

    def kept(self, after: int = 0) -> list[Kept]:
        """What the log has of the producers' events beyond that seq, in its order."""
        found: list[Kept] = []
        while True:
            request = control.Replay(id=1, patterns=("**",), after=after)
            page, records = ask(self.addresses["control"], request, ReplayPage)
            for topic, data, payload in unpack_records(records):
                stamp, name = unpack_stamp(data), topic.decode()
                event = read(name, payload)
                found.append(Kept(Position(stamp.epoch, stamp.seq), name, event.producer, event.number))
            if page.through >= page.at.head:
                return found
            after = page.through

    @property
    def stories(self) -> list[Story]:
        """Of all clients, once it was judged."""
        return [story for journal in self.journals for story in journal.clients]

    @property
    def times(self) -> Times:
        """By what clients heard, once it was judged."""
        return Times(self.journals)


def _named(section: str, settings: Mapping[str, object]) -> dict[str, str]:
    return {f"PENSTOCK_{section}__{name.upper()}": str(value) for name, value in settings.items()}


class SupervisedStage(Stage):
    """Its processes are supervisord's. The gateways share a port."""

    def __init__(self, the_set: Deployed, *args: Any) -> None:
        super().__init__(*args)
        self.set = the_set

    @property
    def addresses(self) -> dict[str, str]:
        return {name: f"tcp://127.0.0.1:{port}" for name, port in self.set.ports.items()}

    @property
    def urls(self) -> list[str]:
        return [self.set.url]

    def pid(self, name: str) -> int:
        """Of a process, once it runs."""
        return self.await_new(name, 0)

    def await_new(self, name: str, old: int) -> int:
        """The pid of a process once it runs under another than the `old` one."""

        def maybe_pid() -> int | None:
            pid = self.set.process(name).pid
            return pid if pid not in (0, old) else None

        return wait_for(maybe_pid, what=lambda: f"{name} runs\n{self.set.said()}")


@contextmanager
def stage(
    row: str,
    what: str,
    seed: int,
    *,
    brief: bool,
    gateways: int = 2,
    broker: dict[str, Any] | None = None,
    is_empty: bool = False,
    **settings: Any,
) -> Iterator[Stage]:
    """A broker and gateways with those settings; all that runs is ended after the block.

    Args:
        is_empty: nothing runs yet: the row starts it in its own way.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder, ExitStack() as stack:
        made = Stage(row, what, seed, brief, Path(folder), stack)
        if not is_empty:
            made.add_broker(**(broker or {}))
            for _ in range(gateways):
                made.add_gateway(**settings)
        yield made


@contextmanager
def supervised(
    row: str, what: str, seed: int, *, brief: bool, config: Mapping[str, str] | None = None
) -> Iterator[SupervisedStage]:
    """The set as it is deployed, but for its sources: a broker and two gateways below supervisord.

    Args:
        config: what stands in supervisord's configuration, and what is to stand there instead.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-") as name, ExitStack() as stack:
        folder = Path(name)
        the_set = stack.enter_context(deployed(folder))
        # What the sources publish is no numbered event.
        text = the_set.config.read_text().partition("[program:demo]")[0]
        for old, new in (config or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        the_set.config.write_text(text)
        the_set.env["PENSTOCK_BROKER__KEEP_EVENTS"] = str(KEEP)
        the_set.start()
        yield SupervisedStage(the_set, row, what, seed, brief, folder, stack)
