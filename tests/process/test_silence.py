"""Somebody says nothing any more and nobody says why: who notices, what is told, and that it heals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from broker.upstream import STALE_AFTER_S
from broker.wire import BEAT_S
from gateway.feed import TICK_S
from tests.support.processes import Broker, Service
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.proxy import proxied
from tests.support.sending import numbered, push
from tests.support.waiting import wait_for
from tests.support.websocket import Client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as service:
        yield service


@contextmanager
def standing_still(service: Service) -> Iterator[None]:
    os.kill(service.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(service.pid, signal.SIGCONT)


def pass_time(seconds: float) -> None:
    until_s = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > until_s, what="time")


def numbers(client: Client, pattern: str) -> list[int]:
    return [event.data["n"] for event in client.subscriptions[pattern].events]


def test_three_seconds_are_not_over_when_clients_are_told() -> None:
    assert STALE_AFTER_S + 2 * TICK_S <= 3 * BEAT_S


def test_a_broker_that_stands_still_is_told_and_costs_nothing(tmp_path: Path, broker: Broker) -> None:
    with (
        running_gateway(tmp_path, broker) as gateway,
        Client() as client,
        zmq.Context() as context,
        context.socket(zmq.PUSH) as pusher,
    ):
        client.connect(gateway.address["url"])
        followed = client.subscribe("a")
        one, two = numbered("a", [1, 2])
        pusher.connect(broker.address["push"])
        pusher.send_multipart(one)
        client.read_events(followed, 1)
        with standing_still(broker):
            client.read_stale(True)
            pusher.send_multipart(two)  # the kernel takes it
        client.read_stale(False)
        client.read_events(followed, 2)
        assert (numbers(client, "a"), client.gaps, client.close_code) == ([1, 2], [], None)


def test_a_link_that_lets_nothing_through_is_told_and_costs_nothing(tmp_path: Path, broker: Broker) -> None:
    with (
        proxied(broker.address["feed"]) as feed,
        proxied(broker.address["control"]) as control,
        running_gateway(tmp_path, broker, feed=feed.address, control=control.address) as gateway,
        Client() as client,
    ):
        client.connect(gateway.address["url"])
        followed = client.subscribe("a")
        push(broker.address["push"], numbered("a", [1]))
        client.read_events(followed, 1)
        for way in (feed, control):
            way.block()
        push(broker.address["push"], numbered("a", [2]))
        client.read_stale(True)
        for way in (feed, control):
            way.heal()
        client.read_stale(False)
        client.read_events(followed, 2)
        assert (numbers(client, "a"), client.gaps, client.close_code) == ([1, 2], [], None)


def test_a_gateway_that_stood_still_tells_nothing_false(tmp_path: Path, broker: Broker) -> None:
    with running_gateway(tmp_path, broker) as gateway, Client() as client:
        client.connect(gateway.address["url"])
        followed = client.subscribe("a")
        push(broker.address["push"], numbered("a", [0]))
        client.read_events(followed, 1)  # whatever was said of the start has been heard
        told = len(client.notices)
        with standing_still(gateway):
            push(broker.address["push"], numbered("a", [1]))
            pass_time(STALE_AFTER_S + 1)
        client.read_events(followed, 2)
        push(broker.address["push"], numbered("a", [2]))
        client.read_events(followed, 3)
        assert (numbers(client, "a"), client.gaps, client.close_code) == ([0, 1, 2], [], None)
        assert client.notices[told:] == []


def test_who_asks_for_beats_hears_that_the_gateway_is_there(tmp_path: Path, broker: Broker) -> None:
    with (
        running_gateway(tmp_path, broker, ping_timeout_s=0.4) as gateway,
        Client() as asks,
        Client() as does_not,
    ):
        for client in (asks, does_not):
            client.connect(gateway.address["url"])
        asks.say('{"beat":true,"id":1}')
        asks.read_until(lambda: asks.beats >= 3, what="three beats")
        with standing_still(gateway):
            heard = asks.beats
            with pytest.raises(TimeoutError):
                asks.read(0.5)
        asks.read_until(lambda: asks.beats > heard, what="a beat")
        push(broker.address["push"], numbered("a", [1]))
        followed = does_not.subscribe("a", history=1)
        does_not.read_events(followed, 1)
        assert does_not.beats == 0
