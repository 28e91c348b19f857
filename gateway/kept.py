"""Small values that all gateways of a set share: the broker keeps them, by name. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from broker import control
from broker.errors import ControlError
from gateway.publishing import Ask

Told = Callable[[str | ControlError | None], None]


class Kept:
    """Answers come later, never before the call returns. Errors are those of ControlLink.ask."""

    def __init__(self, ask: Ask) -> None:
        """`ask`: see ControlLink.ask."""
        self._ask = ask

    def keep(self, name: str, value: str, done: Told) -> None:
        """`done` is told what is kept under it: this, or what was there before.

        Asked again after an error it does no harm: of two that ask, the first one's is kept for both.

        Args:
            name: 1 to 128 letters, digits, `:`, `_` or `-`; secrets, which begin with `key:`, stay longest.
            value: at most 64 KiB in UTF-8; larger ones are refused with `limit`.
        """
        self._ask(control.Keep(id=0, name=name, value=value), partial(_tell, done))

    def look(self, name: str, done: Told) -> None:
        """`done` is told what is kept under it, None for nothing."""
        self._ask(control.Kept(id=0, name=name), partial(_tell, done))


def _tell(done: Told, page: Any, _: bytes) -> None:
    done(page if isinstance(page, ControlError) else page.value)
