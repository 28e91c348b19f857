"""`penstock up`: the whole set in the foreground, and all of it gone when this process goes."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from configparser import RawConfigParser
from pathlib import Path

import psutil

from deploy.browser import open_page
from deploy.parent import end_with_parent
from deploy.ports import check_free
from deploy.supervised import Logs, Supervised, last_words, maybe_ready

FOLDER = Path(__file__).resolve().parent
READY_S = 60.0
STOP_S = 40.0  # above supervisord's stopwaitsecs for every priority together
LOOK_EVERY_S = 0.2


class CannotStart(Exception):
    """The set did not come up; the text says what failed and where to look."""


def up(
    folder: Path = FOLDER,
    gateways: int | None = None,
    demo: bool = True,
    *,
    ends_on_failure: bool = False,
    opens: bool = False,
) -> int:
    """Runs the set that `folder`/supervisord.conf describes until it is told to stop.

    Its logs and its socket lie in `run`, beside `folder`. Returns the exit code: 0 stopped by SIGTERM
    or by supervisorctl, 1 something failed, 130 interrupted.

    Args:
        ends_on_failure: also when supervisord has given up on one process of it.
        opens: the live page in a browser, once all is ready.

    Raises:
        AddressInUse, BadSetting: before anything was started.
    """
    config = folder / "supervisord.conf"
    if gateways is not None or not demo:
        config = _adapted(config, gateways, demo)
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    # Handlers only queue; the loops below act. SIGCHLD is among them to wake a loop at once.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda signum, _frame: told.put(signum))
    supervised = Supervised(config)
    if pid := supervised.maybe_pid():
        _say(f"already running (supervisord is pid {pid}): supervisorctl -c {config} shutdown stops it")
        return 1
    check_free(config, os.environ)
    logs = Logs(supervised.logs)
    supervisord = _start(config)
    try:
        if (code := _until_ready(supervisord, supervised, logs, told, opens=opens)) is None:
            code = _until_told(supervisord, supervised, logs, told, ends_on_failure=ends_on_failure)
    except CannotStart as error:
        _say(str(error))
        code = 1
    finally:
        _stop(supervisord, told)
    return code


def _adapted(config: Path, gateways: int | None, demo: bool) -> Path:
    """A copy in `run` with another number of gateways, or without the demo sources.

    `run` lies beside the folder of the original, so each `%(here)s/..` in it still means the same.
    """
    parser = RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(config)
    if gateways is not None:
        parser["program:gateway"]["numprocs"] = str(gateways)
    if not demo:
        parser.remove_section("program:demo")
        parser.remove_section("program:system")
    copy = config.parent.parent / "run" / "supervisord.conf"
    with copy.open("w") as file:
        parser.write(file)
    return copy


def _start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--silent", "-c", str(config)]
    # Its own process group: Ctrl-C reaches this process alone, which passes on one SIGTERM.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=end_with_parent)


def _until_ready(
    supervisord: subprocess.Popen[bytes],
    supervised: Supervised,
    logs: Logs,
    told: queue.SimpleQueue[int],
    *,
    opens: bool,
) -> int | None:
    """Prints the address once every process is ready and returns None; an exit code if told to stop.

    Raises:
        CannotStart: a process failed, or was not ready in time.
    """
    deadline = time.monotonic() + READY_S
    ready: dict[str, dict[str, str]] = {}
    while True:
        if supervisord.poll() is not None:
            raise CannotStart(f"supervisord ended with {supervisord.returncode}; see {supervised.logs}")
        processes = supervised.processes()
        for process in processes:
            if process.has_failed:
                raise CannotStart(f"{process.name} failed: {last_words(process, logs)}")
            if process.name not in ready and (addresses := maybe_ready(process, logs)):
                ready[process.name] = addresses
        if processes and all(process.name in ready for process in processes):
            urls = [addresses["url"] for addresses in ready.values() if "url" in addresses]
            print(f"Penstock is ready: {urls[0] if urls else 'without a gateway'}", flush=True)
            _say("Ctrl-C stops it")
            if opens and urls:
                open_page(urls[0], _say)
            return None
        if time.monotonic() > deadline:
            late = ", ".join(process.name for process in processes if process.name not in ready)
            raise CannotStart(f"not ready within {READY_S:g} s: {late}; see {supervised.logs}")
        if (code := _maybe_told(told, LOOK_EVERY_S)) is not None:
            return code


def _until_told(
    supervisord: subprocess.Popen[bytes],
    supervised: Supervised,
    logs: Logs,
    told: queue.SimpleQueue[int],
    *,
    ends_on_failure: bool,
) -> int:
    """The exit code, once a signal came or supervisord ended. What it gives up on meanwhile is told."""
    failed: set[str] = set()
    while supervisord.poll() is None:
        if (code := _maybe_told(told, 1.0)) is not None:
            return code
        now = {process.name: process for process in supervised.processes() if process.state == "FATAL"}
        for name in now.keys() - failed:
            _say(f"{name} does not stay up, and is not started again: {last_words(now[name], logs)}")
        failed = set(now)
        if failed and ends_on_failure:
            return 1
    if supervisord.returncode:
        _say(f"supervisord ended with {supervisord.returncode}")
    return 1 if supervisord.returncode else 0


def _maybe_told(told: queue.SimpleQueue[int], timeout_s: float) -> int | None:
    """The exit code that a signal asks for; None after `timeout_s`, or when only a child changed."""
    try:
        number = told.get(timeout=timeout_s)
    except queue.Empty:
        return None
    return {signal.SIGINT: 130, signal.SIGCHLD: None}.get(signal.Signals(number), 0)


def _stop(supervisord: subprocess.Popen[bytes], told: queue.SimpleQueue[int]) -> None:
    """Ends all: asked first, by force at a second Ctrl-C or when it takes too long."""
    if supervisord.poll() is not None:
        return
    _say("stopping")
    supervisord.terminate()
    deadline = time.monotonic() + STOP_S
    while supervisord.poll() is None:
        if _maybe_told(told, LOOK_EVERY_S) == 130 or time.monotonic() > deadline:
            _kill(supervisord.pid)
            supervisord.wait()


def _kill(pid: int) -> None:
    """That process and all below it, at once."""
    parent = psutil.Process(pid)
    children = parent.children(recursive=True)
    parent.kill()  # first: it would start the others again
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def _say(text: str) -> None:
    print(f"penstock: {text}", file=sys.stderr, flush=True)
