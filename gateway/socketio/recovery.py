"""Where a client goes on after a break: its offset, and the token that says that it was here. Pure.

An offset is `epoch.seq.set`: a position, and the name of the set of subscriptions that everything up to
there was sent of. Nothing is kept of a client: the token (`pid`) is sealed with a key that all gateways
have, and shows that one of them gave it, and where. What official clients have of an older token's offset
when they get a new one is not of that one: they were told that they are new.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode

from broker.errors import BadPosition
from broker.wire import Position
from gateway.socketio.sets import NAME_CHARS

KEY_NAME = "key:socketio-pid"  # under which gateways keep it

_RANDOM_BYTES = 16
_CHARS = 22  # of 16 bytes in base64
_pid = re.compile(r"((.{1,60})\.[A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})", re.ASCII).fullmatch
_is_set = re.compile(rf"[A-Za-z0-9_-]{{{NAME_CHARS}}}", re.ASCII).fullmatch


def new_key() -> str:
    return secrets.token_urlsafe(32)


class Sealer:
    """Makes tokens, and knows those that were made with the same key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def new_pid(self, position: Position) -> str:
        secret = f"{position}.{secrets.token_urlsafe(_RANDOM_BYTES)}"
        return f"{secret}.{self._seal(secret)}"

    def is_of(self, pid: str, offset: Position) -> bool:
        """One of ours gave it, and this place to whoever has it."""
        found = _pid(pid)
        if not found or not hmac.compare_digest(found[3], self._seal(found[1])):
            return False
        begun = Position.parse(found[2])  # we wrote it
        return begun.epoch != offset.epoch or begun.seq <= offset.seq

    def _seal(self, secret: str) -> str:
        digest = hmac.digest(self._key, secret.encode(), "sha256")
        return urlsafe_b64encode(digest).decode()[:_CHARS]


def maybe_place(offset: str) -> tuple[Position, str] | None:
    """Position and set of an offset, None for what is none."""
    text, _, name = offset.rpartition(".")
    try:
        return (Position.parse(text), name) if _is_set(name) else None
    except BadPosition:
        return None
