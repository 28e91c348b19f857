"""The tables of docs/performance.md, from what a run wrote: `python -m tests.bench.tables FILE`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from deploy.load.figure import Figure, number
from deploy.load.names import CPU, P99
from tests.bench.comparison import Compared, Run


def tables(run: Run) -> Iterator[str]:
    """A heading and a table for each thing that was found."""
    yield ", ".join(f"{name}: {value}" for name, value in run.machine.items())
    fanout = [each for each in run.figures if each.bench == "fanout"]
    for name in (CPU, P99):
        yield from _table(name, ((each.load, each.server, each) for each in fanout if _tells(each, name)))
    others = [each for each in run.figures if each.bench != "fanout"]
    for title in dict.fromkeys(f"{each.bench}: {each.load}" for each in others):
        chosen = [each for each in others if f"{each.bench}: {each.load}" == title]
        yield from _table(title, ((each.server, each.name, each) for each in chosen))
    for of in dict.fromkeys(each.of for each in run.compared):
        ratios = [each for each in run.compared if each.of == of and each.against]
        yield from _table(
            f"{of} to others", ((f"{each.load}: {each.name}", each.against, each) for each in ratios)
        )
        wanted = [each for each in run.compared if each.of == of and not each.against]
        yield from _table(of, ((f"{each.load}: {each.name}", "found", each) for each in wanted))
    for server, why in run.left_out.items():
        yield f"{server} was left out: {why}"


def _tells(figure: Figure, name: str) -> bool:
    return figure.name == name or figure.value is None


def _table(title: str, found: Iterable[tuple[str, str, Figure | Compared]]) -> Iterator[str]:
    cells: dict[str, dict[str, str]] = {}
    for row, column, each in found:
        cells.setdefault(row, {})[column] = _cell(each)
    if not cells:
        return
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    yield ""
    yield _line([title, *columns])
    yield _line(["---"] * (len(columns) + 1))
    yield from (_line([row, *(found.get(column, "") for column in columns)]) for row, found in cells.items())


def _cell(each: Figure | Compared) -> str:
    if each.value is None:
        return each.why.partition(" (")[0]
    text = f"{number(each.value)} {each.unit}".rstrip()
    if isinstance(each, Figure) or not each.target:
        return text
    return f"{text} ({each.target}{', MISSED' if each.is_missed else ''})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(tables(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Run))))
