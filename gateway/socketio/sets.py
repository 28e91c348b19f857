"""Sets of subscriptions under short names, with which an offset says what its client has. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

import msgspec

from broker.errors import BadPattern
from broker.topics import is_system, pattern
from gateway.delivery import BadDelivery, Delivery
from gateway.interest import Interest, Want, Wants

NAME_CHARS = 22  # 132 bits

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[str, int]]).decode


def set_text(wants: Wants) -> str:
    """The same for the same set, wherever it is made."""
    return _encode(sorted((want.pattern.text, int(want.delivery)) for want in wants)).decode()


def set_name(wants: Wants) -> str:
    """What stands in an offset for it."""
    return urlsafe_b64encode(sha256(set_text(wants).encode()).digest()).decode()[:NAME_CHARS]


def name_of(interest: Interest) -> str:
    """`set_name`, made once for all who have it: of a thousand patterns that takes half a millisecond."""
    if (name := interest.name) is None:
        name = interest.name = set_name(interest.wants)
    return name


def maybe_wants(name: str, text: str) -> Wants | None:
    """The set of that name, of the text that was kept of it; None for what is no such text."""
    try:
        wants = frozenset(Want(pattern(each), Delivery(delivery)) for each, delivery in _decode(text))
    except (msgspec.DecodeError, BadPattern, BadDelivery, ValueError):
        return None
    # What may be read is judged anew by each gateway.
    if set_name(wants) != name or any(is_system(want.pattern.text) for want in wants):
        return None
    return wants
