"""How much of what is published a subscription wants: all, the newest, or so many a second. Pure."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from broker.errors import PenstockError

ALLOWED = (1, 2, 5, 10, 20, 30, 60)
_ALLOWED = ", ".join(map(str, ALLOWED))


class Delivery(IntEnum):
    """In the order of how much they let through: of several on one topic, the largest wins."""

    HZ_1 = 1
    HZ_2 = 2
    HZ_5 = 5
    HZ_10 = 10
    HZ_20 = 20
    HZ_30 = 30
    HZ_60 = 60
    LATEST = 100  # the newest of each topic, as often as the reader takes it
    ALL = 101

    def slot(self, now_s: float) -> int:
        """Which of its intervals it is; in each, a topic is sent once at most."""
        return 0 if self >= Delivery.LATEST else int(now_s * self)

    def due_in_s(self, now_s: float) -> float:
        """Until its next interval begins."""
        return (self.slot(now_s) + 1) / self - now_s


ALL, LATEST = Delivery.ALL, Delivery.LATEST


class BadDelivery(PenstockError):
    """No way of delivering that there is."""


def delivery(value: object) -> Delivery:
    """Of JSON: "all", "latest", or {"hz": one of ALLOWED}. Raises BadDelivery."""
    if value == "all":
        return ALL
    if value == "latest":
        return LATEST
    if isinstance(value, dict) and value.keys() == {"hz"}:
        hz = value["hz"]
        if type(hz) is int and hz in ALLOWED:
            return Delivery(hz)
    raise BadDelivery(f'want "all", "latest" or {{"hz": n}} with n one of {_ALLOWED}')


def in_query(text: str) -> Delivery:
    """Of a URL's parameter: `all`, `latest`, `hz:5`; or the JSON of the protocol. Raises BadDelivery."""
    hz = text.removeprefix("hz:")
    if hz != text:
        value: object = {"hz": int(hz)} if hz.isascii() and hz.isdigit() and len(hz) < 4 else None
    elif text.startswith("{"):
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            value = None
    else:
        value = text
    try:
        return delivery(value)
    except BadDelivery:
        raise BadDelivery(f"want all, latest or hz:n with n one of {_ALLOWED}") from None
