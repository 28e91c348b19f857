"""Which requests of Socket.IO are for a session of another gateway. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from gateway.head import Head
from gateway.socketio.requests import PATHS, Fault, refusal, shared
from gateway.socketio.sids import owner_of, sid_in
from gateway.upgrade import Refusal, is_welcome


class Elsewhere(NamedTuple):
    """A request that is not for this gateway."""

    owner: str | None  # whose it is by its sid; None: no gateway gave such a sid
    head: Head


def maybe_elsewhere(head: Head, gateway_id: str) -> Elsewhere | None:
    """None for what is answered here: all that is not Socket.IO's, has no sid, or one of this gateway."""
    # Whether a page of another origin may ask is known anywhere.
    if head.path not in PATHS or head.method == "OPTIONS" or (sid := sid_in(head.query)) is None:
        return None
    owner = owner_of(sid)
    return None if owner == gateway_id else Elsewhere(owner, head)


def unknown_session(head: Head, origins: Collection[str]) -> Refusal:
    """The answer where its owner cannot be reached: official clients open another session.

    Args:
        origins: foreign origins that are let in, in lower case, "https://example.org".
    """
    origin, host = head.headers.get("origin"), head.headers.get("host") or ""
    may_read = origin is not None and bool(host) and is_welcome(origin, host, origins)
    return refusal(Fault.SESSION, shared(origin if may_read else None))
