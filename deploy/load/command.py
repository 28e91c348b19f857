"""`penstock bench`, as a command: its options, and what it shows.

As in penstock.py nothing heavy is imported before it runs.
"""

from __future__ import annotations

import click

PARTS = ("fanout", "latency", "idle")


@click.command("bench")
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
