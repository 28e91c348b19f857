"""What gateways keep for each other: two links to a real broker, that is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import gevent
import pytest
import zmq
from gevent.event import AsyncResult

from broker.errors import ControlError
from broker.shelf import VALUE_MAX_BYTES
from gateway.kept import Kept, Told
from gateway.links import ControlLink
from tests.support.ports import reserved_ports
from tests.support.processes import Broker
from tests.support.processes import broker as running_broker
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with (
        reserved_ports(1) as (port,),  # nobody else takes it while the broker is away
        running_broker(tmp_path, control=f"tcp://127.0.0.1:{port}") as service,
    ):
        yield service


class Gateway:
    """As much of one as keeps values."""

    def __init__(self, link: ControlLink) -> None:
        self._kept = Kept(link.ask)

    def keep(self, name: str, value: str) -> str | ControlError | None:
        return self._answer(partial(self._kept.keep, name, value))

    def look(self, name: str) -> str | ControlError | None:
        return self._answer(partial(self._kept.look, name))

    def _answer(self, ask: partial[None]) -> str | ControlError | None:
        told: AsyncResult = AsyncResult()
        done: Told = told.set
        ask(done)
        assert not told.ready(), "answers come later"
        found: str | ControlError | None = told.get()
        return found


@pytest.fixture
def gateways(broker: Broker) -> Iterator[tuple[Gateway, Gateway]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    address = broker.address["control"]
    with (
        gevent.Timeout(DEADLINE_S),
        closing(ControlLink(context, address)) as one,
        closing(ControlLink(context, address)) as other,
    ):
        yield Gateway(one), Gateway(other)


def test_any_gateway_finds_what_another_one_kept(broker: Broker, gateways: tuple[Gateway, Gateway]) -> None:
    one, other = gateways
    most = "ü" * (VALUE_MAX_BYTES // 2)
    assert other.look("set:1") is None
    assert one.keep("set:1", '["a/**"]') == '["a/**"]'
    assert other.keep("set:1", "something else") == '["a/**"]'
    assert other.keep("key:1", most) == most
    broker.kill()
    broker.start()
    assert (one.look("key:1"), other.look("set:1")) == (most, '["a/**"]')
    assert one.look("set:2") is None


def test_what_is_refused_is_told(gateways: tuple[Gateway, Gateway]) -> None:
    codes = []
    for name, value in (("a", "x" * (VALUE_MAX_BYTES + 1)), ("no name", "x")):
        error = gateways[0].keep(name, value)
        assert isinstance(error, ControlError)
        codes.append(error.code)
    assert codes == ["limit", "bad_request"]
