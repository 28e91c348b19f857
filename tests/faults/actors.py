"""Who takes part in a run, in processes of their own, as the stage holds them: crowds and producers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from deploy.load.program import Program
from tests.faults.crowd import Follow, Look, Pace, State, Write
from tests.faults.journal import Journal
from tests.faults.producing import Plan
from tests.support.processes import Service
from tests.support.waiting import DEADLINE_S, wait_for


class Crowd:
    """Clients in a process of their own."""

    def __init__(self, through: Program, folder: Path, end: Callable[[], None]) -> None:
        """`end` ends the process; it may be called twice."""
        self._through, self._folder, self.end = through, folder, end
        self.pid = through.pid
        self.pattern = ""  # of all of them

    def follow(self, urls: Sequence[str], pattern: str, *, settle: bool = True, **how: object) -> None:
        """More clients (see crowd.Follow). Returns when all follow, if they are to `settle`."""
        assert self.pattern in ("", pattern), "a crowd has one pattern: its places are compared"
        self.pattern = pattern
        self._through.ask(msgspec.convert({"urls": urls, "pattern": pattern, **how}, Follow), State)
        if settle:
            self.settle()

    def settle(self, deadline_s: float = DEADLINE_S) -> State:
        """Until all of them follow."""
        return self.wait(lambda state: state.following == state.clients, "all follow", deadline_s)

    def wait(self, fact: Callable[[State], bool], what: str, deadline_s: float = DEADLINE_S) -> State:
        def maybe_state() -> State | None:
            state = self.look()
            return state if fact(state) else None

        return wait_for(maybe_state, what=lambda: f"{what}: {self.look()}", deadline_s=deadline_s)

    def look(self) -> State:
        return self._through.ask(Look(), State)

    def pace(self, bytes_per_s: float | None) -> None:
        self._through.ask(Pace(bytes_per_s), State)

    def journal(self) -> Journal:
        path = self._folder / f"crowd-{self.pid}.journal"
        self._through.ask(Write(str(path)), State)
        return msgspec.msgpack.decode(path.read_bytes(), type=Journal)


class Producing(Service):
    """One producer; killed and started again, it goes on where its note ends."""

    def __init__(self, plan: Plan, folder: Path, is_promised: bool) -> None:
        """`is_promised`: what it was promised is held against the log."""
        super().__init__(f"producer-{plan.producer}", [], {}, folder)
        self.plan, self.is_promised = plan, is_promised
        self.launch()

    def launch(self) -> None:
        self.plan.first = self.promised + 1
        self.args = ["-m", "tests.faults.producing", msgspec.json.encode(self.plan).decode()]
        super().launch()

    @property
    def promised(self) -> int:
        """The number up to which it was promised that its events are logged."""
        try:
            return max(map(int, Path(self.plan.note).read_text().split("\n")[:-1]), default=0)
        except FileNotFoundError:
            return 0
