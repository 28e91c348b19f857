"""The command line: one thin subcommand for each thing a person does.

Nothing heavy is imported before a subcommand runs: `--help` answers at once, and the gateway patches
the standard library before anything else is imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from broker.errors import BadSetting, ControlTimeout, PenstockError
from broker.tools import log_tools
from deploy.load.command import bench
from deploy.load.errors import Unreachable

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
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser once all is ready.")
def up(gateways: int | None, demo: bool, folder: Path | None, ends_on_failure: bool, opens: bool) -> None:
    """Run everything in the foreground; print the URL when ready.

    Ctrl-C stops all of it, a second one at once. Which browser --open takes is Python's choice; the
    variable BROWSER names another.

    \b
    Example:
      penstock up --gateways 4 --no-demo
      penstock up --open
    """
    from deploy import up as deployed

    place = (folder or deployed.FOLDER).resolve()
    sys.exit(deployed.up(place, gateways, demo, ends_on_failure=ends_on_failure, opens=opens))


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

    place = (config or FOLDER / "supervisord.conf").resolve()
    anew(place, names, say=lambda text: click.echo(f"penstock: {text}", err=True))


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


cli.add_command(log_tools)
cli.add_command(bench)


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
