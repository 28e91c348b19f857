"""The command line: one thin subcommand for each thing a person does.

Nothing heavy is imported before a subcommand runs: `--help` answers at once, and the gateway patches
the standard library before anything else is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.errors import BadSetting, ControlTimeout, PenstockError
from deploy.load.errors import Unreachable

if TYPE_CHECKING:
    from broker.verify import Report

EXIT_FAILURE, EXIT_UNREACHABLE, EXIT_BAD_SETTINGS, EXIT_INTERRUPTED = 1, 69, 78, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="penstock")
def cli() -> None:
    """Live events from any backend process to every browser.

    \b
    Example:
      penstock up             everything on this machine, in the foreground
      ls / | penstock lines   one event a line, to look at in the page
    """


@cli.command()
@click.option("--gateways", type=click.IntRange(1, 100), help="How many share the port.  [default: 2]")
@click.option("--demo/--no-demo", default=True, help="Also run the sources demo and system.  [default: demo]")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where supervisord.conf is, with the folder run beside it.  [default: deploy]",
)
@click.option(
    "--end-on-failure",
    "ends_on_failure",
    is_flag=True,
    help="End when a process does not stay up: in a container.",
)
def up(gateways: int | None, demo: bool, folder: Path | None, ends_on_failure: bool) -> None:
    """Run everything in the foreground; print the URL when ready.

    Ctrl-C stops all of it, a second one at once.

    \b
    Example:
      penstock up --gateways 4 --no-demo
    """
    from deploy import up as deployed

    place = (folder or deployed.FOLDER).resolve()
    sys.exit(deployed.up(place, gateways, demo, ends_on_failure=ends_on_failure))


@cli.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="supervisord's, of the set.  [default: deploy/supervisord.conf]",
)
def restart(names: tuple[str, ...], config: Path | None) -> None:
    """Restart what runs, one process after the other.

    Each is told to stop, started anew, and ready before the next one is touched: clients go to another
    gateway meanwhile and miss nothing. It ends with the first one that does not come back.

    \b
    Example:
      penstock restart                      all of the set
      penstock restart gateway              its gateways
      penstock restart gateway_01 --config deploy/gateways.conf
    """
    from deploy.restart import restart as anew
    from deploy.up import FOLDER

    anew((config or FOLDER / "supervisord.conf").resolve(), names)


@cli.command()
def broker() -> None:
    """Run the broker.

    It takes events in, keeps the log and forwards to gateways.

    \b
    Example:
      PENSTOCK_BROKER__FEED=tcp://10.0.0.5:5556 penstock broker
    """
    from broker.__main__ import main

    sys.exit(main())


@cli.command()
@click.option("--number", type=click.IntRange(0, 899), help="Place on this host.  [default: 0]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port all gateways share.  [default: 8000]")
@click.option("--feed", metavar="ADDRESS", help="The broker's feed.  [default: tcp://127.0.0.1:5556]")
@click.option("--control", metavar="ADDRESS", help="The broker's control.  [default: tcp://127.0.0.1:5557]")
def gateway(**flags: int | str | None) -> None:
    """Run one gateway: browsers connect here.

    \b
    Example:
      penstock gateway --number 2
      penstock gateway --feed tcp://10.0.0.5:5556 --control tcp://10.0.0.5:5557
    """
    given = {name: str(value) for name, value in flags.items() if value is not None}
    settings = {f"PENSTOCK_GATEWAY__{name.upper()}": value for name, value in given.items()}
    # A new program in this process: the patch must come before every import, and click is here already.
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "gateway"], {**os.environ, **settings})


@cli.command()
def demo() -> None:
    """Publish a moving sine on the topic graph.

    \b
    Example:
      penstock demo
    """
    from producer.demo import main

    sys.exit(main([]))


@cli.command()
def system() -> None:
    """Publish this machine's metrics.

    Topics: system/HOST/cpu, memory, load, disk and network.

    \b
    Example:
      penstock system
    """
    from producer.system import main

    sys.exit(main([]))


@cli.command()
@click.option("--topic", default="lines", show_default=True, help="Where the lines go.")
@click.option("--confirm", is_flag=True, help="Hold each line until it is in the log.")
def lines(topic: str, confirm: bool) -> None:
    """Publish what is piped in, one event a line.

    Waits when the broker is slow or away. Ctrl-C ends it and says how many
    lines were not sent. With --confirm no line is lost either when the broker
    is killed while it is on its way.

    \b
    Example:
      tail -f access.log | penstock lines --topic web/access
    """
    from producer.lines import main

    sys.exit(main(["--topic", topic, *(["--confirm"] if confirm else [])]))


@cli.command()
@click.argument("topic")
@click.argument("data", default="-")
@click.option("--wait", metavar="SECONDS", help="For the confirmation.  [default: 5]")
@click.option("--control", metavar="ADDRESS", help="The broker's control.  [default: tcp://127.0.0.1:5557]")
def pub(topic: str, data: str, **flags: str | None) -> None:
    """Publish one event, confirmed.

    Prints its position once it is in the log. DATA is JSON, or else text; - is standard input, all of it.
    Exit code 69 if the broker has not confirmed it in time.

    \b
    Example:
      penstock pub room/temperature '{"celsius": 20.5}'
      penstock pub room/picture - < picture.png
    """
    from producer.pub import main

    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    sys.exit(main([*given, "--", topic, data]))


@cli.command()
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
@click.option("--history", metavar="N", help="The newest N events of each topic first.  [default: 0]")
@click.option("--since", metavar="POSITION", help="Everything after this position first.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line, gaps among them.")
@click.option("--count", metavar="N", help="End after N events.")
@click.option("--feed", metavar="ADDRESS", help="The broker's feed.  [default: tcp://127.0.0.1:5556]")
@click.option("--control", metavar="ADDRESS", help="The broker's control.  [default: tcp://127.0.0.1:5557]")
def sub(patterns: tuple[str, ...], is_json: bool, **flags: str | None) -> None:
    """Print events as they come, one a line.

    What a broken link or a restart of the broker kept back comes in its place. What cannot be had any more
    is told on stderr, with --json in its place among the events. A broker that is not there is waited for.

    \b
    Example:
      penstock sub 'room/**' --history 10
      penstock sub graph --json --count 1
    """
    from producer.sub import main

    given = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    sys.exit(main([*given, *(["--json"] if is_json else []), "--", *patterns]))


@cli.group("log")
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
    sys.exit(0 if report.is_sound else EXIT_FAILURE)


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
    sys.exit(0 if report.is_sound else EXIT_FAILURE)


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


PARTS = ("fanout", "latency", "idle")


@cli.command()
@click.option(
    "--url",
    default="http://127.0.0.1:8101",
    show_default=True,
    help="A gateway: its own port, or a shared one.",
)
@click.option(
    "--admin",
    multiple=True,
    default=["http://127.0.0.1:9101"],
    show_default=True,
    help="Admin port of that gateway; repeated for each that shares the port. Tells CPU and memory.",
)
@click.option("--push", default="tcp://127.0.0.1:5558", show_default=True, help="The broker's push port.")
@click.option(
    "--broker-admin", default="http://127.0.0.1:9100", show_default=True, help="The broker's admin port."
)
@click.option(
    "--only", multiple=True, type=click.Choice(PARTS), help="This part; may be repeated.  [default: all]"
)
@click.option(
    "--clients",
    default=1_000,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="On one topic, in fanout.",
)
@click.option(
    "--rate",
    "rates",
    multiple=True,
    default=[20, 200, 1_000],
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Events a second in fanout; may be repeated.",
)
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.5, 20),
    help="Of a load, of which three run.",
)
@click.option(
    "--connections",
    default=2_000,
    show_default=True,
    type=click.IntRange(1, 20_000),
    help="That wait, in idle.",
)
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout, when all is done.")
def bench(
    url: str,
    admin: tuple[str, ...],
    push: str,
    broker_admin: str,
    only: tuple[str, ...],
    clients: int,
    rates: tuple[int, ...],
    seconds: float,
    connections: int,
    is_json: bool,
) -> None:
    """Measure a set that runs: fan-out, latency, memory.

    Takes about half a minute. It publishes on topics below bench, which are in the log then as any others
    are. What else the set does meanwhile is measured with it.

    \b
    fanout   clients on one topic, at rising rates: CPU a delivery, what is delivered, latency
    latency  100 clients at 1,000 events a second, each of which is waited for
    idle     connections that subscribe and wait: memory, and the CPU of a connect

    \b
    Example:
      penstock bench
      penstock bench --only fanout --rate 100 --json
    """
    import msgspec

    from deploy.load.running import Running, bench

    figures = bench(
        Running(url.rstrip("/"), push, tuple(each.rstrip("/") for each in admin), broker_admin.rstrip("/")),
        only or PARTS,
        clients=clients,
        rates=sorted(rates),
        seconds=seconds,
        connections=connections,
        say=lambda text: click.echo(text, err=is_json),
    )
    if is_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"figures": figures})))


def main() -> None:
    """Exits with 0, 1 failure, 2 usage, 69 somebody out of reach, 78 bad settings, 130 interrupted."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:  # what click makes of KeyboardInterrupt
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader has left, as in `penstock --help | head -1`; leave Python nothing to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILURE)
    except PenstockError as error:
        click.echo(f"penstock: {error}", err=True)
        sys.exit(_exit_code(error))


def _exit_code(error: PenstockError) -> int:
    if isinstance(error, BadSetting):
        return EXIT_BAD_SETTINGS
    return EXIT_UNREACHABLE if isinstance(error, ControlTimeout | Unreachable) else EXIT_FAILURE


if __name__ == "__main__":
    main()
