"""The one ordered stream between a broker that is played and a hub that writes down what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.control import ReplayPage, TailsPage
from broker.gap import Gap
from broker.upstream import Upstream
from broker.wire import Position
from gateway.event import Event
from tests.support.events import EPOCH, head

TICK_S = 0.25


class Scene:
    """An upstream between a broker and a hub, both of which write down what they are told."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._asked: list[str] = []
        self.now_s = 0.0
        self.barrier_number = self.replay_number = self.tails_number = 0  # of the newest of each
        self.upstream = Upstream(self, self)

    def told(self) -> list[str]:
        """What went on to the hub since this was last asked."""
        told, self._told = self._told, []
        return told

    def asked(self) -> list[str]:
        """What went to the broker since this was last asked."""
        asked, self._asked = self._asked, []
        return asked

    # upstream.Downstream

    def offer(self, event: Event) -> None:
        self._told.append(f"{event.topic} {event.seq}")

    def offer_gap(self, gap: Gap) -> None:
        lost = "" if gap.lost is None else f" lost={gap.lost}"
        self._told.append(f"gap {gap.pattern} {_short(gap.after)}..{_short(gap.before)} {gap.cause}{lost}")

    def advance(self, seq: int) -> None:
        self._told.append(f"up to {seq}")

    def change_epoch(self, epoch: int, start: int, seq: int) -> None:
        self._told.append(f"epoch {epoch:x} from {start}, at {seq}")

    def in_force(self, prefixes: Sequence[str]) -> None:
        self._told.append(f"in force: {' '.join(prefixes)}")

    def set_stale(self, is_stale: bool) -> None:
        self._told.append("stale" if is_stale else "fresh")

    # upstream.Link

    def set_filter(self, prefix: str, is_on: bool) -> None:
        self._asked.append(f"{'+' if is_on else '-'}{prefix}")

    def barrier(self, number: int) -> None:
        self.barrier_number = number
        self._asked.append("barrier")

    def ask_replay(self, number: int, prefixes: Sequence[str], after: int, upto: int) -> None:
        self.replay_number = number
        self._asked.append(f"replay {' '.join(prefixes)} after {after} upto {upto}")

    def ask_tails(self, number: int, prefixes: Sequence[str], after: int) -> None:
        self.tails_number = number
        self._asked.append(f"tails {' '.join(prefixes)} after {after}")

    # What the broker does

    def come(self, *events: Event) -> None:
        for arrived in events:
            self.upstream.on_event(arrived)

    def marker(self, seq: int, *, number: int | None = None, **fields: int) -> None:
        """The answer to the newest barrier, or to an older one."""
        self.upstream.on_marker(number or self.barrier_number, head(seq, **fields), self.now_s)

    def beat(self, seq: int, *, later_s: float = 0.5, **fields: int) -> None:
        self.now_s += later_s
        self.upstream.on_beat(head(seq, **fields), self.now_s)

    def pass_time(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.stand_still(min(TICK_S, until_s - self.now_s))

    def stand_still(self, seconds: float) -> None:
        """Without a tick before the end."""
        self.now_s += seconds
        self.upstream.tick(self.now_s)

    def replayed(
        self,
        *events: Event,
        through: int,
        epoch: int = EPOCH,
        forgotten: int = 0,
        number: int | None = None,
        **fields: Any,
    ) -> None:
        page = ReplayPage(at=head(through, epoch=epoch, forgotten=forgotten), through=through, **fields)
        self.upstream.on_replay(number or self.replay_number, page, events)

    def tails(
        self,
        *tails: tuple[str, int, int],
        through: int,
        epoch: int = EPOCH,
        forgotten: int = 0,
        number: int | None = None,
    ) -> None:
        """Each with topic, seq and nth of the newest event."""
        at = head(through, epoch=epoch, forgotten=forgotten)
        page = TailsPage(at=at, tails=list(tails), through=through)
        self.upstream.on_tails(number or self.tails_number, page)


def _short(position: Position) -> str:
    return str(position.seq) if position.epoch == EPOCH else f"{position.epoch:x}.{position.seq}"


def standing(*prefixes: str, at: int = 10) -> Scene:
    """These prefixes are in force, from seq `at` on, and nothing is awaited."""
    scene = Scene()
    for prefix in prefixes:
        scene.upstream.follow(prefix)
    scene.upstream.on_connected(scene.now_s)
    scene.marker(at)
    scene.told()
    scene.asked()
    return scene
