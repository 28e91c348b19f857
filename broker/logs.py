"""How a process of ours logs: one form for all, so that their logs can be read side by side."""

from __future__ import annotations

import logging
import sys

FORM = "%(asctime)s level=%(levelname)s %(name)s %(message)s"


def log_to_stderr() -> None:
    """For a `__main__`, once: handlers and levels are nobody else's."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORM)
