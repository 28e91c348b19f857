"""A broker and gateways for all tests of a file; official clients, and others beside those of a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.namespace import hear_until, joined
from tests.support.official import Officials, officials
from tests.support.processes import Broker, Gateway, two_gateways
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.websocket import Client

FAULT = re.compile(r"level=ERROR|Traceback")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker"), keep_events=100_000) as service:
        yield service


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, broker, anonymous_publish='["room/**"]') as service:
        yield service


@pytest.fixture
def node() -> Iterator[Officials]:
    with officials() as process:
        yield process


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[tuple[Gateway, Gateway]]:
    with two_gateways(tmp_path_factory.mktemp("gateways"), broker) as both:
        yield both


@pytest.fixture
def fragile(tmp_path: Path, broker: Broker) -> Iterator[tuple[Gateway, Gateway]]:
    """For those that end them."""
    with two_gateways(tmp_path, broker) as both:
        yield both


@pytest.fixture
def url(gateway: Gateway) -> str:
    return gateway.address["url"] + "/socket.io/"


@pytest.fixture
def others(broker: Broker, gateway: Gateway, url: str) -> Iterator[None]:
    """They hear what they hear whatever happens beside them, and the log of the gateway says no error."""
    with Client() as native, closing(joined(url)) as beside:
        native.connect(gateway.address["url"])
        subscription = native.subscribe("beside")
        beside.send('421["subscribe","beside"]')
        hear_until(beside, "431[")
        yield
        push(broker.address["push"], numbered("beside", [1]))
        native.read_events(subscription, 1)
        hear_until(beside, '42["event",{"topic":"beside"')
    assert not FAULT.search(gateway.stderr())
