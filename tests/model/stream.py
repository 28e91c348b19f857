"""An EventSource as the protocol describes it: all it keeps is the last id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.topics import Pattern
from broker.wire import Position
from gateway.forms import SSE
from gateway.protocol import Subscribe
from tests.model.client import Client, Subscription
from tests.support.sse import Block, block


class StreamClient(Client):
    """Follows the same patterns all its life."""

    form = SSE
    is_one_cut = True  # else one subscribe after the other, each with ids of its own

    def __init__(self, patterns: Sequence[str], history: int) -> None:
        super().__init__()
        self._history = history
        self.last_id = ""
        self.subscriptions = {text: Subscription(0, Pattern(text), {}) for text in patterns}
        self._open()

    def subscribe(self, text: str, history: int = 0, delivery: Any = "all") -> None:
        pass

    def unsubscribe(self, text: str) -> None:
        pass

    def reconnect(self) -> None:
        """As a browser does: the same URL, and the last id if there is one."""
        self.buffer = b""
        for subscription in self.subscriptions.values():
            subscription.is_replied = False
        self.position = None
        self._open()

    def receive(self, data: bytes) -> None:
        *whole, self.buffer = (self.buffer + data).split(b"\n\n")
        for text in whole:
            self._block(block(text.decode()))

    def _open(self) -> None:
        patterns = frozenset(subscription.pattern for subscription in self.subscriptions.values())
        since = Position.parse(self.last_id) if self.last_id else None
        cuts = [patterns] if self.is_one_cut else [frozenset({each}) for each in patterns]
        self.outbox = [Subscribe(0, cut, 0 if since else self._history, since) for cut in cuts]

    def _block(self, found: Block) -> None:
        if found.id is not None:
            self.last_id = found.id
        if found.name == "message" and found.id:
            at = Position.parse(found.id)
            if self.position and self.position.epoch == at.epoch and at.seq <= self.position.seq:
                self._complain(f"{found.told['topic']} at {at}, but {self.position} was told before")
            self.position = at
            for subscription in self.subscriptions.values():
                if subscription.pattern.matches(found.told["topic"]):
                    if at in subscription.seen:
                        self._complain(f"{found.told['topic']} at {at} twice for {subscription.pattern.text}")
                    subscription.seen.add(at)
        elif found.name == "gap":
            self._note_hole(found.told["gap"])
        elif found.name == "reply":
            at = Position.parse(found.told["ok"]["position"])
            for subscription in self.subscriptions.values():
                subscription.is_replied = True
                subscription.start = subscription.start or at
