"""What a client of Engine.IO may do, and how long each may take. Pure."""

from __future__ import annotations

from typing import NamedTuple

CONNECT_S = 45.0


class Limits(NamedTuple):
    ping_interval_s: float
    ping_timeout_s: float
    message_max_bytes: int  # of a WebSocket message, and of the body of a POST
    messages_per_s: float
    connect_s: float = CONNECT_S  # for a session to be in a namespace
    frame_s: float = 30.0  # for a message to come whole, with its attachments
    polling_per_address: int = 2_000  # sessions
    # Two polls at once: the protocol wants the session ended. But then whoever guesses or overhears a sid
    # could end it, so as a rule the second alone is refused.
    ends_on_two_polls: bool = False
