"""The examples of docs/producers.md beyond the README's: who watches, and events on the command line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import PRODUCERS, SUBSCRIBERS, blocks, lines
from tests.support.examples import reading, wait_printed, with_addresses
from tests.support.log import logged
from tests.support.processes import REPO, Broker, environment
from tests.support.processes import broker as running_broker
from tests.support.waiting import DEADLINE_S, wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=10_000) as service:
        yield service


def test_a_producer_that_asks_who_watches(broker: Broker, tmp_path: Path) -> None:
    (code,) = blocks(PRODUCERS, "python", "Work that nobody watches")
    with reading([sys.executable, "-c", with_addresses(code, broker)], tmp_path):
        wait_for(lambda: logged(broker.address["control"], "room/temperature"), what="an event")


def test_events_on_the_command_line(broker: Broker, tmp_path: Path) -> None:
    (told,) = [line for line in lines(PRODUCERS, "sh") if line.startswith("penstock pub ")]
    listening, *_ = [line for line in lines(SUBSCRIBERS, "sh") if line.startswith("penstock sub ")]
    names = ("ingest", "push", "feed", "control")
    env = environment({f"PENSTOCK_PRODUCER__{name.upper()}": broker.address[name] for name in names})
    published = subprocess.run(
        ["sh", "-c", told], cwd=REPO, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert re.fullmatch(r"[0-9a-f]{16}\.1\n", published.stdout)
    out = tmp_path / "sub.out"
    with (
        out.open("wb") as to,
        subprocess.Popen(shlex.split(listening, comments=True), env=env, stdout=to) as sub,
    ):
        try:
            wait_printed(out, 'room/temperature {"celsius": 20.5}')
        finally:
            sub.kill()
