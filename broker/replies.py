"""Answers on their way to who asked, over a ROUTER socket, which takes so many for each and no more.

An answer that finds no room is dropped: who still wants to know asks again. Not so what a publisher is
told: an event without a key can be submitted once only, and a gateway asks for a thousand clients, all
of whom are answered after one commit. These are small, and wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import zmq

WAITING_MAX = 2_000
WAIT_S = 2.0  # in which a link takes more, if its peer reads
PAUSE_S = 0.002


class Replies:
    """Not thread-safe. Seconds are of one clock."""

    def __init__(self, send: Callable[[list[bytes]], object]) -> None:
        """`send`: one message, the asker first. Raises zmq.Again for want of room, another zmq.ZMQError."""
        self._send = send
        self.dropped = 0
        self._waiting: dict[bytes, deque[tuple[float, bytes]]] = {}  # by asker: until when, and the answer
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def send(self, asker: bytes, answer: Sequence[bytes]) -> None:
        try:
            self._send([asker, *answer])
        except zmq.ZMQError:
            # It has gone, or does not read its answers: it asks again if it still wants to know.
            self.dropped += 1

    def confirm(self, asker: bytes, answer: bytes, now_s: float) -> None:
        """What became of a request to publish; after those that wait for the same asker."""
        if asker not in self._waiting:
            try:
                self._send([asker, answer])
                return
            except zmq.Again:
                pass
            except zmq.ZMQError:
                self.dropped += 1
                return
        if self._count >= WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.setdefault(asker, deque()).append((now_s + WAIT_S, answer))
        self._count += 1

    def go_on(self, now_s: float) -> None:
        """Send of those that wait as many as find room now; some `PAUSE_S` after the time before."""
        for asker in list(self._waiting):
            self._go_on_with(asker, now_s)

    def _go_on_with(self, asker: bytes, now_s: float) -> None:
        waiting = self._waiting[asker]
        while waiting:
            until_s, answer = waiting[0]
            try:
                self._send([asker, answer])
            except zmq.Again:
                if now_s < until_s:
                    return
                self.dropped += 1
            except zmq.ZMQError:
                self.dropped += 1
            waiting.popleft()
            self._count -= 1
        del self._waiting[asker]
