"""`penstock log`: check, back up and restore a log.

As in penstock.py nothing heavy is imported before a subcommand runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from broker.verify import Report

EXIT_DAMAGED = 1


@click.group("log")
def log_tools() -> None:
    """Check, back up and restore the broker's log.

    \b
    Example:
      penstock log verify
      penstock log backup /backups/penstock.db
      penstock log restore /backups/penstock.db --force
    """


def _with_log(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--log",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The log.  [default: the broker's setting]",
    )(command)


@log_tools.command("verify")
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def log_verify(path: Path | None, is_json: bool) -> None:
    """Read all of a log or a backup, and say what is damaged.

    Also while a broker runs on it. Exits with 0 if it is sound, with 1 if it is not.

    \b
    Example:
      penstock log verify
      penstock log verify /backups/penstock.db --json
    """
    from broker.verify import verify

    with _progress("verify") as progress:
        report = verify(path or _log_path(), progress)
    _say(report, is_json)
    sys.exit(0 if report.is_sound else EXIT_DAMAGED)


@log_tools.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@_with_log
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def log_backup(file: Path, path: Path | None, is_json: bool) -> None:
    """Copy the log as it is now to FILE, also while a broker runs.

    FILE is whole and checked when it is there. Exits with 1 if there is damage, which is copied as it is.

    \b
    Example:
      penstock log backup /backups/penstock-$(date +%F).db
    """
    from broker.backup import backup

    with _progress("backup") as progress:
        report = backup(path or _log_path(), file, progress)
    _say(report, is_json)
    sys.exit(0 if report.is_sound else EXIT_DAMAGED)


@log_tools.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@_with_log
@click.option("--force", "is_forced", is_flag=True, help="Over a log that is there; from a damaged backup.")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def log_restore(file: Path, path: Path | None, is_forced: bool, is_json: bool) -> None:
    """Put a backup where the broker opens its log. The broker must be stopped.

    A log that is there is kept, as <log>.before-restore. The broker begins a new epoch, and clients are
    told so.

    \b
    Example:
      penstock log restore /backups/penstock.db --force
    """
    from broker.backup import restore

    _say(restore(path or _log_path(), file, is_forced=is_forced), is_json)


def _log_path() -> Path:
    """Where the broker that is started here has its log. Raises BadSetting."""
    from broker.settings import BrokerSettings, load

    return Path(load(BrokerSettings, "broker", env=os.environ).log)


def _say(report: Report, is_json: bool) -> None:
    import msgspec

    if is_json:
        shown = {"sound": report.is_sound, **msgspec.structs.asdict(report)}
        click.echo(msgspec.json.format(msgspec.json.encode(shown)))
    else:
        click.echo("\n".join(report.lines()))


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal."""
    is_shown = sys.stderr.isatty()
    with click.progressbar(length=1_000, label=label, file=sys.stderr, hidden=not is_shown) as bar:
        yield lambda done, of: bar.update(done * 1_000 // max(of, 1) - bar.pos)
