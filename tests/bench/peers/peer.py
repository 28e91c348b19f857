"""What all peers need: a process that ends with the bench, and a name for one that cannot be had."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.load.program import program
from deploy.load.stream import Publish, Published
from deploy.parent import end_with_parent
from tests.support.ports import is_listening
from tests.support.processes import REPO
from tests.support.waiting import wait_for

HERE = Path(__file__).resolve().parent
DEBIAN = REPO / ".venv" / "peers" / "debian"
START_S = 10.0
STOP_S = 5.0


class LeftOut(Exception):
    """The peer cannot be had here; the text says why, and how to have it."""


def command(name: str) -> str:
    """The program's path, of those that `make peers` has unpacked or else of this machine. Raises LeftOut."""
    found = shutil.which(name, path=DEBIAN / "usr" / "sbin") or shutil.which(name)
    if found is None:
        raise LeftOut(f"{name} is not installed: make peers")
    return found


@contextmanager
def running(name: str, args: Sequence[str], folder: Path, port: int) -> Iterator[int]:
    """Its pid, once it listens on the port. Raises LeftOut if it does not."""
    said = folder / f"{name}.log"
    with (
        said.open("wb") as out,
        subprocess.Popen(
            args,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=end_with_parent,
        ) as process,
    ):
        try:
            wait_for(
                lambda: process.poll() is not None or is_listening(port),
                what=lambda: f"{name} on port {port}",
                deadline_s=START_S,
            )
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}")
        except AssertionError as error:
            process.kill()
            raise LeftOut(f"{error}: {_end(said)}") from error
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def producer(link: str, port: int) -> Iterator[Callable[[Publish], Published]]:
    """A process that publishes over one of the links of `producer`."""
    with program("tests.bench.peers.producer", link, str(port)) as process:
        yield lambda request: process.ask(request, Published)


def _end(file: Path) -> str:
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
