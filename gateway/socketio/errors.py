"""What a client of Socket.IO may not send, as errors. Pure."""

from __future__ import annotations

from broker.errors import PenstockError


class BadPacket(PenstockError):
    """A client sent what is no packet, or none that it may send; `reason` names the rule."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"bad packet: {reason}")
        self.reason = reason


class ReservedEvent(BadPacket):
    """An event under a name that means something else to Socket.IO: to be answered, the client stays."""

    def __init__(self, name: str, namespace: str, id: int | None) -> None:
        super().__init__(f"{name!r} is reserved, it cannot be the name of an event")
        self.name, self.namespace, self.id = name, namespace, id
