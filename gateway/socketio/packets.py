"""Socket.IO v5 packets: a client's as values, the server's as text and attachments. Pure.

Written by python-socketio's Packet, but not read by it: of what `Decoder` refuses, it takes digits of
any script, 9,999,999,999 attachments, counts of them in any packet, a payload of any shape and depth, and
placeholders that are used twice or not at all; a number of a placeholder that is wrong ends in an
IndexError or a TypeError, brackets of depth in a RecursionError. After all those checks nothing is
left for it to do.

Source: Socket.IO protocol, revision 5, "Packet encoding"; its parser for JavaScript for the limit of
attachments and the reserved names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgspec
from socketio import packet

from gateway.forms import MAX_JSON_DEPTH, encode, is_json
from gateway.socketio.engine_packets import check_unicode
from gateway.socketio.errors import BadPacket, ReservedEvent

MAX_ATTACHMENTS = 10
MAX_NAMESPACE_CHARS = 255
MAX_ID_DIGITS = 15  # beyond 2^53 JavaScript loses the last ones
RESERVED = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


class _Kind(IntEnum):
    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


@dataclass(frozen=True, slots=True)
class Connect:
    namespace: str
    data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Disconnect:
    namespace: str


@dataclass(frozen=True, slots=True)
class Event:
    namespace: str
    id: int | None  # to be acknowledged under
    name: str
    args: list[Any]  # JSON's types, and bytes


@dataclass(frozen=True, slots=True)
class Ack:
    namespace: str
    id: int
    args: list[Any]


Packet = Connect | Disconnect | Event | Ack

_KINDS = {str(int(kind)): kind for kind in _Kind}
_BINARY = (_Kind.BINARY_EVENT, _Kind.BINARY_ACK)
# What stands before the payload. Of what is too long, enough is taken to tell.
_HEAD = re.compile(
    r"[0-6](?:(?<=[56])([0-9]{0,20})-)?"  # attachments
    rf"(?:(/[^,]{{0,{MAX_NAMESPACE_CHARS}}}),?)?"
    rf"([0-9]{{0,{MAX_ID_DIGITS + 1}}})"
)
_LONG_NUMBER = re.compile(rb"[0-9]{19}")  # perhaps not one of 64 bits
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1

_decode = msgspec.json.Decoder().decode
_Place = tuple[Any, Any]  # a list or an object, and the index or key in it


class Decoder:
    """A client's messages in, its packets out. After a BadPacket, a ReservedEvent apart, it is of no use."""

    __slots__ = ("_awaiting", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of a packet with all its attachments."""
        self._max_bytes = max_bytes
        self._awaiting: _Awaiting | None = None

    @property
    def is_waiting(self) -> bool:
        """Attachments are due, and nothing else."""
        return self._awaiting is not None

    def feed_text(self, text: str) -> Packet | None:
        """The packet, or None while its attachments are due.

        Raises:
            ReservedEvent: an event that may not be one; raised where the event would be returned.
            BadPacket: something that a client may not send.
        """
        if self._awaiting is not None:
            raise BadPacket("text where an attachment is due")
        if (head := _HEAD.match(text)) is None:
            raise BadPacket(f"a packet's type is 0 to 6, not {text[:1]!r}" if text else "an empty packet")
        kind = _KINDS[text[0]]
        if kind is _Kind.CONNECT_ERROR:
            raise BadPacket("a client may not send CONNECT_ERROR")
        attachments, namespace, id = head.groups()
        count = _count(attachments) if kind in _BINARY else 0
        if namespace is None:
            namespace = "/"
        elif len(namespace) > MAX_NAMESPACE_CHARS:
            raise BadPacket(f"a namespace has at most {MAX_NAMESPACE_CHARS} characters")
        if len(id) > MAX_ID_DIGITS:
            raise BadPacket(f"an id has at most {MAX_ID_DIGITS} digits")
        check_unicode(text)
        number = int(id) if id else None
        payload = text[head.end() :].encode()
        if kind is _Kind.EVENT:
            return _event(namespace, number, _array(payload))
        if kind is _Kind.ACK:
            return _ack(namespace, number, _array(payload))
        if kind in _BINARY:
            room = self._max_bytes - len(payload)
            self._awaiting = _Awaiting(kind, namespace, number, payload, count, room)
            return None
        if number is not None:
            raise BadPacket(f"{kind.name} has no id")
        if kind is _Kind.CONNECT:
            return Connect(namespace, _object(payload) if payload else None)
        if payload:
            raise BadPacket("DISCONNECT has no payload")
        return Disconnect(namespace)

    def feed_binary(self, data: bytes) -> Packet | None:
        """The packet that these bytes complete, or None while more are due; raises as `feed_text` does."""
        if (awaiting := self._awaiting) is None:
            raise BadPacket("binary where no attachment is due")
        awaiting.room -= len(data)
        if awaiting.room < 0:
            raise BadPacket(f"a packet has at most {self._max_bytes} bytes with its attachments")
        awaiting.come.append(data)
        if len(awaiting.come) < awaiting.count:
            return None
        self._awaiting = None
        array = _array(awaiting.payload)
        for (held, key), each in zip(_placeholders(array, awaiting.count), awaiting.come, strict=True):
            held[key] = each
        make = _event if awaiting.kind is _Kind.BINARY_EVENT else _ack
        return make(awaiting.namespace, awaiting.id, array)


@dataclass(slots=True)
class _Awaiting:
    """A packet whose attachments are due. Its payload waits as it came: read, it may be 30 times as large."""

    kind: _Kind
    namespace: str
    id: int | None
    payload: bytes
    count: int  # of the attachments
    room: int  # bytes that may yet come
    come: list[bytes] = field(default_factory=list)


def _count(attachments: str | None) -> int:
    """Of what is declared to follow."""
    if not attachments:
        raise BadPacket("a binary packet says how many attachments follow")
    if len(attachments) > 2 or int(attachments) > MAX_ATTACHMENTS:
        raise BadPacket(f"a packet has at most {MAX_ATTACHMENTS} attachments")
    if not int(attachments):
        raise BadPacket("a binary packet without attachments")
    return int(attachments)


def _event(namespace: str, id: int | None, array: list[Any]) -> Event:
    if not array or type(array[0]) is not str:
        raise BadPacket("an event begins with its name")
    name = array.pop(0)
    if name in RESERVED:
        raise ReservedEvent(name, namespace, id)
    return Event(namespace, id, name, array)


def _ack(namespace: str, id: int | None, array: list[Any]) -> Ack:
    if id is None:
        raise BadPacket("an acknowledgement has an id")
    return Ack(namespace, id, array)


def _array(payload: bytes) -> list[Any]:
    if type(value := _value(payload)) is not list:
        raise BadPacket("payload: want an array")
    return value


def _object(payload: bytes) -> dict[str, Any]:
    if type(value := _value(payload)) is not dict:
        raise BadPacket("payload: want an object")
    return value


def _value(text: bytes) -> Any:
    """Of sound and shallow JSON; integers beyond 64 bits as floats, which they are in JavaScript."""
    if not is_json(text):
        raise BadPacket(f"payload: not JSON, or deeper than {MAX_JSON_DEPTH}")
    try:
        value = _decode(text)
        if type(value) in (dict, list) and _LONG_NUMBER.search(text):
            for held, key, each in _parts(value):
                if type(each) is int and not _LEAST <= each <= _MOST:
                    held[key] = float(each)
    except (msgspec.DecodeError, OverflowError) as error:
        raise BadPacket(f"payload: {error}") from None
    return value


def _placeholders(array: list[Any], count: int) -> list[_Place]:
    """Where each attachment goes."""
    places: list[_Place | None] = [None] * count
    for held, key, each in _parts(array):
        if type(each) is dict and each.get("_placeholder") is True:
            number = each.get("num")
            if type(number) is not int or not 0 <= number < count:
                raise BadPacket(f"a placeholder has a number below that of the attachments, {count}")
            if places[number] is not None:
                raise BadPacket(f"attachment {number} has two placeholders")
            places[number] = held, key
    found = [place for place in places if place is not None]
    if len(found) < count:
        raise BadPacket(f"{count} attachments, but {len(found)} placeholders")
    return found


def _parts(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """All that is in it, each as a list or object, the index or key there, and what that is."""
    waiting = [value]
    while waiting:
        held = waiting.pop()
        for key, each in held.items() if type(held) is dict else enumerate(held):
            yield held, key, each
            if type(each) is dict or type(each) is list:
                waiting.append(each)


# What the server sends


class _Json:
    """What Packet wants of a JSON module."""

    @staticmethod
    def dumps(data: Any, separators: tuple[str, str]) -> str:
        return encode(data).decode()


class _Encoded(packet.Packet):  # type: ignore[misc]  # it is untyped
    json = _Json


def connect(namespace: str, data: dict[str, Any]) -> str:
    return _text(_Kind.CONNECT, namespace, data)


def connect_error(namespace: str, data: dict[str, Any]) -> str:
    return _text(_Kind.CONNECT_ERROR, namespace, data)


def disconnect(namespace: str) -> str:
    return _text(_Kind.DISCONNECT, namespace, None)


def event(namespace: str, name: str, args: list[Any], id: int | None = None) -> list[str | bytes]:
    """The text, and after it what in `args` is bytes: lists and objects are searched for them.

    JSON that is already written may be in them as `msgspec.Raw`. No object in `args` may have a true
    `_placeholder` where bytes are beside it: clients would take it for one.
    """
    return _texts(_Kind.EVENT, namespace, [name, *args], id)


def ack(namespace: str, id: int, args: list[Any]) -> list[str | bytes]:
    """The same for what an event's id is answered with."""
    return _texts(_Kind.ACK, namespace, args, id)


def _text(kind: _Kind, namespace: str, data: dict[str, Any] | None) -> str:
    text: str = _Encoded(int(kind), data, namespace, binary=False).encode()
    return text


def _texts(kind: _Kind, namespace: str, data: list[Any], id: int | None) -> list[str | bytes]:
    encoded: str | list[str | bytes] = _Encoded(int(kind), data, namespace, id).encode()
    return encoded if isinstance(encoded, list) else [encoded]
