"""What two readings of a machine's counters say, as events. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
HOST_MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class Reading:
    """A machine at one moment. Counters are bytes since it started; None where it has no such thing."""

    at_s: float  # monotonic
    cores: tuple[float, ...]  # percent busy since the reading before
    memory_used: float  # percent
    memory_available: int  # bytes
    load: tuple[float, float, float]  # over 1, 5 and 15 minutes
    disk: tuple[int, int] | None  # read, written
    network: tuple[int, int] | None  # sent, received


Event = tuple[str, dict[str, float]]


def events(host: str, before: Reading, now: Reading) -> list[Event]:
    """The (topic, data) of a machine between two readings; `host` is a segment of a topic."""
    found: list[Event] = [
        (f"system/{host}/cpu", {f"core{n}": round(busy, 1) for n, busy in enumerate(now.cores)}),
        (
            f"system/{host}/memory",
            {"used": round(now.memory_used, 1), "available_mib": round(now.memory_available / MIB, 1)},
        ),
        (
            f"system/{host}/load",
            {f"{minutes}m": round(load, 2) for minutes, load in zip((1, 5, 15), now.load, strict=True)},
        ),
    ]
    seconds = now.at_s - before.at_s
    for name, fields, was, is_now in (
        ("disk", ("read_kib_s", "write_kib_s"), before.disk, now.disk),
        ("network", ("sent_kib_s", "received_kib_s"), before.network, now.network),
    ):
        if was and is_now and seconds > 0:
            # A counter goes back when a device leaves: no traffic is a better guess than minus a lot.
            grown = (max(0, new - old) for old, new in zip(was, is_now, strict=True))
            rates = (round(each / KIB / seconds, 1) for each in grown)
            found.append((f"system/{host}/{name}", dict(zip(fields, rates, strict=True))))
    return found


def host_segment(name: str) -> str:
    """A machine's name as one segment of a topic: what could not stand there becomes `-`."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:HOST_MAX_CHARS]
    return "host" if safe.strip(".-") == "" else safe
