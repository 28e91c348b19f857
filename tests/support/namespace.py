"""Clients of Socket.IO in the main namespace, packet by packet: what a test says, be it wrong, and hears."""

from __future__ import annotations

import json
from typing import Any

from websockets.sync.client import ClientConnection

from tests.support.engineio import Polled, hear, socket


def joined(url: str) -> ClientConnection:
    """Over a WebSocket, in the namespace."""
    found = socket(url)
    hear(found)
    found.send("40")
    hear_until(found, "40{")
    return found


def hear_until(socket: ClientConnection, start: str) -> str:
    """The first packet that begins so."""
    while not (packet := str(hear(socket))).startswith(start):
        pass
    return packet


def said(heard: list[str | bytes]) -> list[dict[str, Any]]:
    """What came as errors."""
    events = [json.loads(each[2:]) for each in heard if isinstance(each, str) and each.startswith("42[")]
    return [event[1] for event in events if event[0] == "error"]


def polled(url: str) -> Polled:
    """In the namespace; what it is told there has been polled."""
    session = Polled(url)
    assert session.post("40").status == 200
    await_packet(session, "40{")
    return session


def await_packet(session: Polled, start: str) -> str:
    while True:
        for packet in session.poll().packets:
            if packet.startswith(start):
                return packet
