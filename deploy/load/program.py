"""A process of the bench that takes requests and gives answers, a line of JSON each.

It ends when its standard input does, so it does not outlive the bench.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
from msgspec import Struct

from deploy.load.errors import Failed
from deploy.parent import end_with_parent

A = TypeVar("A", bound=Struct)

_HERE = Path(__file__).resolve().parents[2]  # wherever this package stands, its modules are found again


FAILED = b'{"failed":'


class _Failure(Struct):
    failed: str


class Program:
    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name, self._process = name, process
        self.pid = process.pid

    def ask(self, request: Struct, answer: type[A]) -> A:
        self.tell(request)
        return self.answer(answer)

    def tell(self, request: Struct) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()

    def answer(self, answer: type[A]) -> A:
        """Every request is bounded in time by who serves it. Raises Failed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self._name} ended")
        if line.startswith(FAILED):
            raise Failed(msgspec.json.decode(line, type=_Failure).failed)
        return msgspec.json.decode(line, type=answer)


@contextmanager
def program(module: str, *args: str) -> Iterator[Program]:
    """`python -m <module>` in the block, ended after it."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, *args],
        env={**os.environ, "PYTHONPATH": str(_HERE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=end_with_parent,
    ) as process:
        try:
            yield Program(module, process)
        finally:
            process.kill()


def serve(requests: Any, obey: Callable[[Any], Struct]) -> None:
    """Such a program's main loop; `requests` is what may come, a union of tagged structs."""
    decode = msgspec.json.Decoder(requests).decode
    for line in sys.stdin.buffer:
        answer: Struct
        try:
            answer = obey(decode(line))
        except (Failed, OSError) as error:
            answer = _Failure(str(error))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


def cpu_s(pid: int) -> float:
    """CPU time that a process has used so far, its own and the kernel's for it, all threads.

    The sum of psutil's user and system times, which come in steps of 10 ms, in nanoseconds.
    Source: clock_getcpuclockid(3), as Linux numbers these clocks.
    """
    return time.clock_gettime(~pid << 3 | 2)


def memory_bytes(pid: int) -> int:
    """Memory that is this process's alone (USS); what the kernel holds for its sockets is not in it."""
    return int(psutil.Process(pid).memory_full_info().uss)
