"""Health: what each state of the loop is called."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from broker.admin import Admin
from broker.control import Head, StatusPage
from broker.errors import AddressInUse, BadSetting


@dataclass
class Loop:
    """Stands for a forwarder that turned `lag_s` ago."""

    lag_s: float = 0.0
    is_stopping: bool = False

    @property
    def alive_s(self) -> float:
        return time.monotonic() - self.lag_s

    @property
    def status(self) -> StatusPage:
        return StatusPage(
            at=Head(epoch="00000000000000ff", head=7, oldest=1, forgotten=0, start=0, drops=3),
            version="1.2.3",
            durability="memory",
            uptime_s=1.0,
            received=9,
            logged=7,
            dropped={"bad_topic": 2},
            missing=12,
            late=3,
            unclear=4,
            unanswered=6,
            confirmed=2,
            refused={"fenced": 1},
            topics=4,
            log_bytes=1000,
            subscribed=5,
        )


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def admin(loop: Loop) -> Iterator[Admin]:
    with closing(Admin("127.0.0.1:0", loop)) as made:
        yield made


def get(admin: Admin, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(admin.address + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("lag_s", "is_stopping", "healthz", "readyz"),
    [
        pytest.param(0.0, False, 200, 200, id="turning"),
        pytest.param(0.0, True, 200, 503, id="stopping"),
        pytest.param(5.0, False, 503, 503, id="standing still"),
    ],
)
def test_health(admin: Admin, loop: Loop, lag_s: float, is_stopping: bool, healthz: int, readyz: int) -> None:
    loop.lag_s, loop.is_stopping = lag_s, is_stopping
    assert (get(admin, "/healthz")[0], get(admin, "/readyz")[0]) == (healthz, readyz)


def test_metrics(admin: Admin) -> None:
    code, text = get(admin, "/metrics")
    assert code == 200
    assert {
        'penstock_build_info{process="broker",version="1.2.3"} 1.0',
        "penstock_broker_events_received_total 9.0",
        "penstock_broker_events_logged_total 7.0",
        'penstock_broker_events_dropped_total{reason="bad_topic"} 2.0',
        "penstock_broker_events_missing_total 12.0",
        "penstock_broker_events_late_total 3.0",
        "penstock_broker_events_unclear_total 4.0",
        "penstock_broker_unanswered_total 6.0",
        "penstock_broker_feed_drops_total 3.0",
        "penstock_broker_head_seq 7.0",
        "penstock_broker_topics 4.0",
        "penstock_broker_log_bytes 1000.0",
        "penstock_broker_subscribed_prefixes 5.0",
    } <= set(text.splitlines())


def test_other_paths_are_told_what_there_is(admin: Admin) -> None:
    assert get(admin, "/")[0] == 404
    assert "/metrics" in get(admin, "/")[1]


def test_an_address_in_use(admin: Admin, loop: Loop) -> None:
    with pytest.raises(AddressInUse, match="PENSTOCK_BROKER__ADMIN"):
        Admin(admin.address.removeprefix("http://"), loop)


@pytest.mark.parametrize("address", ["192.0.2.1:1", "127.0.0.1:99999"])
def test_an_address_that_cannot_be(loop: Loop, address: str) -> None:
    with pytest.raises(BadSetting, match="PENSTOCK_BROKER__ADMIN"):
        Admin(address, loop)
