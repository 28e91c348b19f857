"""The set as supervisord runs it: what dies comes back, what is stopped leaves nothing."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from deploy.supervised import maybe_addresses
from tests.support.deployed import Deployed, assert_nothing_left, deployed
from tests.support.waiting import wait_for

ALL = ["broker", "demo", "gateway_00", "gateway_01", "system"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """One set for the tests that leave it as it was."""
    with deployed(tmp_path_factory.mktemp("set")) as the_set:
        the_set.start()
        yield the_set


def test_every_process_runs(running: Deployed) -> None:
    answer = running.supervisorctl("status")
    states = {line.split()[0].split(":")[-1]: line.split()[1] for line in answer.stdout.splitlines()}
    assert states == dict.fromkeys(ALL, "RUNNING")
    assert answer.returncode == 0


def test_only_the_user_may_talk_to_the_supervisor(running: Deployed) -> None:
    assert running.supervised.socket.stat().st_mode & 0o777 == 0o700


def test_each_process_logs_to_its_own_file(running: Deployed) -> None:
    for name in ALL:
        log = running.folder / "run" / "logs" / f"{name}.log"
        wait_for(partial(says_ready, log), what=f"the ready line in {log}")


def test_all_log_in_one_form(running: Deployed) -> None:
    form = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ level=[A-Z]+ (broker|gateway|producer)[\w.]* .+")
    for name in ALL:
        log = running.folder / "run" / "logs" / f"{name}.log"
        lines = [line for line in log.read_text().splitlines() if not line.startswith("ready ")]
        assert [line for line in lines if not form.fullmatch(line)] == [], name
        assert lines or not name.startswith("gateway")  # the others have nothing to say


def says_ready(log: Path) -> bool:
    return any(map(maybe_addresses, log.read_text().splitlines(keepends=True)))


@pytest.mark.parametrize("name", ALL)
def test_what_is_killed_comes_back(running: Deployed, name: str) -> None:
    before = running.process(name).pid
    others = {other: running.process(other).pid for other in ALL if other != name}
    os.kill(before, signal.SIGKILL)
    wait_for(
        lambda: running.process(name).pid not in (0, before) and running.all_run(),
        what=lambda: f"{name} back: {running.process(name)}\n{running.said()}",
    )
    assert {other: running.process(other).pid for other in others} == others


def test_a_stop_leaves_no_process_and_no_busy_port(tmp_path: Path) -> None:
    with deployed(tmp_path) as the_set:
        the_set.start()
        # Running, to supervisor, is not yet listening.
        wait_for(
            lambda: set(the_set.ports.values()) <= set(the_set.listening_ports()),
            what=lambda: f"{the_set.ports} taken: {the_set.listening_ports()}\n{the_set.said()}",
        )
        processes, ports = the_set.everybody(), the_set.listening_ports()
        assert len(processes) > len(ALL)
        assert the_set.supervisorctl("shutdown").returncode == 0
        assert_nothing_left(processes, ports)


def test_gateways_alone_run_against_a_broker_elsewhere(running: Deployed, tmp_path: Path) -> None:
    with deployed(tmp_path, "gateways.conf") as front:
        for name in ("FEED", "CONTROL"):
            front.env[f"PENSTOCK_GATEWAY__{name}"] = running.env[f"PENSTOCK_GATEWAY__{name}"]
        front.start()
        assert [process.name for process in front.supervised.processes()] == ["gateway_00", "gateway_01"]


@pytest.mark.parametrize("missing", ["PENSTOCK_GATEWAY__FEED", "PENSTOCK_GATEWAY__CONTROL"])
def test_gateways_alone_name_the_address_that_is_missing(tmp_path: Path, missing: str) -> None:
    with deployed(tmp_path, "gateways.conf") as front:
        del front.env[missing]
        answer = front.run("supervisor.supervisord", "-c", str(front.config))
        assert answer.returncode != 0
        assert f"ENV_{missing}" in answer.stdout + answer.stderr
