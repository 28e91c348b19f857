"""The command line: help with an example for everything, and the exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import penstock
from broker.errors import BadSetting, ControlTimeout, PenstockError
from deploy.load.errors import Unreachable
from tests.support.processes import REPO


def names(group: click.Group, before: str = "") -> Iterator[str]:
    """Of all commands, those of groups too: `log verify`."""
    for name, command in sorted(group.commands.items()):
        yield before + name
        if isinstance(command, click.Group):
            yield from names(command, f"{before}{name} ")


@pytest.mark.parametrize("name", list(names(penstock.cli)))
def test_every_subcommand_shows_an_example(name: str) -> None:
    answer = CliRunner().invoke(penstock.cli, [*name.split(), "--help"])
    assert answer.exit_code == 0
    assert f"penstock {name}" in answer.output.partition("Example:")[2]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        pytest.param(["nonsense"], "nonsense", id="no such subcommand"),
        pytest.param(["up", "--gateways", "0"], "--gateways", id="out of range"),
        pytest.param(["up", "--folder", "/nowhere"], "/nowhere", id="no such folder"),
        pytest.param(["gateway", "--port", "http"], "--port", id="not a number"),
        pytest.param(["bench", "--clients", "10001"], "--clients", id="more than a bench puts on"),
        pytest.param(["bench", "--only", "nothing"], "--only", id="no such part"),
        pytest.param(["log", "backup"], "FILE", id="a backup without a file"),
    ],
)
def test_a_wrong_use_is_named(args: list[str], named: str) -> None:
    answer = CliRunner().invoke(penstock.cli, args)
    assert answer.exit_code == 2
    assert named in answer.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(BadSetting("port: 70000 is over 65535"), 78, id="bad setting"),
        pytest.param(ControlTimeout("tcp://127.0.0.1:5557", 2.0), 69, id="broker out of reach"),
        pytest.param(Unreachable("gateway", "http://here", "--url"), 69, id="nobody to measure"),
        pytest.param(PenstockError("the log is held"), 1, id="any other of ours"),
        pytest.param(KeyboardInterrupt(), 130, id="interrupted"),
        pytest.param(click.UsageError("no"), 2, id="usage"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setitem(penstock.cli.commands, "fail", click.Command("fail", callback=fail))
    monkeypatch.setattr(sys, "argv", ["penstock", "fail"])
    with pytest.raises(SystemExit) as end:
        penstock.main()
    assert end.value.code == code
    if isinstance(error, PenstockError):
        assert capsys.readouterr().err == f"penstock: {error}\n"


def test_nothing_heavy_is_imported_for_the_help() -> None:
    heavy = "{'gevent', 'psutil', 'supervisor', 'zmq'}"
    command = [sys.executable, "-c", f"import sys, penstock; print(*sorted({heavy} & set(sys.modules)))"]
    assert subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, check=True).stdout == b"\n"
