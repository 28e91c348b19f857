"""What the events of a client ask for: `subscribe`, `unsubscribe` and `publish`, as commands. Pure.

`subscribe(pattern, options)`, `unsubscribe(pattern)` and `publish(topic, data, options)`, each perhaps with
an acknowledgement; the options are those of the native protocol and may be left out. Data may be bytes.
"""

from __future__ import annotations

from typing import Any

from broker.wire import Content
from gateway.forms import encode
from gateway.protocol import Command, Refusal, command, publish
from gateway.socketio.forms import NO_ID
from gateway.socketio.packets import Event
from gateway.socketio.recovery import maybe_place

EVENTS = ("subscribe", "unsubscribe", "publish")
_OPTIONS = {"subscribe": {"history", "since", "delivery"}, "unsubscribe": set[str](), "publish": {"key"}}
_ARGUMENTS = {"subscribe": 1, "unsubscribe": 1, "publish": 2}
_USAGE = {
    "subscribe": "a pattern and perhaps options",
    "unsubscribe": "a pattern",
    "publish": "a topic, data and perhaps options",
}


def asked(event: Event, history_max: int) -> Command:
    """What is to be done, or a refusal that names what was wrong with it."""
    id = NO_ID if event.id is None else event.id
    if event.name not in EVENTS:
        message = f"no event {event.name[:40]!r} is heard here: want {', '.join(EVENTS)}"
        return Refusal(event.id, "bad_request", message)
    count = _ARGUMENTS[event.name]
    args, options = event.args[:count], event.args[count:]
    if len(args) < count or len(options) > 1:
        return Refusal(event.id, "bad_request", f"{event.name}: want {_USAGE[event.name]}")
    given: Any = options[0] if options and options[0] is not None else {}
    if not isinstance(given, dict):
        return Refusal(event.id, "bad_request", f"{event.name}: want its options as an object")
    if unknown := given.keys() - _OPTIONS[event.name]:
        message = f"{event.name}: unknown option {sorted(unknown)[0][:40]!r}"
        return Refusal(event.id, "bad_request", message)
    if event.name == "publish":
        return publish(id, args[0], _payload(args[1]), given.get("key"))
    if isinstance(since := given.get("since"), str) and maybe_place(since):
        given = {**given, "since": since.rpartition(".")[0]}  # an offset, of which it is the beginning
    return command(event.name, id, {event.name: args[0], **given}, history_max)


def _payload(data: Any) -> tuple[bytes, Content]:
    return (data, Content.BINARY) if isinstance(data, bytes) else (encode(data), Content.JSON)
