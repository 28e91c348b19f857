"""Packets of events: made once for all who have the same subscriptions, and right for each who has others."""

from __future__ import annotations

import pytest

from broker.topics import pattern
from broker.wire import pack_stamp
from gateway.event import Event
from gateway.interest import Interest, Want
from gateway.socketio.forms import POLLING, WEBSOCKET, Carrier, Forms
from gateway.socketio.sets import set_name

EPOCH = 0xABC
ONE, OTHER = (Interest(frozenset({Want(pattern(text))})) for text in ("a/b", "a/*"))


def event(payload: bytes = b"1") -> Event:
    return Event(b"a/b", pack_stamp(0, 7, EPOCH, 12, 11, 1_000_000), payload)


@pytest.mark.parametrize("carrier", [WEBSOCKET, POLLING], ids=lambda carrier: carrier.name)
def test_a_packet_is_made_once_for_a_set(carrier: Carrier) -> None:
    form, given = Forms(carrier)(ONE), event()
    assert form.encode(given) is form.encode(given)


def test_what_was_made_for_one_set_or_carrier_is_not_taken_for_another() -> None:
    given = event()
    socket, polling = Forms(WEBSOCKET), Forms(POLLING)
    for _ in range(2):
        for form, interest in ((socket(ONE), ONE), (socket(OTHER), OTHER), (polling(ONE), ONE)):
            name = set_name(interest.wants).encode()
            made = form.encode(given)
            assert made.endswith(b',"%016x.12.%b"]' % (EPOCH, name))
            assert made.startswith(b'42["event",{') == (form.carrier is POLLING)


def test_one_without_a_place_says_nothing_of_how_far_its_client_is() -> None:
    form, given = Forms(POLLING)(ONE), event()
    assert form.encode(given).endswith(set_name(ONE.wants).encode() + b'"]')
    assert form.encode(given.bare()).endswith(b'"data":1}]')
