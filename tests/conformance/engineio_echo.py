"""Engine.IO that says back what it hears: `python -m tests.conformance.engineio_echo`."""

from __future__ import annotations

from gateway.socketio.clients import Clients
from gateway.socketio.engine_client import EngineClient
from gateway.socketio.engine_packets import EnginePacket, Kind, frame_of, text_of
from tests.conformance.serving import form_of, serve_clients


class Echo(EngineClient):
    """See `EngineClient`."""

    __slots__ = ()

    def message(self, data: str | bytes) -> None:
        packet = EnginePacket(Kind.MESSAGE, data)
        self.tell(text_of(packet) if self.engine.is_polling else frame_of(packet))

    def late_to_join(self) -> None:
        """There is nothing to join."""

    @property
    def is_full(self) -> bool:
        """Reads no further while there is something to say."""
        behind = self.behind
        return super().is_full or (not self.engine.is_polling and behind is not None and bool(behind.told))


def make(clients: Clients, sid: str, fd: int | None, query: str) -> Echo:
    return Echo(clients, form_of(clients, fd), sid, fd)


if __name__ == "__main__":
    serve_clients("engineio_echo", make, "/engine.io/")
