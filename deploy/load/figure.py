"""What a bench found: values with units, as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Figure(Struct, frozen=True, kw_only=True):
    bench: str
    load: str  # what was asked of the server
    server: str
    name: str
    unit: str
    value: float | None  # None: there is none
    why: str = ""  # there is none


def number(value: float) -> str:
    """With three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def line(figures: Sequence[Figure]) -> str:
    """What was found of one server under one load."""
    first = figures[0]
    return f"{first.bench:<8} {first.load:<26} {first.server:<17} " + ", ".join(map(_shown, figures))


def _shown(figure: Figure) -> str:
    if figure.value is None:
        return figure.why
    return f"{figure.name} {number(figure.value)} {figure.unit}".rstrip()
