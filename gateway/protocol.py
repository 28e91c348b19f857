"""The native protocol's texts, to and from values. Pure.

A client's frame holds one or more JSON objects separated by newlines. Each becomes a command, or a
refusal that names what was wrong with it: the connection stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from broker.errors import BadPattern, BadPosition
from broker.topics import Pattern, is_system, pattern
from broker.wire import Position
from gateway.delivery import ALL, BadDelivery, Delivery, delivery
from gateway.interest import Want, Wants

VERBS = ("subscribe", "unsubscribe", "publish", "token", "ping")
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
class Ping:
    id: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server answers to what it will not do."""

    id: int | None
    code: str
    message: str


Command = Subscribe | Unsubscribe | Ping | Refusal

_FIELDS = {
    "subscribe": {"subscribe", "id", "history", "since", "delivery"},
    "unsubscribe": {"unsubscribe", "id"},
    "ping": {"ping", "id"},
}
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


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
    if verb == "publish":
        return Refusal(number, "forbidden", "publishing from browsers is not allowed here")
    if verb == "token":
        return Refusal(number, "forbidden", "this gateway takes no tokens")
    if unknown := fields.keys() - _FIELDS[verb]:
        return Refusal(number, "bad_request", f"{verb}: unknown field {sorted(unknown)[0][:40]!r}")
    if verb == "ping":
        return Ping(number)
    if number is None:
        return Refusal(None, "bad_request", f"{verb}: id is missing")
    try:
        wanted = _pattern(verb, fields[verb])
        if verb == "unsubscribe":
            return Unsubscribe(number, wanted)
        return _subscribe(number, wanted, fields, history_max)
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


def ok(number: int | None, **fields: object) -> bytes:
    return _encode({"reply": number, "ok": fields})


def refused(refusal: Refusal) -> bytes:
    return _encode({"reply": refusal.id, "error": {"code": refusal.code, "message": refusal.message}})


def welcome(position: Position, gateway: str, limits: dict[str, int]) -> bytes:
    return _encode({"welcome": {"position": str(position), "gateway": gateway, "limits": limits}})


def at(position: Position) -> bytes:
    return _encode({"at": str(position)})


def notice(code: str, **fields: object) -> bytes:
    return _encode({"notice": {"code": code, **fields}})
