"""What a bench found: values with units and limits, as text and as JSON. Pure."""

from __future__ import annotations

from msgspec import Struct


class Figure(Struct, frozen=True, kw_only=True):
    bench: str
    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


def line(figure: Figure) -> str:
    value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
    text = f"{figure.bench:<8} {figure.name:<48} {value:>12} {figure.unit:<14}"
    if figure.at_most is not None:
        text += f" at most {figure.at_most:,g}"
    if figure.at_least is not None:
        text += f" at least {figure.at_least:,g}"
    return text.rstrip() + ("" if figure.holds else "  MISSED")
