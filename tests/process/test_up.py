"""`penstock up`: everything with one command, and nothing left after it."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployed import Deployed, assert_nothing_left, deployed
from tests.support.processes import Service
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
