"""Real processes for tests: on ports the kernel picks, waited for by their ready line, always ended.

    with broker(tmp_path) as running, gateway(tmp_path, running) as front:
        running.kill()      # as kill -9
        running.start()     # again, on the same ports
        front.address["url"]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from deploy.parent import end_with_parent
from deploy.supervised import maybe_addresses
from tests.support.waiting import wait_for

REPO = Path(__file__).resolve().parents[2]
STOP_S = 20.0
CLOSE_S = 10.0
_serial = count()


class Service:
    """One of our programs; `address` holds what its newest ready line says.

    `args` are Python's (`-m broker`).
    """

    def __init__(self, name: str, args: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.args = list(args)
        self.env = dict(env)
        self.folder = folder
        self.address: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._stdout = self._stderr = folder / "unstarted"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Returns once it is ready. Raises AssertionError, with its stderr, if that does not come."""
        self.launch()
        self.await_ready()

    def await_ready(self) -> None:
        """After `launch`. Raises AssertionError as `start` does."""
        self.address = wait_for(self._maybe_address, what=lambda: f"{self.name} ready\n{self.stderr()}")

    def launch(self) -> None:
        """Starts it and does not wait: for those that are meant to fail, or to start with others."""
        assert self._process is None or self._process.poll() is not None, f"{self.name} runs already"
        # Files rather than pipes: nobody has to read on for the process to go on.
        stem = f"{self.name}-{next(_serial)}"
        self._stdout, self._stderr = self.folder / f"{stem}.out", self.folder / f"{stem}.err"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, *self.args],
                cwd=self.folder,
                env=environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=end_with_parent,
            )

    def kill(self) -> None:
        """As kill -9 does. Returns when it is gone."""
        self._signal(signal.SIGKILL)

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Asks it to stop; its exit code."""
        return self._signal(signum)

    def wait(self) -> int:
        """Its exit code, once it ends by itself."""
        assert self._process is not None
        return self._process.wait(STOP_S)

    def stdout(self) -> str:
        return self._stdout.read_text(errors="replace")

    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    def end(self) -> None:
        """Whatever happened before: it does not run any more."""
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, signum: int) -> int:
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(signum)
        return self._process.wait(STOP_S)

    def _maybe_address(self) -> dict[str, str] | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self._process.returncode}\n{self.stderr()}")
        return next(filter(None, map(maybe_addresses, self.stdout().splitlines(keepends=True))), None)


class Broker(Service):
    """`address`: ingest, push, control, feed (tcp://...) and admin (http://...)."""

    def start(self) -> None:
        super().start()
        # Whatever was picked is kept: who talks to it finds it again after a restart.
        for port in ("ingest", "push", "control", "feed"):
            self.env[f"PENSTOCK_BROKER__{port.upper()}"] = self.address[port]
        self.env["PENSTOCK_BROKER__ADMIN"] = self.address["admin"].removeprefix("http://")


class Gateway(Service):
    """`address`: url (the shared port), own and admin (http://...), feed (tcp://...)."""

    def start(self) -> None:
        super().start()
        for setting, name in (("PORT", "url"), ("OWN_PORT", "own"), ("ADMIN_PORT", "admin")):
            self.env[f"PENSTOCK_GATEWAY__{setting}"] = self.address[name].rsplit(":", 1)[1]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What a process under test gets: nobody's own settings, our code wherever it stands."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PENSTOCK_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1", **extra}


def broker_environment(folder: Path) -> dict[str, str]:
    """Every port picked by the kernel, the log in `folder`."""
    ports = {name: "tcp://127.0.0.1:*" for name in ("ingest", "push", "control", "feed")}
    return _named("BROKER", {**ports, "admin": "127.0.0.1:0", "log": folder / "log.db"})


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """Started and ready in the block, ended after it."""
    try:
        service.start()
        yield service
    finally:
        service.end()


@contextmanager
def broker(folder: Path, **settings: object) -> Iterator[Broker]:
    """A broker; `settings` by their names in lower case (`durability="memory"`)."""
    env = {**broker_environment(folder), **_named("BROKER", settings)}
    service = Broker("broker", ["-m", "broker"], env, folder)
    with running(service):
        yield service


@contextmanager
def gateway(folder: Path, to: Broker, number: int = 0, **settings: object) -> Iterator[Gateway]:
    """A gateway of that broker; `port=` of another one makes them share it."""
    own = {"number": number, "port": 0, "own_port": 0, "admin_port": 0}
    links = {"feed": to.address["feed"], "control": to.address["control"]}
    env = _named("GATEWAY", {**own, **links, **settings})
    service = Gateway(f"gateway-{number}", ["-m", "gateway"], env, folder)
    with running(service):
        yield service


@contextmanager
def two_gateways(folder: Path, to: Broker, **settings: Any) -> Iterator[tuple[Gateway, Gateway]]:
    """Of one set: they share a port."""
    with gateway(folder, to, **settings) as first:
        port = first.address["url"].rsplit(":", 1)[1]
        with gateway(folder, to, number=1, port=port, **settings) as second:
            yield first, second


def end_with_input(process: subprocess.Popen[str]) -> None:
    """For programs that end with their stdin: it is closed, and whoever goes on all the same is killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(CLOSE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _named(section: str, settings: Mapping[str, object]) -> dict[str, str]:
    return {f"PENSTOCK_{section}__{name.upper()}": str(value) for name, value in settings.items()}
