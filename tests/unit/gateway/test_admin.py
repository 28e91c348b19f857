"""Health and metrics over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin import LAG_MAX_S, TICK_S, Admin, Labelled, LoopLag
from gateway.listener import listen

DEADLINE_S = 5


class Process:
    """What the admin port tells about; a test changes it."""

    def __init__(self) -> None:
        self.counters: dict[str, Any] = {"events_total": 3, "connections": 2}
        self.is_draining = False
        self.now_s = 100.0
        self.lag = LoopLag(lambda: self.now_s)


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def admin(process: Process) -> Iterator[Admin]:
    admin = Admin(
        listen("127.0.0.1", 0, reuse=False, setting="ADMIN_PORT"),
        counters=lambda: process.counters,
        is_draining=lambda: process.is_draining,
        lag=process.lag,
    )
    admin.start()
    try:
        yield admin
    finally:
        admin.stop()


def ask(admin: Admin, path: str, method: str = "GET") -> tuple[int, str]:
    with gevent.Timeout(DEADLINE_S), gsocket.create_connection(admin.address) as client:
        client.sendall(f"{method} {path} HTTP/1.0\r\n\r\n".encode())
        data = b""
        while more := client.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_a_process_that_keeps_up_is_healthy_and_ready(admin: Admin) -> None:
    assert ask(admin, "/healthz") == (200, "ok\n")
    assert ask(admin, "/readyz") == (200, "ok\n")


def test_a_draining_process_is_not_ready_but_healthy(admin: Admin, process: Process) -> None:
    process.is_draining = True
    assert ask(admin, "/readyz") == (503, "draining\n")
    assert ask(admin, "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("late_s", "status"),
    [
        pytest.param(0.0, 200, id="in time"),
        pytest.param(LAG_MAX_S - 0.01, 200, id="a little late"),
        pytest.param(LAG_MAX_S, 503, id="a second late"),
    ],
)
def test_health_is_the_lag_of_the_loop(admin: Admin, process: Process, late_s: float, status: int) -> None:
    process.now_s += TICK_S + late_s  # the tick that is due has not come yet
    assert process.lag.seconds == pytest.approx(late_s)
    process.lag.tick()
    assert process.lag.seconds == pytest.approx(late_s)
    assert ask(admin, "/healthz")[0] == status
    process.now_s += TICK_S
    process.lag.tick()
    assert ask(admin, "/healthz")[0] == 200


def test_metrics_are_what_prometheus_reads(admin: Admin, process: Process) -> None:
    found = read_metrics(ask(admin, "/metrics")[1])
    assert found["penstock_events"] == ("counter", 3)
    assert found["penstock_connections"] == ("gauge", 2)
    assert found["penstock_loop_lag_seconds"] == ("gauge", 0)
    assert found["process_resident_memory_bytes"][1] > 0
    by_cause = Labelled(("cause", "where"), {("late", "past"): 5})
    process.counters |= {"events_total": 4, "refused_total": {"limit": 6}, "gaps_total": by_cause}
    text = ask(admin, "/metrics")[1]
    assert 'penstock_refused_total{code="limit"} 6.0' in text.splitlines()
    assert 'penstock_gaps_total{cause="late",where="past"} 5.0' in text.splitlines()
    assert read_metrics(ask(admin, "/metrics")[1])["penstock_events"] == ("counter", 4)


def read_metrics(text: str) -> dict[str, tuple[str, Any]]:
    families = text_string_to_metric_families(text)
    return {family.name: (family.type, family.samples[0].value) for family in families}


def test_other_requests_are_refused(admin: Admin) -> None:
    status, body = ask(admin, "/elsewhere")
    assert status == 404 and "/metrics" in body
    assert ask(admin, "/healthz", "POST")[0] == 405
    assert ask(admin, "/healthz", "HEAD") == (200, "")


def test_the_lag_ticks_in_the_loop_once_started() -> None:
    ticked = Event()

    def clock() -> float:
        ticked.set()
        return 0.0

    lag = LoopLag(clock)
    ticked.clear()
    lag.start()
    try:
        assert ticked.wait(DEADLINE_S)
    finally:
        lag.stop()
