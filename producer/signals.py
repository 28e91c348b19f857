"""SIGTERM and SIGINT as facts to wait for, beside time and descriptors."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType

STOPPING = (signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130


class Signals:
    """The signals that ask this process to stop. In a `with`, in the main thread.

    The first one is noted and ends every `wait`; a second one ends the process at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    @property
    def exit_code(self) -> int:
        """0 for an end by itself or by SIGTERM, 130 for an interrupt."""
        return INTERRUPTED if self.received == signal.SIGINT else 0

    def wait(self, timeout_s: float | None, *descriptors: int) -> list[int]:
        """The descriptors that can be read; none when the time is over or a signal has come."""
        awake = self._awake.fileno()
        readable, _, _ = select.select([awake, *descriptors], [], [], timeout_s)
        return [] if self.received else [each for each in readable if each != awake]

    def __enter__(self) -> Signals:
        # Python writes a byte there on each signal, so that one that comes just before `select` still
        # ends it; a flag alone would be seen only when the wait is over.
        self._awake, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._wake_before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._before = {signum: signal.signal(signum, self._note) for signum in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._wake_before)
        self._awake.close()
        self._wake.close()

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self.received = signum
        for each in STOPPING:
            signal.signal(each, signal.SIG_DFL)
