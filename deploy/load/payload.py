"""The events of the benches: 128 bytes that say which one they are and when they were sent. Pure."""

from __future__ import annotations

import re

PAYLOAD_BYTES = 128

_STAMPED = re.compile(rb'"t":"(\d{19})","n":"(\d{9})"\}')
_FIXED_BYTES = len(b'{"pad":"","t":"","n":""}') + 19 + 9
_PAD = b"x" * (PAYLOAD_BYTES - _FIXED_BYTES)


def payload(number: int, time_ns: int) -> bytes:
    """JSON, always of the same size; `time_ns` by the monotonic clock, which processes share."""
    return b'{"pad":"%b","t":"%019d","n":"%09d"}' % (_PAD, time_ns, number)


def spread(number: int, count: int) -> int:
    """On which of so many topics an event goes: all get as much, in an order without a pattern.

    Fibonacci hashing. Source: Knuth, The Art of Computer Programming, volume 3, section 6.4.
    """
    return (number * 2654435769 % 2**32) * count >> 32


def ending(number: int) -> bytes:
    """With what the event ends, whatever a protocol adds behind it."""
    return b'"n":"%09d"}' % number


def stamped(data: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The (number, time_ns) of each whole event in the data, and the bytes after the last one."""
    found, end = [], 0
    for match in _STAMPED.finditer(data):
        found.append((int(match[2]), int(match[1])))
        end = match.end()
    return found, data[end:]
