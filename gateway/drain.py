"""The end of a gateway: who is here is served, and comes back elsewhere.

In this order, so that nobody finds a door shut in its face:
- no connection more: new ones find another gateway, and those in the queue are taken in;
- everybody is asked to come back, each at its own moment. Who is in the middle of something has a
  while for it;
- requests under way are answered, and their connections end with the answer;
- what has not ended until the deadline is cut off with the process.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence

import gevent

from gateway.connection import Connection
from gateway.edge import EdgeServer
from gateway.hub import Hub
from gateway.wheel import Wheel

log = logging.getLogger(__name__)

HANDSHAKE_S = 0.2  # for who has begun to connect
BUSY_SHARE = 2  # who is in the middle of something has half of the time for it
LINGER_S = 1.0  # for who was sent away to end its connection
LOOK_EVERY_S = 0.05
CLOSES_PER_TURN = 32
RETURN_WITHIN_S = 2.0  # clients come back spread over so long, and longer where they are many:
RETURNS_PER_S = 2_500
RETURN_MAX_S = 30.0


class Drain:
    """`run` once; it may be given up at any moment."""

    def __init__(self, servers: Sequence[EdgeServer], hub: Hub, wheel: Wheel, drain_s: float) -> None:
        self._servers, self._hub, self._wheel, self._drain_s = servers, hub, wheel, drain_s
        self._return_s = RETURN_WITHIN_S
        self._is_leaving = False

    def greet(self, connection: Connection) -> None:
        """One that has just come: perhaps too late."""
        if self._is_leaving:
            self._send_away(connection)

    def run(self) -> None:
        """Returns when nobody is left, however long that takes."""
        started_s = time.monotonic()
        count = len(self._hub.connections)
        log.info("draining connections=%d", count)
        for server in self._servers:
            server.turn_away()
        gevent.sleep(HANDSHAKE_S)  # meanwhile, what was due at the signal is flushed
        self._is_leaving = True
        self._return_s = min(RETURN_MAX_S, max(RETURN_WITHIN_S, count / RETURNS_PER_S))
        for server in self._servers:
            server.leave()
        self._send_all_away(started_s + self._drain_s / BUSY_SHARE)
        said_s = time.monotonic()
        while not self._has_ended(time.monotonic() - said_s):
            gevent.sleep(LOOK_EVERY_S)
        log.info("drained seconds=%.1f", time.monotonic() - started_s)

    def _has_ended(self, waited_s: float) -> bool:
        """Nobody is here, or only those who will read what they were told when they like."""
        is_served = all([server.let_go() for server in self._servers])
        return is_served and (self._wheel.is_empty or (waited_s >= LINGER_S and self._wheel.is_over))

    def _send_all_away(self, until_s: float) -> None:
        """Who is at rest at once, the others when they are, or at that moment of the monotonic clock."""
        while present := list(self._hub.connections):
            is_time = time.monotonic() >= until_s
            for place, connection in enumerate(present, 1):
                if is_time or connection.is_at_rest:
                    self._send_away(connection)
                if not place % CLOSES_PER_TURN:
                    gevent.sleep(0)
            if is_time:
                return
            gevent.sleep(LOOK_EVERY_S)

    def _send_away(self, connection: Connection) -> None:
        connection.send_away(random.uniform(0, self._return_s))
