"""Session ids of Engine.IO: each begins with the id of the gateway that has the session. Pure."""

from __future__ import annotations

import re
import secrets
from urllib.parse import unquote_plus

SECRET_BYTES = 16  # whoever can guess a sid can speak in its session's name

_GATEWAY_ID = r"[a-z0-9]{0,8}[0-9]{2,3}"
_is_gateway_id = re.compile(_GATEWAY_ID, re.ASCII).fullmatch
_is_sid = re.compile(rf"({_GATEWAY_ID})\.[A-Za-z0-9_-]{{22}}", re.ASCII).fullmatch
# Also where somebody writes the name with percent signs; without a value it is as good as not there.
_sid = re.compile(r"(?:^|&)(?:s|%73)(?:i|%69)(?:d|%64)=([^&]+)").search


def new_sid(gateway_id: str) -> str:
    return f"{gateway_id}.{secrets.token_urlsafe(SECRET_BYTES)}"


def owner_of(sid: str) -> str | None:
    """The id of the gateway that would have made it, None if none would. It may be of nobody."""
    found = _is_sid(sid)
    return found[1] if found else None


def is_gateway_id(text: str) -> bool:
    return _is_gateway_id(text) is not None


def sid_in(query: str) -> str | None:
    """The first `sid` of a request's query, which is as it came; None if it has none."""
    if not (found := _sid(query)):
        return None
    sid = found[1]
    return unquote_plus(sid) if "%" in sid or "+" in sid else sid
