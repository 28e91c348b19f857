"""What a confirmed `publish` gives back: what has become of the event."""

from __future__ import annotations

from collections.abc import Callable

from broker.errors import PenstockError
from producer.window import Batch

Wait = Callable[[Batch, int, float | None], None]


class Confirmation:
    """Of one event. Any thread may ask it."""

    # One is made for each event: half a microsecond, and nothing is written into it later.
    __slots__ = ("_batch", "_place", "_wait")

    def __init__(self, batch: Batch, place: int, wait: Wait) -> None:
        """`wait` returns once it is known, and raises NotConfirmed after so many seconds."""
        self._batch, self._place, self._wait = batch, place, wait

    @property
    def done(self) -> bool:
        """Whether it is known what has become of it: it is confirmed, or will never be."""
        return self._batch.is_settled(self._place)

    @property
    def position(self) -> str:
        """Its place in the log, as `epoch.seq`; empty as long as it is not confirmed."""
        return str(self._batch.maybe_position(self._place) or "")

    @property
    def error(self) -> PenstockError | None:
        """Why it will never be confirmed; None while that is not so."""
        return self._batch.maybe_error(self._place)

    def result(self, timeout_s: float | None = None) -> str:
        """Its position, once it is confirmed.

        Raises:
            NotConfirmed: not within `timeout_s`, or the Publisher was closed before.
            Fenced, LogLost: the Publisher is at its end.
            ControlError: the broker refuses this event for good; `code` says why.
        """
        self._wait(self._batch, self._place, timeout_s)
        if error := self.error:
            raise error
        return self.position

    def __repr__(self) -> str:
        state = self.position or (f"failed: {self.error}" if self.error else "waiting")
        return f"Confirmation({state})"


def _never(batch: Batch, place: int, timeout_s: float | None) -> None:
    raise RuntimeError("nothing is confirmed here: make it a Publisher(confirm=True)")


# What a Publisher gives back that hears of no confirmations.
NEVER = Confirmation(Batch(), 0, _never)
