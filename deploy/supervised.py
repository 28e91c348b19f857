"""What a running supervisord says of its processes, and what these say in their logs."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from configparser import RawConfigParser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

# The unit in which a log's end is read: a ready line or an error is within it.
TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the set, as supervisord sees it."""

    name: str
    group: str
    state: str  # STARTING, RUNNING, BACKOFF, STOPPING, STOPPED, EXITED, FATAL, UNKNOWN
    pid: int  # 0 while it does not run
    log: Path
    why: str  # supervisord's own words on a process that did not start, else empty

    @property
    def has_failed(self) -> bool:
        return self.state in ("BACKOFF", "EXITED", "FATAL", "UNKNOWN")


class Supervised:
    """The set that `config`, a supervisord configuration, describes; running or not."""

    def __init__(self, config: Path) -> None:
        parser = RawConfigParser(inline_comment_prefixes=(";",))
        parser.read(config)
        here = str(config.parent.resolve())
        self.socket = Path(parser["unix_http_server"]["file"].replace("%(here)s", here)).resolve()
        self.logs = Path(parser["supervisord"]["logfile"].replace("%(here)s", here)).resolve().parent

    def maybe_pid(self) -> int | None:
        """Of the supervisord that listens on this set's socket; None when there is none."""
        answer = self._ask("getPID")
        return None if answer is None else int(answer)

    def processes(self) -> list[Process]:
        """Empty while supervisord does not listen yet, or no more."""
        return [
            Process(
                name=info["name"],
                group=info["group"],
                state=info["statename"],
                pid=info["pid"],
                log=Path(info["stdout_logfile"]).resolve(),
                why=info["spawnerr"],
            )
            for info in self._ask("getAllProcessInfo") or []
        ]

    def in_order(self) -> list[Process]:
        """Those that are not meant to stand still, in the order in which they are started."""
        ranks = {
            (info["group"], info["name"]): (info["group_prio"], info["process_prio"])
            for info in self._ask("getAllConfigInfo") or []
        }
        running = [process for process in self.processes() if process.state not in ("STOPPED", "EXITED")]
        return sorted(
            running, key=lambda process: (ranks.get((process.group, process.name), ()), process.name)
        )

    def stop(self, process: Process) -> None:
        """Returns when it has ended; at once if it does not run.

        Raises OSError, HTTPException if supervisord is gone, as `start` does.
        """
        with suppress(Fault):
            self._call("stopProcess", f"{process.group}:{process.name}")

    def start(self, process: Process) -> None:
        """Returns when it runs, to supervisord, or has failed to."""
        with suppress(Fault):
            self._call("startProcess", f"{process.group}:{process.name}")

    def _ask(self, method: str) -> Any:
        try:
            return self._call(method)
        except (OSError, http.client.HTTPException, Fault):
            return None

    def _call(self, method: str, *args: str) -> Any:
        # A new connection each time: it is asked a few times a second for a few seconds.
        proxy: Any = ServerProxy(
            "http://localhost", transport=SupervisorTransport(serverurl=f"unix://{self.socket}")
        )
        try:
            return getattr(proxy.supervisor, method)(*args)
        finally:
            proxy("close")()


class Logs:
    """The processes' logs from now on: what earlier runs wrote in the same files does not count."""

    def __init__(self, folder: Path) -> None:
        self._from = {path.resolve(): path.stat().st_size for path in folder.glob("*.log")}

    def lines(self, path: Path) -> list[str]:
        """The newest lines with their ends, at most TAIL_BYTES. Empty when there is no file yet."""
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                start = self._from.get(path, 0)
                # Smaller than it was: it has been rotated, and all of it is new.
                start = 0 if size < start else start
                file.seek(max(start, size - TAIL_BYTES))
                return file.read().decode(errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return []

    def maybe_ready(self, path: Path) -> dict[str, str] | None:
        """The addresses in the process's newest ready line, None while it has not said one."""
        return next(filter(None, map(maybe_addresses, reversed(self.lines(path)))), None)


def maybe_ready(process: Process, logs: Logs) -> dict[str, str] | None:
    """Its addresses, once it has said that it is ready and says so on /readyz, where it has that."""
    addresses = logs.maybe_ready(process.log)
    if addresses is None or ("admin" in addresses and not is_ready(addresses["admin"])):
        return None
    return addresses


def last_words(process: Process, logs: Logs) -> str:
    """Why it does not run, as far as anybody has said."""
    said = [line.strip() for line in logs.lines(process.log) if line.strip()]
    return f"{said[-1] if said else process.why}\n  its log: {process.log}"


def maybe_addresses(line: str) -> dict[str, str] | None:
    """What a ready line says, by name; None for any other line.

    `ready gateway[00] http://127.0.0.1:8000 own=http://127.0.0.1:8101 ...`: the first word stands
    under `process`, one without a name under `url`.
    """
    words = line.split()
    if len(words) < 2 or words[0] != "ready" or not line.endswith("\n"):
        return None
    addresses = {"process": words[1]}
    for word in words[2:]:
        name, equals, value = word.partition("=")
        addresses[name if equals else "url"] = value if equals else word
    return addresses


def is_ready(admin: str) -> bool:
    """Whether the process at that admin address says so on /readyz."""
    try:
        with urllib.request.urlopen(f"{admin}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False
