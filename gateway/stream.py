"""A connection over an event stream: the answer to one GET, which does not end.

What it wants stands in the request (see `opening`); what the client sends afterwards is not read as
anything.
"""

from __future__ import annotations

from broker.wire import Position
from gateway import protocol
from gateway.forms import SSE, sse_told
from gateway.hub import Hub
from gateway.protocol import Subscribe
from gateway.wheel import Wheel
from gateway.wired import Wired

RECONNECT_LEAST_S = 0.5

COMMENT = b": keep-alive\n\n"


class Stream(Wired):
    """See `Wired`. Proxies and clients end what is silent for long: it is told a comment then."""

    __slots__ = ("_silent", "_turn")

    def __init__(self, hub: Hub, fd: int, wheel: Wheel) -> None:
        super().__init__(hub, SSE, fd, wheel)
        self._turn = 0  # of the last flush that it had its share of, when it was last looked at
        self._silent = 0  # looks in a row that found nothing sent

    def start_with(self, wanted: Subscribe, retry_s: float) -> None:
        """Join the hub; `retry_s` is how long the client waits if this breaks."""
        self.hub.add(self)
        self.tell(reconnect_after(retry_s))
        self.command(wanted)

    def take(self, data: bytes) -> None:
        pass

    def send_away(self, wait_s: float) -> None:
        self._part(protocol.notice("draining", come_back_s=round(wait_s, 1)), wait_s)

    def give_up(self, position: Position | None) -> None:
        self._part(protocol.notice("slow", slow=True), 0)

    def _part(self, notice: bytes, wait_s: float) -> None:
        self.end_with(reconnect_after(wait_s) + sse_told("notice", notice))

    def look_at_quiet(self) -> None:
        if self.turn != self._turn:
            self._turn, self._silent = self.turn, 0
            return
        self._silent += 1
        if self._silent == self._wheel.deadlines.comment:
            self._silent = -1  # the comment itself has no turn
            if self.has_unread and self.is_unheard:
                self.hub.counts["unheard"] += 1
                self.end_with(b"")
            else:
                self.tell(COMMENT)


def reconnect_after(wait_s: float) -> bytes:
    """What makes an EventSource wait so long, and a little, before it comes back, from now on."""
    return b"retry: %d\n\n" % ((RECONNECT_LEAST_S + wait_s) * 1000)
