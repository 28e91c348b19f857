"""The events of the fault runs: whose they are, which one, on what topic, and a hash over all of it. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import Struct


class Numbered(NamedTuple):
    """What a payload says. A producer numbers its events from 1, over all its topics."""

    producer: str
    number: int
    sent_ns: int  # by the monotonic clock, which processes share
    is_whole: bool  # the hash fits: this is what was sent, on that topic


class _Payload(Struct):
    p: str
    n: int
    at: int
    h: str
    x: str = ""


_decode = msgspec.json.Decoder(_Payload).decode
GARBLED = Numbered("", 0, 0, False)


def payload(producer: str, number: int, topic: str, sent_ns: int, filler: str = "") -> bytes:
    digest = _hash(producer, number, topic, sent_ns, filler)
    text = f'{{"p":"{producer}","n":{number},"at":{sent_ns},"h":"{digest}","x":"{filler}"}}'
    return text.encode()


def read(topic: str, data: bytes) -> Numbered:
    """GARBLED if it is nothing that `payload` makes."""
    try:
        said = _decode(data)
    except msgspec.DecodeError:
        return GARBLED
    return Numbered(said.p, said.n, said.at, said.h == _hash(said.p, said.n, topic, said.at, said.x))


def topic_of(stem: str, number: int, topics: int) -> str:
    """On which of its topics a producer's event goes."""
    return f"{stem}/{number % topics}"


def _hash(producer: str, number: int, topic: str, sent_ns: int, filler: str) -> str:
    text = f"{producer} {number} {topic} {sent_ns} {filler}"
    return blake2b(text.encode(), digest_size=8).hexdigest()
