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
def up(gateways: int | None, demo: bool, folder: Path | None) -> None:
    """Run everything in the foreground; print the URL when ready.

    Ctrl-C stops all of it, a second one at once.

    \b
    Example:
      penstock up --gateways 4 --no-demo
    """
    from deploy import up as deployed

    sys.exit(deployed.up((folder or deployed.FOLDER).resolve(), gateways, demo))


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
def lines(topic: str) -> None:
    """Publish what is piped in, one event a line.

    Waits when the broker is slow or away, so no line is lost. Ctrl-C ends it
    and says how many lines were not sent.

    \b
    Example:
      tail -f access.log | penstock lines --topic web/access
    """
    from producer.lines import main

    sys.exit(main(["--topic", topic]))


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
