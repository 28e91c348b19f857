"""How a process of ours logs: one form for all, so that their logs can be read side by side."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

FORM = "%(asctime)s level=%(levelname)s %(name)s %(message)s"


def log_to_stderr() -> None:
    """For a `__main__`, once: handlers and levels are nobody else's."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORM)


def say(line: str) -> None:
    """On stdout: that it is ready. Past Python's buffer, for a line that a full disk does not take would
    be tried again at the end, and be the exit code then; to go on is worth more than to have said it."""
    with suppress(OSError):
        os.write(1, f"{line}\n".encode())
