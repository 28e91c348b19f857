"""Faults, many times over, and one table of what came of them: `python -m tests.faults --help`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.faults.rows import ROWS
from tests.faults.verdict import Verdict, table

REPEATS = 20
SEED = 20_261_125
TIME_S = 4 * 3600.0  # what has not begun by then does not count as held


def run(name: str, seed: int, brief: bool) -> Verdict:
    """What came of one run, also of one that did not come to its end."""
    started_s = time.monotonic()
    try:
        verdict = ROWS[name].run(seed, brief)
    except Exception as error:
        verdict = Verdict(row=name, what="did not come to its end", seed=seed, broken=[repr(error)])
    verdict.took_s = time.monotonic() - started_s
    return verdict


def line(verdict: Verdict, number: int, repeats: int) -> str:
    if verdict.left_out:
        return f"{verdict.row:<8} left out: {verdict.left_out}"
    said = "held" if verdict.holds else "DID NOT HOLD"
    found = "; ".join(map(str, verdict.measures))
    start = f"{verdict.row:<8} {number:>2}/{repeats} {said}, {verdict.took_s:.1f} s: {verdict.what}"
    return f"{start}{': ' if found else ''}{found}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faults", description="Break Penstock, and see what is lost.")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="these rows")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first run; each next one has the next")
    parser.add_argument("--brief", action="store_true", help="the short form, which asks nothing of times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there, with its moments")
    given = parser.parse_args(argv)
    logging.disable(logging.WARNING)  # the log that F3 runs in this process says each time what it found
    verdicts: list[Verdict] = []
    end_s = time.monotonic() + TIME_S
    for name in given.only:
        for number in range(given.repeats):
            if time.monotonic() > end_s:
                over = ["the time was over"]
                verdicts.append(Verdict(row=name, what="not begun", seed=given.seed + number, broken=over))
                continue
            verdict = run(name, given.seed + number, given.brief)
            verdicts.append(verdict)
            print(line(verdict, number + 1, given.repeats), flush=True)
            if verdict.left_out:
                break
            if not verdict.holds:
                again = f"python -m tests.faults --only {name} --repeats 1 --seed {verdict.seed}"
                print(f"         {'; '.join(verdict.why())}\n         again: {again}", flush=True)
    print("\n" + "\n".join(table(verdicts)))
    if given.json:
        given.json.write_bytes(msgspec.json.encode(verdicts))
    return 0 if all(each.holds for each in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
