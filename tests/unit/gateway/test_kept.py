"""What gateways keep for each other: what the broker is asked, and what is told of its answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from broker import control
from broker.control import KeptPage
from broker.errors import ControlError, ControlTimeout, ControlUnsent
from gateway.kept import Kept
from tests.support.events import head


class Played:
    """A broker that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[control.AnyRequest] = []
        self.told: list[str | ControlError | None] = []
        self._done: deque[Callable[[Any, bytes], None]] = deque()
        self.kept = Kept(self._ask)

    def _ask(
        self,
        request: control.AnyRequest,
        done: Callable[[Any, bytes], None],
        timeout_s: float = 0,
        events: bytes | None = None,
    ) -> None:
        assert events is None
        self.asked.append(request)
        self._done.append(done)

    def answer(self, page: Any) -> None:
        self._done.popleft()(page, b"")


def test_what_is_kept_is_told() -> None:
    played = Played()
    played.kept.keep("set:1", "a", played.told.append)
    played.kept.look("set:1", played.told.append)
    assert played.asked == [control.Keep(id=0, name="set:1", value="a"), control.Kept(id=0, name="set:1")]
    assert played.told == []
    for value in ("another's", None):
        played.answer(KeptPage(at=head(7), value=value))
    assert played.told == ["another's", None]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ControlUnsent("the broker"), id="unsent"),
        pytest.param(ControlTimeout("the broker", 1), id="no answer"),
        pytest.param(ControlError("unavailable", "the disk is full"), id="refused"),
    ],
)
def test_errors_are_passed_on(error: ControlError) -> None:
    played = Played()
    played.kept.keep("set:1", "a", played.told.append)
    played.kept.look("set:1", played.told.append)
    played.answer(error)
    played.answer(error)
    assert played.told == [error, error]
