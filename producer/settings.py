"""What can be set of the ready-made sources: section `producer`, PENSTOCK_PRODUCER__INGEST and so on."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from broker.settings import Address, Messages, Seconds
from broker.wire import MAX_PAYLOAD_BYTES


class ProducerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ingest: Address = "tcp://127.0.0.1:5555"  # for streams: demo, system
    push: Address = "tcp://127.0.0.1:5558"  # for what matters: lines
    feed: Address = "tcp://127.0.0.1:5556"  # what sub reads, and where demo hears whether anybody watches
    control: Address = "tcp://127.0.0.1:5557"  # where both ask, and confirmed events go
    payload_max_bytes: Annotated[int, Meta(ge=1, le=64 << 20)] = MAX_PAYLOAD_BYTES  # the broker's limit
    high_water: Messages = 100_000  # events of a stream held while the broker is away
    close_s: Seconds = 5.0  # how long lines may take, once told to stop, to hand over what it holds
    demo_interval_s: Seconds = 0.05
    system_interval_s: Seconds = 0.5
    host: str = ""  # in system/<host>/...; this machine's name if empty
