"""What came of a run, and the table of many. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from tests.faults.checker import Report


class Moment(Struct, frozen=True):
    """Something that was done to the set."""

    monotonic_s: float
    since_start_s: float
    what: str


class Measure(Struct, frozen=True):
    """A number that a row's target names."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None  # None: it is told, and nothing is asked of it

    @property
    def holds(self) -> bool:
        return self.at_most is None or self.value <= self.at_most

    def __str__(self) -> str:
        bound = "" if self.at_most is None else f" (<= {self.at_most:g})"
        return f"{self.name} {self.value:.3g}{self.unit and ' '}{self.unit}{bound}"


class Verdict(Struct):
    row: str
    what: str  # the variant of the fault
    seed: int
    report: Report = field(default_factory=Report)
    back_s: float | None = None  # until it flowed again, where that was broken
    measures: list[Measure] = []
    broken: list[str] = []  # what else was to be and was not
    moments: list[Moment] = []
    took_s: float = 0.0
    is_control: bool = False  # protection was taken off: losses are what must be seen
    left_out: str = ""  # why it could not be run here

    @property
    def holds(self) -> bool:
        return not self.why()

    def why(self) -> list[str]:
        """What does not hold, in words; empty if all does."""
        wrong = [
            f"{name} {value}"
            for name in COUNTS[:-1]
            if (value := getattr(self.report, name)) and not self.is_control
        ]
        return [*wrong, *self.broken, *(str(each) for each in self.measures if not each.holds)]


COUNTS = ("lost", "duplicated", "reordered", "falsely_confirmed", "phantom", "gaps")
HEAD = (
    "row",
    "held",
    "lost",
    "dup",
    "reordered",
    "false",
    "phantom",
    "told gaps",
    "back s",
    "else, at worst",
)


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """A line a row, over all its runs: sums, and of what was measured the worst."""
    rows: list[tuple[str, ...]] = [HEAD]
    for name in dict.fromkeys(each.row for each in verdicts):
        some = [each for each in verdicts if each.row == name]
        ran = [each for each in some if not each.left_out]
        if not ran:
            rows.append((name, "left out", *("",) * 7, some[0].left_out))
            continue
        summed = sum((each.report for each in ran), Report())
        counts = [str(getattr(summed, name)) for name in COUNTS]
        back = [each.back_s for each in ran if each.back_s is not None]
        held = f"{sum(each.holds for each in ran)} of {len(ran)}"
        worst = f"{max(back):.1f}" if back else "-"
        rows.append((name, held, *counts, worst, "; ".join(map(str, _worst(ran)))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _worst(verdicts: Sequence[Verdict]) -> list[Measure]:
    worst: dict[str, Measure] = {}
    for each in (measure for verdict in verdicts for measure in verdict.measures):
        if each.name not in worst or each.value > worst[each.name].value:
            worst[each.name] = each
    return list(worst.values())
