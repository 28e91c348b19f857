"""A connection over an event stream: the answer to one GET, which does not end.

What it wants stands in the request (see `opening`); what the client sends afterwards is not read as
anything.
"""

from __future__ import annotations

from gateway import protocol
from gateway.forms import SSE, sse_told
from gateway.hub import Hub
from gateway.protocol import Subscribe
from gateway.wired import Wired

LOOK_S = 5.0  # each stream is looked at so often
TICK_S = 0.25
QUIET_LOOKS = 2  # in a row; so a comment comes after 10 to 15 seconds of silence, and then every 15

RECONNECT_LEAST_S = 0.5

COMMENT = b": keep-alive\n\n"


class Stream(Wired):
    """See `Wired`. Proxies and clients end what is silent for long: `KeepAlive` looks after it."""

    __slots__ = ("_keeper", "_quiet", "_turn")

    def __init__(self, hub: Hub, fd: int, keeper: KeepAlive) -> None:
        super().__init__(hub, SSE, fd)
        self._keeper = keeper
        self._turn = 0  # of the last flush that it had its share of, when it was last looked at
        self._quiet = 0  # looks in a row that found nothing sent

    def start_with(self, wanted: Subscribe, retry_s: float) -> None:
        """Join the hub; `retry_s` is how long the client waits if this breaks."""
        self._keeper.streams(self._fd).add(self)
        self.hub.add(self)
        self.tell(reconnect_after(retry_s))
        self.command(wanted)

    def take(self, data: bytes) -> None:
        pass

    def send_away(self, wait_s: float) -> None:
        told = sse_told("notice", protocol.notice("draining"))
        self.end_with(reconnect_after(wait_s) + told)

    def look(self) -> None:
        """Send a comment if it was silent for long enough. A slow one has something under way."""
        if self.has_ended:
            return
        if self.turn != self._turn or (self.behind and self.behind.unsent is not None):
            self._turn, self._quiet = self.turn, 0
            return
        self._quiet += 1
        if self._quiet == QUIET_LOOKS:
            self._quiet = -1
            self.tell(COMMENT)

    def _gone(self) -> None:
        self._keeper.streams(self._fd).discard(self)
        super()._gone()


class KeepAlive:
    """All streams in as many buckets as there are ticks between two looks: one timer for all of them."""

    def __init__(self) -> None:
        self._buckets: list[set[Stream]] = [set() for _ in range(round(LOOK_S / TICK_S))]
        self._next = 0

    def streams(self, fd: int) -> set[Stream]:
        """The bucket of that descriptor."""
        return self._buckets[fd % len(self._buckets)]

    def tick(self) -> None:
        """To be called every TICK_S."""
        bucket = self._buckets[self._next]
        self._next = (self._next + 1) % len(self._buckets)
        for stream in list(bucket):
            stream.look()


def reconnect_after(wait_s: float) -> bytes:
    """What makes an EventSource wait so long, and a little, before it comes back, from now on."""
    return b"retry: %d\n\n" % ((RECONNECT_LEAST_S + wait_s) * 1000)
