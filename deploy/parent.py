"""A child that does not outlive its parent."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """For `preexec_fn`: the child is told to stop when its parent dies, even by kill -9. Linux only.

    Source: prctl(2), PR_SET_PDEATHSIG; it is kept over execve.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
