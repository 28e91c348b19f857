"""The native protocol's texts, to and from values. Pure.

A client's frame holds one or more JSON objects separated by newlines. Each becomes a command, or a
refusal that names what was wrong with it: the connection stays.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from broker.errors import BadPattern, BadPosition, BadTopic
from broker.topics import Pattern, check_topic, is_system, pattern
from broker.wire import Content, Position
from gateway.delivery import ALL, BadDelivery, Delivery, delivery
from gateway.forms import MAX_JSON_DEPTH, is_json
from gateway.interest import Want, Wants
from gateway.publishing import KEY_RULE, Draft, Outcome, Payload, Published, is_key

VERBS = ("subscribe", "unsubscribe", "publish", "token", "ping", "beat")
MAX_ID = 1 << 53
COMMANDS_PER_FRAME = 1_000


@dataclass(frozen=True, slots=True)
class Subscribe:
    """To one or several patterns, in one cut."""

    id: int
    patterns: frozenset[Pattern]
    history: int = 0  # so many of the newest of each matching topic
    since: Position | None = None  # or all since then
    delivery: Delivery = ALL

    @property
    def wants(self) -> Wants:
        return frozenset(Want(wanted, self.delivery) for wanted in self.patterns)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    id: int
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Publish:
    id: int
    draft: Draft
    follows: int | None = None  # only if the publish with that id, the one before it, was confirmed


@dataclass(frozen=True, slots=True)
class Ping:
    id: int | None


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life now and then is wanted, or not any more."""

    id: int
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server answers to what it will not do."""

    id: int | None
    code: str
    message: str


Command = Subscribe | Unsubscribe | Publish | Ping | Beat | Refusal

_FIELDS = {
    "subscribe": {"subscribe", "id", "history", "since", "delivery"},
    "unsubscribe": {"unsubscribe", "id"},
    "publish": {"publish", "id", "data", "text", "base64", "key", "follows"},
    "ping": {"ping", "id"},
    "beat": {"beat", "id"},
}
_PAYLOADS = ("data", "text", "base64")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class _WithData(msgspec.Struct):
    data: msgspec.Raw


_decode_data = msgspec.json.Decoder(_WithData).decode


def commands(text: str, history_max: int) -> Iterator[Command]:
    """What a client's frame asks for, in order. Never raises."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        yield Refusal(None, "bad_request", "an empty frame: want one or more JSON objects")
    for place, line in enumerate(lines):
        if place == COMMANDS_PER_FRAME:
            yield Refusal(None, "bad_request", f"more than {COMMANDS_PER_FRAME} objects in one frame")
            return
        yield _command(line, history_max)


def _command(line: str, history_max: int) -> Command:
    try:
        fields = _decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        return Refusal(None, "bad_request", f"not JSON: {error}")
    if not isinstance(fields, dict):
        return Refusal(None, "bad_request", "want a JSON object")
    given = fields.get("id")
    number = given if type(given) is int and 0 <= given < MAX_ID else None
    if "id" in fields and number is None:
        return Refusal(None, "bad_request", "id: want an integer from 0 to 2^53 - 1")
    verbs = [verb for verb in VERBS if verb in fields]
    if len(verbs) != 1:
        return Refusal(number, "bad_request", f"want exactly one of {', '.join(VERBS)}")
    verb = verbs[0]
    if verb == "token":
        return Refusal(number, "forbidden", "this gateway takes no tokens")
    if unknown := fields.keys() - _FIELDS[verb]:
        return Refusal(number, "bad_request", f"{verb}: unknown field {sorted(unknown)[0][:40]!r}")
    if verb == "ping":
        return Ping(number)
    if number is None:
        return Refusal(None, "bad_request", f"{verb}: id is missing")
    if verb == "beat":
        if type(fields["beat"]) is not bool:
            return Refusal(number, "bad_request", "beat: want true or false")
        return Beat(number, fields["beat"])
    if verb == "publish":
        return _read_publish(number, fields, line)
    return command(verb, number, fields, history_max)


def command(verb: str, number: int, fields: dict[str, Any], history_max: int) -> Command:
    """A subscribe or an unsubscribe, of fields that it may have."""
    try:
        wanted = _pattern(verb, fields[verb])
        if verb == "unsubscribe":
            return Unsubscribe(number, wanted)
        return _subscribe(number, wanted, fields, history_max)
    except _Refused as refused:
        return Refusal(number, refused.code, refused.message)


