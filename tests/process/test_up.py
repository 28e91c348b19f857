"""`penstock up`: everything with one command, and nothing left after it."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.supervised import Logs, Process, Supervised
from deploy.up import _until_told
from tests.support.deployed import Deployed, assert_nothing_left, deployed
from tests.support.processes import REPO, Service
from tests.support.waiting import wait_for


@pytest.fixture
def the_set(tmp_path: Path) -> Iterator[Deployed]:
    with deployed(tmp_path) as the_set:
        yield the_set


def ready(the_set: Deployed, *flags: str) -> Service:
    """`penstock up`, once it has said so."""
    service = the_set.up(*flags)
    line = f"Penstock is ready: {the_set.url}\n"
    wait_for(
        lambda: line in service.stdout(),
        what=lambda: f"{line}{service.stdout()}{service.stderr()}{the_set.said()}",
    )
    return service


def test_it_says_the_url_serves_it_and_ctrl_c_ends_it_all(the_set: Deployed) -> None:
    up = ready(the_set)
    processes, ports = the_set.everybody(), the_set.listening_ports()
    with urllib.request.urlopen(the_set.url, timeout=10) as page:
        assert page.status == 200

    second = the_set.up()
    assert second.wait() == 1
    assert "already running" in second.stderr()

    assert up.stop(signal.SIGINT) == 130
    assert_nothing_left(processes, ports)


def test_it_leaves_nothing_when_it_is_killed(the_set: Deployed) -> None:
    up = ready(the_set, "--gateways", "1", "--no-demo")
    names = [process.name for process in the_set.supervised.processes()]
    assert names == ["broker", "gateway_00"]
    processes, ports = the_set.everybody(), the_set.listening_ports()
    up.kill()
    assert_nothing_left(processes, ports)


def test_a_second_ctrl_c_does_not_wait_for_a_process_that_hangs(the_set: Deployed) -> None:
    # Far above what the test waits for: only force ends it in time.
    the_set.config.write_text(the_set.config.read_text().replace("stopwaitsecs=15", "stopwaitsecs=600"))
    up = ready(the_set, "--gateways", "1", "--no-demo")
    processes, ports = the_set.everybody(), the_set.listening_ports()
    os.kill(the_set.process("broker").pid, signal.SIGSTOP)
    os.kill(up.pid, signal.SIGINT)
    wait_for(lambda: "stopping" in up.stderr(), what="the first Ctrl-C noticed")
    assert up.stop(signal.SIGINT) == 130
    assert_nothing_left(processes, ports)


def browser(the_set: Deployed, script: str) -> None:
    """What `--open` finds for a browser, and nothing else."""
    program = the_set.folder / "browser"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    # No screen and no terminal, so that no other one is tried.
    the_set.env |= {"BROWSER": str(program), "DISPLAY": "", "WAYLAND_DISPLAY": "", "TERM": ""}


def test_it_opens_the_page_once_it_is_ready_and_does_not_wait_for_the_browser(the_set: Deployed) -> None:
    opened = the_set.folder / "opened"
    browser(the_set, f'echo "$$ $1" > {opened}.new && mv {opened}.new {opened}; exec sleep 60')
    up = ready(the_set, "--gateways", "1", "--no-demo", "--open")
    wait_for(opened.is_file, what=lambda: f"a browser\n{up.stderr()}")
    pid, url = opened.read_text().split()
    try:
        assert url == the_set.url
        assert f"opening {url} in a browser" in up.stderr()
        with urllib.request.urlopen(url, timeout=10) as page:
            assert page.status == 200
        assert up.stop() == 0
        assert psutil.pid_exists(int(pid)), "it stays when the set has ended"
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_no_browser_is_told_and_the_set_goes_on(the_set: Deployed) -> None:
    browser(the_set, "exit 1")
    up = ready(the_set, "--gateways", "1", "--no-demo", "--open")
    told = f"no browser could be opened: open {the_set.url} yourself"
    wait_for(lambda: told in up.stderr(), what=lambda: f"{told}\n{up.stderr()}")
    wait_for(the_set.all_run, what=the_set.said)
    assert up.stop() == 0


@pytest.mark.parametrize(
    ("setting", "form"),
    [
        pytest.param("PENSTOCK_BROKER__FEED", "tcp://127.0.0.1:{}", id="the feed"),
        pytest.param("PENSTOCK_BROKER__INGEST", "tcp://*:{}", id="the ingest, on all interfaces"),
        pytest.param("PENSTOCK_BROKER__ADMIN", "127.0.0.1:{}", id="the broker's health"),
        pytest.param("PENSTOCK_GATEWAY__PORT", "{}", id="the page"),
        pytest.param("PENSTOCK_GATEWAY__OWN_PORT", "{}", id="a gateway's own"),
    ],
)
def test_a_busy_port_is_named_and_nothing_is_started(the_set: Deployed, setting: str, form: str) -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        busy = form.format(somebody.getsockname()[1])
        the_set.env[setting] = busy
        up = the_set.up()
        assert up.wait() == 1
    (line,) = up.stderr().splitlines()
    assert f"{busy} is in use" in line and setting in line
    assert not list(the_set.supervised.logs.glob("*.log"))


def test_a_wrong_setting_is_named_and_nothing_is_started(the_set: Deployed) -> None:
    (the_set.folder / "penstock.toml").write_text("[broker]\nfeet = 1\n")
    up = the_set.up()
    assert up.wait() == 78
    assert "penstock.toml:2, [broker] feet: no such setting: did you mean feed?" in up.stderr()
    assert not list(the_set.supervised.logs.glob("*.log"))


def test_a_process_that_fails_is_named_with_its_log_and_nothing_stays(the_set: Deployed) -> None:
    # What only the process itself finds out.
    (the_set.folder / "run" / "penstock.log.db").write_text("not a log of ours, by far")
    up = the_set.up()
    assert up.wait() == 1
    assert "is not a Penstock log" in up.stderr() and "broker.log" in up.stderr()
    assert the_set.everybody() == []


def test_a_process_that_does_not_stay_up_is_told_and_takes_nobody_down(the_set: Deployed) -> None:
    broken = the_set.folder / "run" / "broken"
    script = f"test -e {broken} && echo it is broken && exit 1; echo ready demo; exec sleep 600"
    config = the_set.config.read_text().replace("startretries=30", "startretries=1")
    the_set.config.write_text(config.replace("command=penstock demo", f"command=sh -c '{script}'"))
    up = ready(the_set, "--gateways", "1")
    others = {name: the_set.process(name).pid for name in ("broker", "gateway_00", "system")}
    broken.touch()
    os.kill(the_set.process("demo").pid, signal.SIGKILL)
    wait_for(lambda: "demo does not stay up" in up.stderr(), what=up.stderr)
    assert "it is broken" in up.stderr() and "demo.log" in up.stderr()
    answer = the_set.supervisorctl("status", "demo")
    assert (answer.returncode, answer.stdout.split()[1]) == (3, "FATAL")
    assert {name: the_set.process(name).pid for name in others} == others

    broken.unlink()
    assert the_set.supervisorctl("start", "demo").returncode == 0
    assert the_set.supervisorctl("status").returncode == 0


class Failing(Supervised):
    """Of one process that does not stay up."""

    def processes(self) -> list[Process]:
        return [Process("demo", "demo", "FATAL", 0, self.logs / "demo.log", "exited too quickly")]


@pytest.mark.parametrize(
    ("ends_on_failure", "code"),
    [pytest.param(True, 1, id="one is enough"), pytest.param(False, 130, id="others go on")],
)
def test_what_a_failure_ends(capsys: pytest.CaptureFixture[str], *, ends_on_failure: bool, code: int) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGCHLD, signal.SIGCHLD, signal.SIGINT):
        told.put(number)
    supervised = Failing(REPO / "deploy" / "supervisord.conf")
    with subprocess.Popen(["sleep", "60"]) as supervisord:
        found = _until_told(
            supervisord, supervised, Logs(supervised.logs), told, ends_on_failure=ends_on_failure
        )
        supervisord.kill()
    assert found == code
    assert capsys.readouterr().err.count("demo does not stay up, and is not started again") == 1
