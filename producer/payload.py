"""Data to payload bytes and their content type, and back. Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from broker.errors import BadPayload
from broker.wire import Content

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_BINARY = Content.BINARY


def encode(data: object) -> tuple[bytes, Content]:
    """The payload for `data`: bytes as they are, str as UTF-8 text, anything else as JSON.

    JSON is what msgspec makes of it: dict, list, tuple, numbers, bool, None, also dataclasses,
    Structs, datetimes and the like.

    Raises:
        BadPayload: a type that JSON has no form for, a NaN or an infinity (its place is named), text
            that is not valid Unicode, nesting without end.
    """
    if type(data) is bytes:  # as what is published fast is: a union of types is made anew each time
        return data, _BINARY
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), Content.BINARY
    try:
        if isinstance(data, str):
            return data.encode(), Content.TEXT
        payload = _encode(data)
    except UnicodeEncodeError:
        raise BadPayload("text that is not valid Unicode") from None
    except RecursionError:
        raise BadPayload("nested too deep") from None
    except (TypeError, ValueError) as error:
        raise BadPayload(str(error)) from None
    # msgspec writes NaN and infinities as null without a word; an event without null has none, so
    # that only the few with one are searched.
    if b"null" in payload and (place := _not_finite(msgspec.to_builtins(data), "data")):
        raise BadPayload(f"{place}: JSON has no such number")
    return payload, Content.JSON


def decode(payload: bytes, declared: int) -> tuple[Any, Content]:
    """The data in a payload, and what it is: what JSON makes of it, str for text, bytes for anything else.

    `declared` is the content type that came with it. Where it is unknown, or the payload is not what it
    says, the first of JSON, text and binary that fits.
    """
    if declared in (Content.UNKNOWN, Content.JSON):
        try:
            return _decode(payload), Content.JSON
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    if declared != Content.BINARY:
        try:
            return payload.decode(), Content.TEXT
        except UnicodeDecodeError:
            pass
    return payload, Content.BINARY


def content_of(payload: bytes) -> Content:
    """What it is, of which nothing is said."""
    return decode(payload, Content.UNKNOWN)[1]


def _not_finite(value: object, place: str) -> str | None:
    """Where a NaN or an infinity stands, like `data['cpu'][0] is nan`; None if there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{place} is {value}"
    items: list[tuple[object, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    for key, item in items:
        if found := _not_finite(item, f"{place}[{key!r}]"):
            return found
    return None
