"""Whether the ports of a set are free, asked before anything of it starts.

A source that starts beside a broker that cannot would publish to whoever has the broker's port.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from broker.errors import AddressInUse
from broker.settings import BrokerSettings, load
from gateway.settings import GatewaySettings


class Listening(NamedTuple):
    """Where a process of the set will listen."""

    address: str  # as it is set, for the message
    setting: str
    host: str
    port: int  # 0: the kernel picks
    is_shared: bool = False  # with other gateways of this host


def check_free(config: Path, env: Mapping[str, str]) -> None:
    """Raises AddressInUse, and BadSetting for settings that the processes would refuse."""
    parser = RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(config)
    with chdir(config.parent.parent):  # where the processes will look for their settings
        wanted = list(_wanted(parser, env))
    for each in wanted:
        if each.port and _is_busy(each):
            raise AddressInUse(each.address, each.setting)


def _wanted(parser: RawConfigParser, env: Mapping[str, str]) -> Iterator[Listening]:
    if parser.has_section("program:broker"):
        broker = load(BrokerSettings, "broker", env=env)
        for name in ("ingest", "push", "control", "feed"):
            yield from _tcp(getattr(broker, name), f"PENSTOCK_BROKER__{name.upper()}")
        yield from _tcp(broker.admin, "PENSTOCK_BROKER__ADMIN")
    for number in range(parser.getint("program:gateway", "numprocs", fallback=0)):
        gateway = load(GatewaySettings, "gateway", env=env, overrides={"number": number})
        shared = f"{gateway.host}:{gateway.port}"
        yield Listening(shared, "PENSTOCK_GATEWAY__PORT", gateway.host, gateway.port, is_shared=True)
        for name, port in (("OWN", gateway.effective_own_port), ("ADMIN", gateway.effective_admin_port)):
            yield Listening(f"127.0.0.1:{port}", f"PENSTOCK_GATEWAY__{name}_PORT", "127.0.0.1", port)


def _tcp(address: str, setting: str) -> Iterator[Listening]:
    """None for what is no TCP address, or none that can be read: its process says what is wrong with it."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        if parts.scheme == "tcp" and parts.port:
            yield Listening(address, setting, parts.hostname or "", parts.port)
    except ValueError:  # port `*`, which the kernel picks, or no number
        return


def _is_busy(wanted: Listening) -> bool:
    """Binds and does not listen: nobody who waits for a broker may take this for one."""
    host = "" if wanted.host == "*" else wanted.host
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wanted.is_shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((host, wanted.port))
        except OSError as error:  # gaierror for the name of an interface: no answer either
            return error.errno == errno.EADDRINUSE
    return False