def publish(number: int, topic: Any, payload: Payload, key: Any) -> Command:
    try:
        return _publish(number, _topic(topic), payload, key, None)
    except _Refused as refused:
        return Refusal(number, refused.code, refused.message)


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message


def _pattern(verb: str, text: Any) -> Pattern:
    if not isinstance(text, str):
        raise _Refused("bad_pattern", f"{verb}: want a pattern as a string")
    try:
        wanted = pattern(text)
    except BadPattern as error:
        raise _Refused("bad_pattern", str(error)) from None
    if is_system(text):
        raise _Refused("forbidden", f"{text[:60]!r}: reading the system's own topics is not allowed here")
    return wanted


def _subscribe(number: int, wanted: Pattern, fields: dict[str, Any], history_max: int) -> Subscribe:
    history, since = fields.get("history"), fields.get("since")
    if history is not None and since is not None:
        raise _Refused("bad_request", "history and since exclude each other")
    if history is not None and (type(history) is not int or not 0 <= history <= history_max):
        raise _Refused("bad_request", f"history: want an integer from 0 to {history_max}")
    try:
        wished = delivery(fields.get("delivery", "all"))
    except BadDelivery as error:
        raise _Refused("bad_request", f"delivery: {error}") from None
    position = None
    if since is not None:
        try:
            if not isinstance(since, str):
                raise _Refused("bad_request", "since: want a position as a string")
            position = Position.parse(since)
        except BadPosition as error:
            raise _Refused("bad_request", f"since: {error}") from None
    return Subscribe(number, frozenset({wanted}), history or 0, position, wished)


def _read_publish(number: int, fields: dict[str, Any], line: str) -> Command:
    try:
        topic = _topic(fields["publish"])  # what is wrong with it comes first
        return _publish(number, topic, _payload(fields, line), fields.get("key"), fields.get("follows"))
    except _Refused as refused:
        return Refusal(number, refused.code, refused.message)


def _publish(number: int, topic: str, payload: Payload, key: Any, follows: Any) -> Publish:
    if key is not None and not (isinstance(key, str) and is_key(key)):
        raise _Refused("bad_request", f"key: {KEY_RULE}")
    if follows is not None and (type(follows) is not int or not 0 <= follows < MAX_ID):
        raise _Refused("bad_request", "follows: want the id of the publish before it")
    return Publish(number, Draft(topic, [payload], key), follows)


def _topic(text: Any) -> str:
    if not isinstance(text, str):
        raise _Refused("bad_topic", "publish: want a topic as a string")
    try:
        return check_topic(text)
    except BadTopic as error:
        raise _Refused("bad_topic", str(error)) from None


def _payload(fields: dict[str, Any], line: str) -> Payload:
    kinds = [kind for kind in _PAYLOADS if kind in fields]
    if len(kinds) != 1:
        raise _Refused("bad_request", f"publish: want exactly one of {', '.join(_PAYLOADS)}")
    (kind,) = kinds
    if kind == "data":
        # As the client wrote it: read and written again, numbers would lose digits.
        payload = bytes(_decode_data(line).data)
        if not is_json(payload):
            raise _Refused("bad_payload", f"data: deeper than {MAX_JSON_DEPTH}")
        return payload, Content.JSON
    given = fields[kind]
    if not isinstance(given, str):
        raise _Refused("bad_request", f"{kind}: want a string")
    if kind == "text":
        return given.encode(), Content.TEXT
    try:
        return binascii.a2b_base64(given, strict_mode=True), Content.BINARY
    except ValueError as error:  # binascii.Error, and UnicodeEncodeError
        raise _Refused("bad_payload", f"base64: {error}") from None


def outcome(number: int, became: Outcome) -> bytes:
    """The reply to a publish."""
    if not isinstance(became, Published):
        return refused(Refusal(number, became.code, became.message))
    repeated = {"repeated": True} if became.is_repeated else {}
    return ok(number, position=became.position, **repeated)


def ok(number: int | None, **fields: object) -> bytes:
    return _encode({"reply": number, "ok": fields})


def refused(refusal: Refusal) -> bytes:
    return _encode({"reply": refusal.id, "error": {"code": refusal.code, "message": refusal.message}})


def welcome(position: Position, gateway: str, limits: dict[str, int]) -> bytes:
    return _encode({"welcome": {"position": str(position), "gateway": gateway, "limits": limits}})


def at(position: Position) -> bytes:
    return _encode({"at": str(position)})


BEAT = _encode({"beat": True})


def notice(code: str, **fields: object) -> bytes:
    return _encode({"notice": {"code": code, **fields}})
