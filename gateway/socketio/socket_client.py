"""A client of Socket.IO: its namespaces and events, over Engine.IO."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from gateway.socketio import packets
from gateway.socketio.engine_client import EngineClient
from gateway.socketio.forms import PacketForm
from gateway.socketio.packets import Event
from gateway.socketio.session import ROOT, Join, Left, Reserved, Session, Turned

if TYPE_CHECKING:
    from gateway.socketio.clients import Clients


class SocketClient(EngineClient):
    """`namespaces` there are; `joined`, `said` and `left` get what is done in them."""

    __slots__ = ("_session",)

    namespaces: Collection[str] = (ROOT,)

    def __init__(self, clients: Clients, form: PacketForm, sid: str, fd: int | None) -> None:
        super().__init__(clients, form, sid, fd)
        self._session = Session(clients.limits.message_max_bytes)

    @abstractmethod
    def joined(self, namespace: str, auth: dict[str, Any]) -> None:
        """It waits to be told `packets.connect`."""

    @abstractmethod
    def said(self, event: Event) -> None:
        """An event of a namespace that it is in."""

    @abstractmethod
    def left(self, namespace: str) -> None:
        """By its own wish."""

    def is_in(self, namespace: str) -> bool:
        return self._session.is_in(namespace)

    def message(self, data: str | bytes) -> None:
        asked = self._session.receive(data, self.namespaces)
        if asked is None and isinstance(data, str):
            self._clients.note_begun(self)
        elif asked is not None and isinstance(data, bytes):
            self._clients.note_whole(self)
        if isinstance(asked, Event):
            self.said(asked)
        elif isinstance(asked, Join):
            self.joined(asked.namespace, asked.auth)
        elif isinstance(asked, Left):
            self.left(asked.namespace)
        elif isinstance(asked, Turned):
            self.emit([packets.connect_error(asked.namespace, {"message": "Invalid namespace"})])
        elif isinstance(asked, Reserved):
            self._answer_reserved(asked)

    def emit(self, message: Sequence[str | bytes]) -> None:
        """One packet with its attachments."""
        self.tell(self.made(message))

    def made(self, message: Sequence[str | bytes]) -> bytes:
        """It, as it goes over the transport."""
        text, binary = self.carrier.text, self.carrier.binary
        return b"".join(
            binary(each) if isinstance(each, bytes) else text(b"4" + each.encode()) for each in message
        )

    def _answer_reserved(self, asked: Reserved) -> None:
        error = {"code": "bad_request", "message": asked.message}
        if asked.id is None:
            self.emit(packets.event(asked.namespace, "error", [error]))
        else:
            self.emit(packets.ack(asked.namespace, asked.id, [{"error": error}]))

    def late_to_join(self) -> None:
        """Its time to be in a namespace is over."""
        self.end(reason="it asked for no namespace")

    def last_word(self, reason: str) -> bytes:
        if not self.is_in(ROOT):
            return b""
        error = {"code": "bad_request", "message": reason}
        return self.carrier.frame([self.made(packets.event(ROOT, "error", [error]))])
