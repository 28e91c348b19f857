"""A copy of deploy/ in a folder of the test's own, on ports of its own: several sets run at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deploy.supervised import Logs, Process, Supervised
from tests.support.ports import is_listening, reserved_ports
from tests.support.processes import REPO, Service, environment
from tests.support.waiting import wait_for

# Those that somebody must know before they are bound; the others are picked by the kernel.
KNOWN = ("ingest", "push", "control", "feed", "shared")


RUN_S = 30.0


class Deployed:
    """The set of one configuration file. Nothing runs before `start` or `up`."""

    def __init__(self, folder: Path, ports: list[int], config: str = "supervisord.conf") -> None:
        self.folder = folder
        (folder / "deploy").mkdir()
        shutil.copy(REPO / "deploy" / config, folder / "deploy")
        (folder / "run" / "logs").mkdir(parents=True)
        self.config = folder / "deploy" / config
        self.supervised = Supervised(self.config)
        self.ports = dict(zip(KNOWN, ports, strict=True))
        self._ups: list[Service] = []
        self._logs = Logs(self.supervised.logs)
        tcp = {name: f"tcp://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.env = environment(
            {
                "PENSTOCK_BROKER__INGEST": tcp["ingest"],
                "PENSTOCK_BROKER__PUSH": tcp["push"],
                "PENSTOCK_BROKER__CONTROL": tcp["control"],
                "PENSTOCK_BROKER__FEED": tcp["feed"],
                "PENSTOCK_BROKER__ADMIN": "127.0.0.1:0",
                "PENSTOCK_GATEWAY__FEED": tcp["feed"],
                "PENSTOCK_GATEWAY__CONTROL": tcp["control"],
                "PENSTOCK_GATEWAY__PORT": str(self.ports["shared"]),
                "PENSTOCK_GATEWAY__OWN_PORT": "0",
                "PENSTOCK_GATEWAY__ADMIN_PORT": "0",
                "PENSTOCK_PRODUCER__INGEST": tcp["ingest"],
            }
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['shared']}"

    def start(self) -> None:
        """As a user does it: supervisord, which goes into the background. Returns when all runs."""
        answer = self.run("supervisor.supervisord", "-c", str(self.config))
        assert answer.returncode == 0, answer.stdout + answer.stderr
        wait_for(self.all_run, what=lambda: f"all running: {self.supervised.processes()}\n{self.said()}")

    def up(self, *flags: str) -> Service:
        """`penstock up` on this set; not waited for."""
        args = ["-m", "penstock", "up", "--folder", str(self.config.parent), *flags]
        service = Service("up", args, self.env, self.folder)
        self._ups.append(service)
        service.launch()
        return service

    def supervisorctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("supervisor.supervisorctl", "-c", str(self.config), *args)

    def run(self, module: str, *args: str, timeout_s: float = RUN_S) -> subprocess.CompletedProcess[str]:
        # From another folder than the set's: a path that counts on the current one would show.
        return subprocess.run(
            [sys.executable, "-m", module, *args],
            cwd="/",
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def process(self, name: str) -> Process:
        return next(process for process in self.supervised.processes() if process.name == name)

    def all_run(self) -> bool:
        processes = self.supervised.processes()
        return bool(processes) and all(process.state == "RUNNING" for process in processes)

    def everybody(self) -> list[psutil.Process]:
        """supervisord and all that is below it, now."""
        pid = self.supervised.maybe_pid()
        return [] if pid is None else [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    def listening_ports(self) -> list[int]:
        """Every port on which a process of the set takes connections, now."""
        connections = [found for process in self.everybody() for found in process.net_connections("tcp")]
        return [found.laddr.port for found in connections if found.status == psutil.CONN_LISTEN]

    def end(self) -> None:
        """Whatever happened before: nothing of it runs any more."""
        for service in self._ups:
            service.end()
        remaining = self.everybody()
        if remaining:
            remaining[0].terminate()
        for stubborn in psutil.wait_procs(remaining, timeout=20)[1]:
            stubborn.kill()

    def said(self) -> str:
        """The processes' logs, for the message of a test that failed."""
        files = sorted(self.supervised.logs.glob("*.log"))
        return "\n".join(f"{file.name}:\n{''.join(self._logs.lines(file)[-20:])}" for file in files)


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; a dead one that nobody has asked for its exit code has."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def assert_nothing_left(processes: list[psutil.Process], ports: list[int]) -> None:
    """No process and no busy port, within the deadline."""
    wait_for(
        lambda: all(map(is_gone, processes)),
        what=lambda: f"gone: {[process for process in processes if not is_gone(process)]}",
    )
    # A process killed with several threads is seen dead a moment before the last one lets its sockets go.
    wait_for(
        lambda: not any(map(is_listening, ports)),
        what=lambda: f"free: {[port for port in ports if is_listening(port)]}",
    )


@contextmanager
def deployed(folder: Path, config: str = "supervisord.conf") -> Iterator[Deployed]:
    """A set on its own ports; all of it is ended after the block."""
    with reserved_ports(len(KNOWN)) as ports:
        the_set = Deployed(folder, ports, config)
        try:
            yield the_set
        finally:
            the_set.end()
