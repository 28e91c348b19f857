"""What can be set of a gateway: `[gateway]` in the file, PENSTOCK_GATEWAY__... in the environment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from broker.errors import BadPattern, BadSetting
from broker.settings import Address
from broker.topics import is_system, pattern

Port = Annotated[int, Meta(ge=0, le=65535)]

OWN_PORTS = 8101
ADMIN_PORTS = 9101


class GatewaySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=0, le=899)] = 0  # of this gateway among those of the host
    # Begins the ids of this host's gateways, where gateways of several hosts are behind one address.
    host_id: Annotated[str, Meta(pattern=r"^[a-z0-9]{0,8}\Z")] = ""
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8000  # shared by all gateways of the host; 0: the kernel picks
    own_port: Port | None = None  # this one's alone, on loopback; None: 8101 + number
    admin_port: Port | None = None  # health and metrics, on loopback; None: 9101 + number
    # Sockets of this host's gateways, for their eyes only; "": in a folder for this user and port.
    handover_dir: str = ""
    feed: Address = "tcp://127.0.0.1:5556"
    control: Address = "tcp://127.0.0.1:5557"
    origins: tuple[str, ...] = ()  # let in besides the host's own: "https://example.org"
    anonymous_publish: tuple[str, ...] = ()  # patterns of topics to which everybody may publish

    ring_max_bytes: Annotated[int, Meta(ge=0)] = 64 << 20  # recent events in memory
    linger_s: Annotated[float, Meta(ge=0)] = 60.0  # a prefix without listeners is kept so long
    message_max_bytes: Annotated[int, Meta(ge=1024)] = 64 << 10  # of one message of a client
    # Smaller messages go as they are: a kilobyte fits a packet in any case, and compressing it takes
    # 10 µs, twice what a write does. 0: permessage-deflate is not used.
    deflate_min_bytes: Annotated[int, Meta(ge=0)] = 1024
    head_s: Annotated[float, Meta(gt=0)] = 10.0  # for the head of a request to come whole; 408 then
    # Connections in the middle of a request. One whose head is yet to come costs a kilobyte, and behind a
    # proxy all of them are of one address.
    arrivals_max: Annotated[int, Meta(ge=1)] = 10_000
    arrivals_per_address_max: Annotated[int, Meta(ge=1)] = 1_000
    # Sessions of Socket.IO that poll, at 4 KB: between two polls they are in the middle of nothing.
    polling_sessions_per_address_max: Annotated[int, Meta(ge=1)] = 2_000
    connections_max: Annotated[int, Meta(ge=1)] = 100_000  # WebSockets and event streams; 503 beyond
    messages_per_s: Annotated[float, Meta(gt=0)] = 1_000.0  # of one client; close 1008 beyond
    frame_s: Annotated[float, Meta(gt=0)] = 30.0  # for a message to come whole; close 1008 then
    # That a client takes nothing; close 4408 then. Over loopback, a reader of 1 KB/s moves once a minute.
    stall_s: Annotated[float, Meta(gt=0)] = 70.0
    ping_interval_s: Annotated[float, Meta(gt=0)] = 25.0  # of a client's silence, before it is pinged
    ping_timeout_s: Annotated[float, Meta(gt=0)] = 20.0  # for it to answer; close 1001 then
    # For who is here, once it is told to stop. supervisord's stopwaitsecs must be more.
    drain_s: Annotated[float, Meta(gt=0)] = 8.0
    subscriptions_max: Annotated[int, Meta(ge=1)] = 1_000  # of one connection
    history_max: Annotated[int, Meta(ge=1, le=2_000)] = 2_000  # events in all that one subscribe gets
    publish_max_bytes: Annotated[int, Meta(ge=1, le=7 << 20)] = 1 << 20  # of a payload, or a batch over HTTP
    publishes_max: Annotated[int, Meta(ge=1)] = 1_000  # that wait for the broker's confirm; 503 beyond
    # Untouched, the kernel takes 4.26 MB from a reader that never reads, and what it holds is old
    # when it is read; with these about 170 KB.
    send_buffer_bytes: Annotated[int, Meta(ge=4096)] = 64 << 10
    not_sent_lowat_bytes: Annotated[int, Meta(ge=1024)] = 32 << 10

    def __post_init__(self) -> None:
        """Raises BadSetting."""
        source = "PENSTOCK_GATEWAY__ANONYMOUS_PUBLISH, or anonymous_publish of [gateway]"
        for text in self.anonymous_publish:
            try:
                pattern(text)
            except BadPattern as error:
                raise BadSetting(f"{source}: {error}") from error
            if is_system(text):
                raise BadSetting(f"{source}: {text!r}: nobody publishes to the system's own topics")

    @property
    def gateway_id(self) -> str:
        """Of no other gateway of the set; sessions of Socket.IO are known by it."""
        return f"{self.host_id}{self.number:02d}"

    @property
    def effective_own_port(self) -> int:
        return OWN_PORTS + self.number if self.own_port is None else self.own_port

    @property
    def effective_admin_port(self) -> int:
        return ADMIN_PORTS + self.number if self.admin_port is None else self.admin_port
