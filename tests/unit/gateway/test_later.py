"""What is to be done soon: in order, not at once, and not before what has come on a socket meanwhile."""

from __future__ import annotations

import socket
import time

import pytest
from gevent.event import AsyncResult
from gevent.hub import get_hub

from gateway.later import TURN_S, Later


def test_in_order_and_not_at_once() -> None:
    later, done = Later(), AsyncResult()
    ran: list[int] = []
    for number in range(3):
        later(lambda number=number: ran.append(number))  # type: ignore[misc]
    later(lambda: done.set(None))
    assert ran == []
    done.get(timeout=10)
    assert ran == [0, 1, 2]


def test_what_one_adds_runs_too_though_another_fails(caplog: pytest.LogCaptureFixture) -> None:
    later, done = Later(), AsyncResult()

    def fail() -> None:
        later(lambda: done.set("ran"))
        raise ValueError("its own fault")

    later(fail)
    assert done.get(timeout=10) == "ran"
    assert "what was to be done later failed" in caplog.text


@pytest.mark.parametrize("workers", [1, 20])
def test_a_socket_is_heard_though_others_have_always_more_to_do(workers: int) -> None:
    """gevent's own callbacks would have run fifty times before."""
    later, heard = Later(), AsyncResult()
    turns = 0
    ours, theirs = socket.socketpair()
    watcher = get_hub().loop.io(ours.fileno(), 1)

    def work() -> None:
        nonlocal turns
        turns += 1
        theirs.sendall(b"x")
        until_s = time.monotonic() + TURN_S
        while time.monotonic() < until_s:
            pass
        if not heard.ready():
            later(work)

    def hear() -> None:
        watcher.stop()
        heard.set(turns)

    with ours, theirs:
        try:
            watcher.start(hear)
            for _ in range(workers):
                later(work)
            assert heard.get(timeout=10) <= 3
        finally:
            watcher.close()
