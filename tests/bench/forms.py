"""What a delivery costs in other forms than the native one: `/raw`, and Socket.IO over WebSocket.

Both servers are there at once, and are loaded in turn. Whatever else the machine does makes larger batches,
and so cheaper deliveries: in turn it meets both alike, and the middle one of the rounds counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from deploy.load import loads, names
from deploy.load.loads import Found, Opening
from deploy.load.names import FANOUT_CLIENTS, streamed
from deploy.load.stage import Load, Rounds, Saturated, staged
from tests.bench.ours import penstock_raw, penstock_socket_io

FORMS = (penstock_raw, penstock_socket_io)


class Form:
    """One of them, at rising rates; once it has not sustained one it is left alone."""

    def __init__(self, opening: Opening, topic: str, clients: int) -> None:
        self._opening, self._topic, self._clients = opening, topic, clients
        self._loads: list[Load] = []  # at this rate
        self._counted: list[Load] = []  # one of each rate
        self._may_fail = True  # once: something else may have held the machine
        self._why = ""  # it has not sustained one
        self._open()

    def _open(self) -> None:
        self._stack = ExitStack()
        self._server = self._stack.enter_context(self._opening())
        self._stage = self._stack.enter_context(staged(self._server, self._topic, self._clients))

    def close(self) -> None:
        self._stack.close()

    def load(self, rate: float, seconds: float) -> None:
        if self._why:
            return
        load = self._stage.load(max(2, int(rate * seconds)), rate)
        if load.is_whole:
            self._loads.append(load)
        elif self._may_fail:
            self._may_fail = False
            self.close()  # what is under way would be counted with the next
            self._open()
            self.load(rate, seconds)
        else:
            self._note_saturated(load)

    def found(self, what: str) -> Found:
        """Of the rounds at one rate."""
        sustained = [load for load in self._loads if not load.maybe_why()]
        if not sustained and not self._why:
            self._note_saturated(max(self._loads, key=lambda load: load.received.rate))
        self._loads.clear()
        if self._why:
            return loads.saturated(what, self._server, self._why)
        middle = sorted(sustained, key=loads.cost)[len(sustained) // 2]
        self._counted.append(middle)
        return loads.sustained(what, self._server, middle)

    def most(self, what: str) -> Found:
        return loads.most(what, self._server, self._counted)

    def _note_saturated(self, load: Load) -> None:
        self._why = str(Saturated(load))
        self._counted.append(load)


def forms(topic: str, rates: Sequence[int], rounds: Rounds, clients: int = FANOUT_CLIENTS) -> Iterator[Found]:
    """All clients on one topic, as in `fanout`."""
    with ExitStack() as stack:
        both = []
        for opening in FORMS:
            both.append(Form(opening, topic, clients))
            stack.callback(both[-1].close)
        for rate in rates:
            for _ in range(rounds.count):
                for form in both:
                    form.load(rate, rounds.seconds)
            yield from (form.found(streamed(clients, rate)) for form in both)
        yield from (form.most(names.most(clients)) for form in both)
