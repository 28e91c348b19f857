"""`make clean`: what it leaves, and when it does nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import REPO

EVENTS = {"penstock.log.db", "penstock.log.db-wal", "penstock.log.db.lock"}
LOGS = {"supervisord.conf", "logs/broker.log"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What has been run in, and nothing that is worth keeping but its events."""
    shutil.copy(REPO / "Makefile", tmp_path)
    for name in ("run/logs/.gitignore", "run/.gitignore", *(f"run/{name}" for name in EVENTS | LOGS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def clean(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "clean"], cwd=project, capture_output=True, text=True, timeout=30)


def left(project: Path) -> set[str]:
    run = project / "run"
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name[0] != "."}


def test_the_event_log_stays(project: Path) -> None:
    (project / "run" / "supervisord.pid").write_text("4194305\n")  # beyond the largest pid there can be
    answer = clean(project)
    assert answer.returncode == 0, answer.stderr
    assert left(project) == EVENTS
    assert (project / "run" / "logs" / ".gitignore").is_file()


def test_nothing_is_taken_from_a_set_that_runs(project: Path) -> None:
    (project / "run" / "supervisord.pid").write_text(f"{os.getpid()}\n")
    answer = clean(project)
    assert answer.returncode != 0
    assert f"supervisord is pid {os.getpid()}" in answer.stdout
    assert left(project) == EVENTS | LOGS | {"supervisord.pid"}
