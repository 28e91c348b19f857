"""What the URL of a client asks for: `?topic=` subscribes at once, as on an event stream. Pure."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

from gateway import opening
from gateway.protocol import Command, Refusal
from gateway.socketio.forms import NO_ID


def maybe_opening(query: str, history_max: int, subscriptions_max: int) -> Command | None:
    """The subscribe, or a refusal that says what was wrong with it; None if no topic is named.

    Args:
        query: one that was looked at before.
    """
    fields = parse_qsl(query, keep_blank_values=True)
    given = [(name, text) for name, text in fields if name in opening.KNOWN]
    if not any(name == "topic" for name, _ in given):
        return None
    wanted = opening.wanted(urlencode(given), history_max, subscriptions_max)
    return replace(wanted, id=NO_ID) if not isinstance(wanted, Refusal) else wanted
