"""What the broker's log holds, and what it counts, asked as anybody may ask: on the control port."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import zmq

from broker import control
from broker.control import ReplayPage, StatusPage
from broker.wire import unpack_records, unpack_stamp
from tests.support.waiting import DEADLINE_S


class Logged(NamedTuple):
    topic: str
    seq: int
    nth: int
    payload: bytes

    @property
    def place(self) -> tuple[str, int, int]:
        return self.topic, self.seq, self.nth


def logged(address: str, pattern: str, after: int = 0) -> list[Logged]:
    """All retained events of a pattern beyond seq `after`, by seq."""
    found: list[Logged] = []
    while True:
        request = control.Replay(id=1, patterns=(pattern,), after=after)
        page, records = ask(address, request, ReplayPage)
        for topic, data, payload in unpack_records(records):
            stamp = unpack_stamp(data)
            found.append(Logged(topic.decode(), stamp.seq, stamp.nth, payload))
        if page.through >= page.at.head:
            return found
        after = page.through


def status(address: str) -> StatusPage:
    page: StatusPage = ask(address, control.Status(id=1), StatusPage)[0]
    return page


def ask(address: str, request: control.AnyRequest, wanted: type) -> tuple[Any, bytes]:
    """The page and its records. A broker that is not there yet is waited for, up to the deadline."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        asking.set(zmq.LINGER, 0)
        asking.connect(address)
        asking.send(control.encode(request))
        assert asking.poll(int(DEADLINE_S * 1000)), f"no answer from the broker at {address}"
        data, *records = asking.recv_multipart()
    answer = control.decode_answer(data)
    assert answer.error is None, answer.error
    return msgspec.json.decode(answer.ok, type=wanted), records[0] if records else b""
