"""Which namespaces a client of Socket.IO is in, and what each of its packets asks for. Pure.

Source: Socket.IO protocol, revision 5, "Exchange protocol".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from gateway.socketio.errors import BadPacket, ReservedEvent
from gateway.socketio.packets import Ack, Connect, Decoder, Disconnect, Event, Packet

ROOT = "/"
UNKNOWN_MAX = 100  # namespaces that are not there, which one client may ask for


class Join(NamedTuple):
    """It wants into a namespace, and is in it from now on; to be told so."""

    namespace: str
    auth: dict[str, Any]


class Turned(NamedTuple):
    """It wants into one that is not there."""

    namespace: str


class Left(NamedTuple):
    """It has left one, and is in it no more."""

    namespace: str


class Reserved(NamedTuple):
    """It sent an event under a name that is none: to be told so, no handler's."""

    namespace: str
    id: int | None
    message: str


Asked = Join | Turned | Left | Reserved | Event | Ack


class Session:
    """One client's."""

    __slots__ = ("_decoder", "_joined", "_max_bytes", "_turned")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of a packet with its attachments."""
        self._max_bytes = max_bytes
        self._joined: tuple[str, ...] = ()  # few: a set takes 200 bytes
        self._decoder: Decoder | None = None  # while attachments are due
        self._turned = 0

    def is_in(self, namespace: str) -> bool:
        return namespace in self._joined

    def receive(self, message: str | bytes, namespaces: Collection[str]) -> Asked | None:
        """What a message of the client asks for; None while attachments are due.

        Raises:
            BadPacket: the session must end.
        """
        decoder = self._decoder or Decoder(self._max_bytes)
        try:
            if isinstance(message, bytes):
                packet = decoder.feed_binary(message)
            else:
                packet = decoder.feed_text(message)
        except ReservedEvent as error:
            self._decoder = None
            self._check_is_in(error.namespace)
            return Reserved(error.namespace, error.id, error.reason)
        self._decoder = decoder if decoder.is_waiting else None
        return None if packet is None else self._heed(packet, namespaces)

    def _heed(self, packet: Packet, namespaces: Collection[str]) -> Asked:
        if isinstance(packet, Connect):
            if packet.namespace in self._joined:
                raise BadPacket(f"already in {packet.namespace[:60]!r}")
            if packet.namespace in namespaces:
                self._joined += (packet.namespace,)
                return Join(packet.namespace, packet.data or {})
            self._turned += 1
            if self._turned > UNKNOWN_MAX:
                raise BadPacket(f"more than {UNKNOWN_MAX} namespaces that are not there")
            return Turned(packet.namespace)
        self._check_is_in(packet.namespace)
        if isinstance(packet, Disconnect):
            self._joined = tuple(each for each in self._joined if each != packet.namespace)
            return Left(packet.namespace)
        return packet

    def _check_is_in(self, namespace: str) -> None:
        if namespace not in self._joined:
            raise BadPacket(f"not in {namespace[:60]!r}")
