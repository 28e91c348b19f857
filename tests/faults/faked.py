"""Runs a program of ours under libfaketime: `python -m tests.faults.faked broker`.

Its clock_nanosleep does not take an absolute time of the monotonic clock, with which Python sleeps: it
sleeps for ever, or raises. The same sleep by select is none of its business.
"""

from __future__ import annotations

import runpy
import select
import sys
import time


def sleep(seconds: float) -> None:
    select.select((), (), (), seconds)


def main() -> None:
    module = sys.argv.pop(1)
    time.sleep = sleep  # type: ignore[assignment]  # nobody here sleeps for an index
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
