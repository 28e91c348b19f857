"""`penstock log`: checked and copied while a broker runs, put back while none does."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker.wire import Position
from tests.support.docs import OPERATING, lines
from tests.support.log import logged, status
from tests.support.ports import reserved_ports
from tests.support.processes import REPO, Broker, environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push, stream
from tests.support.waiting import wait_for
from tests.support.websocket import Client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    names = ("ingest", "push", "control", "feed")
    with reserved_ports(5) as (admin, *ports):
        # Nobody else takes them while it is stopped.
        places = {name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
        with running_broker(tmp_path, keep_events=100_000, admin=f"127.0.0.1:{admin}", **places) as service:
            yield service


def penstock(*args: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`penstock log ...`, with the log that the broker of this folder has."""
    env = environment({"PENSTOCK_BROKER__LOG": str(folder / "log.db")})
    command = [sys.executable, str(REPO / "penstock.py"), "log", *map(str, args)]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)


def report(found: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(found.stdout)
    return shown


def push_and_wait(broker: Broker, topic: str, count: int) -> None:
    before = status(broker.address["control"]).logged
    push(broker.address["push"], numbered(topic, range(count)))
    wait_for(lambda: status(broker.address["control"]).logged == before + count, what="all logged")


def test_a_log_is_checked_and_copied_while_its_broker_writes(tmp_path: Path, broker: Broker) -> None:
    with stream(broker.address["ingest"], "load/a", "load/b"):
        wait_for(lambda: status(broker.address["control"]).logged > 100, what="events")
        verified = penstock("verify", "--json", folder=tmp_path)
        assert (verified.returncode, verified.stderr) == (0, "")
        assert report(verified)["sound"] is True
        backed_up = penstock("backup", "copy.db", "--json", folder=tmp_path)
        assert (backed_up.returncode, backed_up.stderr) == (0, "")
    copied = report(backed_up)
    assert report(verified)["events"] <= copied["events"] <= status(broker.address["control"]).logged
    # One file, that is whole.
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]
    again = penstock("verify", "copy.db", folder=tmp_path)
    assert again.returncode == 0
    assert again.stdout == f"sound log=copy.db epoch={copied['epoch']} " + (
        f"head={copied['head']} oldest=1 events={copied['events']} topics=2 "
        f"bytes={copied['log_bytes']} producers=0 keys=0 kept=0\n"
    )
    assert penstock("backup", "copy.db", folder=tmp_path).returncode == 1


def test_a_backup_put_back_begins_a_new_epoch_and_clients_are_told(tmp_path: Path, broker: Broker) -> None:
    with running_gateway(tmp_path, broker) as gateway, Client() as client:
        push_and_wait(broker, "a", 10)
        assert penstock("backup", "copy.db", folder=tmp_path).returncode == 0
        push_and_wait(broker, "a", 5)
        client.connect(gateway.address["url"])
        followed = client.subscribe("a", history=1)
        before = client.position
        assert before is not None and before.seq == 15

        held = penstock("restore", "copy.db", "--force", folder=tmp_path)
        assert held.returncode == 1
        assert f"held by process {broker.pid}" in held.stderr
        broker.stop()
        there = penstock("restore", "copy.db", folder=tmp_path)
        assert there.returncode == 1
        assert "--force" in there.stderr
        assert penstock("restore", "copy.db", "--force", folder=tmp_path).returncode == 0
        assert (tmp_path / "log.db.before-restore").exists()
        broker.start()
        push(broker.address["push"], numbered("a", [100]))
        client.read_more(followed, 1)
        (gap,) = client.gaps
        assert (gap["cause"], gap["after"]) == ("epoch", str(before))
        assert followed.events[-1].epoch != before.epoch
        kept = [event.payload for event in logged(broker.address["control"], "a")]
        assert kept == [b'{"n": %d}' % n for n in [*range(10), 100]]
        # Who comes back with a position of the log that was is told as well.
        with Client() as late:
            late.connect(gateway.address["url"])
            resumed = late.subscribe("a", since=str(Position(before.epoch, 12)))
            assert resumed.ok is not None and resumed.ok["recovered"] is False
            assert [gap["cause"] for gap in late.gaps] == ["epoch"]
        # The log that was is there, and whole.
        assert report(penstock("verify", "log.db.before-restore", "--json", folder=tmp_path))["events"] == 15


def test_damage_is_one_line_with_its_range_and_an_exit_code(tmp_path: Path, broker: Broker) -> None:
    for count in (3, 4, 5):
        push_and_wait(broker, "a", count)
    broker.stop()
    with closing(sqlite3.connect(tmp_path / "log.db")) as db, db:
        first, last, body = db.execute("SELECT first, last, body FROM chunks ORDER BY first DESC").fetchone()
        db.execute("UPDATE chunks SET body = ? WHERE first = ?", (body[:-1] + b"?", first))
    found = penstock("verify", folder=tmp_path)
    assert found.returncode == 1
    assert found.stdout.splitlines()[0] == f"damaged first={first} last={last} why=body"
    assert found.stdout.splitlines()[-1].startswith("damaged log=")
    # It is copied as it is, and put back only by who insists.
    assert penstock("backup", "copy.db", folder=tmp_path).returncode == 1
    (tmp_path / "log.db").unlink()
    refused = penstock("restore", "copy.db", folder=tmp_path)
    assert (refused.returncode, f"first={first}" in refused.stderr) == (1, True)
    assert penstock("restore", "copy.db", "--force", folder=tmp_path).returncode == 0
    broker.start()
    assert len(logged(broker.address["control"], "a")) == 12 - (last - first + 1)


def test_the_commands_of_the_docs(tmp_path: Path, broker: Broker) -> None:
    push_and_wait(broker, "a", 3)
    env = environment({"PENSTOCK_BROKER__LOG": str(tmp_path / "log.db")})
    (tmp_path / "backups").mkdir()
    told = lines(OPERATING, "sh", "Backup, and what to do with damage")
    assert [line.split()[:3] for line in told if line.startswith("penstock")] == [
        ["penstock", "log", command] for command in ("backup", "verify", "restore")
    ]
    for line in told:
        if line.startswith("supervisorctl"):
            broker.start() if "start" in line.split() else broker.stop()
            continue
        command = line.replace("/backups", str(tmp_path / "backups")).replace("2026-11-25", "$(date +%F)")
        subprocess.run(["sh", "-c", command], env=env, cwd=tmp_path, check=True, capture_output=True)
    assert len(logged(broker.address["control"], "a")) == 3
    assert "new epoch=" in broker.stderr()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["verify"], "there is no log at", id="no log"),
        pytest.param(["verify", "text"], "is not a Penstock log", id="another file"),
        pytest.param(["backup", "copy.db"], "there is no log at", id="nothing to copy"),
        pytest.param(["restore", "text"], "is not a Penstock log", id="not a backup"),
        pytest.param(["restore", "none"], "there is no log at", id="no backup"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, args: list[str], said: str) -> None:
    (tmp_path / "text").write_text("no database at all" * 100)
    found = penstock(*args, folder=tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith("penstock: ") and said in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "log.db").exists()


def test_a_bad_setting_is_one(tmp_path: Path) -> None:
    env = environment({"PENSTOCK_BROKER__LOGG": "x"})
    command = [sys.executable, str(REPO / "penstock.py"), "log", "verify"]
    assert subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=False).returncode == 78


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, broker: Broker) -> None:
    found = penstock("backup", tmp_path / "nowhere" / "copy.db", folder=tmp_path)
    assert found.returncode == 1
    assert "nowhere" in found.stderr
