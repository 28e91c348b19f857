"""`penstock restart`: what runs, anew, one process after the other, each ready before the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from http.client import HTTPException
from pathlib import Path

from broker.errors import PenstockError
from deploy.supervised import Logs, Process, Supervised, last_words, maybe_ready

READY_S = 60.0
LOOK_EVERY_S = 0.1


class CannotRestart(PenstockError):
    """Nothing runs there, or one did not come back; the others were left alone then."""


def restart(config: Path, names: Collection[str], say: Callable[[str], None]) -> None:
    """In the order in which they are started: what the newer ones ask of an older one, it might not know.

    Args:
        config: supervisord's, of the set.
        names: of programs or processes, `gateway` or `gateway_00`; all that run, if empty.
        say: told of each.

    Raises:
        CannotRestart: the text says which, why, and where its log is.
    """
    supervised = Supervised(config)
    running = supervised.in_order()
    if not running:
        raise CannotRestart(f"nothing runs there: supervisord -c {config} starts it")
    if unknown := set(names) - {name for each in running for name in (each.name, each.group)}:
        there = ", ".join(process.name for process in running)
        raise CannotRestart(f"no such process runs: {', '.join(sorted(unknown))}; there are {there}")
    try:
        for process in running:
            if not names or not {process.name, process.group}.isdisjoint(names):
                _restart(supervised, process, say)
    except (OSError, HTTPException) as error:
        raise CannotRestart(f"supervisord has gone ({error}): supervisord -c {config} starts it") from error


def _restart(supervised: Supervised, process: Process, say: Callable[[str], None]) -> None:
    began_s = time.monotonic()
    try:
        supervised.stop(process)
    finally:
        # Also when this is interrupted: what was running before runs afterwards.
        logs = Logs(supervised.logs)
        supervised.start(process)
    deadline_s = time.monotonic() + READY_S
    while maybe_ready(process, logs) is None:
        now = next((each for each in supervised.processes() if each.name == process.name), process)
        if now.has_failed or time.monotonic() > deadline_s:
            why = "failed" if now.has_failed else f"was not ready within {READY_S:g} s"
            raise CannotRestart(f"{process.name} {why}: {last_words(now, logs)}")
        time.sleep(LOOK_EVERY_S)
    say(f"{process.name} is ready again, after {time.monotonic() - began_s:.1f} s")
