"""Engine.IO v4 packets: of a WebSocket message, or several in the body of a POST. Pure.

Written by python-engineio's Packet, but not read by it: that takes digits of any script and unknown
types, skips what is not base64, and decodes the JSON of each packet, which is for who gets it to do.

Source: Engine.IO protocol, revision 4, "Packet encoding" and "HTTP long-polling".
"""

from __future__ import annotations

import binascii
from enum import IntEnum
from typing import NamedTuple

from engineio.packet import Packet

from gateway.frames import binary_frame, text_frame
from gateway.socketio.errors import BadPacket

_SEPARATOR = "\x1e"
_BASE64 = "b"


class Kind(IntEnum):
    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


_KINDS = {str(int(kind)): kind for kind in Kind}


class EnginePacket(NamedTuple):
    kind: Kind
    data: str | bytes = ""  # bytes only in a MESSAGE


def read_text(text: str) -> EnginePacket:
    """The packet that a WebSocket text message is; base64 too, which clients with `forceBase64` send.

    Raises:
        BadPacket: it is empty, of an unknown type, or not Unicode or base64.
    """
    if not text:
        raise BadPacket("an empty packet")
    if (kind := _KINDS.get(text[0])) is not None:
        check_unicode(text)
        return EnginePacket(kind, text[1:])
    if text[0] != _BASE64:
        raise BadPacket(f"{text[0]!r} is no type of a packet: want 0 to 6, or b")
    try:
        return EnginePacket(Kind.MESSAGE, binascii.a2b_base64(text[1:], strict_mode=True))
    except ValueError as error:  # binascii.Error, and what is not ASCII
        raise BadPacket(f"base64: {error}") from None


def read_binary(data: bytes) -> EnginePacket:
    """The packet that a WebSocket binary message is."""
    return EnginePacket(Kind.MESSAGE, data)


def read_payload(body: str, most: int) -> list[EnginePacket]:
    """The packets, one to `most`, in the body of a POST.

    Raises:
        BadPacket: there are more, or one of them is bad.
    """
    texts = body.split(_SEPARATOR, most)
    if len(texts) > most:
        raise BadPacket(f"more than {most} packets in one payload")
    return [read_text(text) for text in texts]


def text_of(packet: EnginePacket) -> bytes:
    """As a part of what a poll is answered."""
    text: str = Packet(int(packet.kind), packet.data).encode(b64=True)
    return text.encode()


def frame_of(packet: EnginePacket) -> bytes:
    """As a WebSocket frame, whole."""
    return binary_frame(packet.data) if isinstance(packet.data, bytes) else text_frame(text_of(packet))


def check_unicode(text: str) -> None:
    """Half of a surrogate pair cannot be sent on.

    Raises:
        BadPacket: there is one.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadPacket("half of a surrogate pair is no character") from None
