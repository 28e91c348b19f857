"""Ports for processes that must know each other's address before they start."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Free ports on 127.0.0.1 that the kernel gives to nobody else while the block lasts.

    They are bound here with SO_REUSEADDR and SO_REUSEPORT and never listened on, so a process that
    sets one of the two (libzmq, http.server and our gateway do) can still listen there, and again
    after it was killed.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]


def is_listening(port: int) -> bool:
    """Whether somebody takes connections on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
