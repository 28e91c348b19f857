"""A browser, a broker and a gateway for all tests of a file: those who stop one start it again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.page import Page, browser
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A tab in which nothing is open yet."""
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as service:
        yield service


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), broker) as service:
        yield service
