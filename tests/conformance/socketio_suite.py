"""Socket.IO as its public suite expects it: `python -m tests.conformance.socketio_suite`."""

from __future__ import annotations

from typing import Any

import gevent

from gateway.socketio import packets
from gateway.socketio.clients import Clients
from gateway.socketio.packets import Event
from gateway.socketio.sids import new_sid
from gateway.socketio.socket_client import SocketClient
from tests.conformance.serving import form_of, serve_clients

APART_S = 0.02


class Suite(SocketClient):
    """See `SocketClient`."""

    __slots__ = ()

    namespaces = ("/", "/custom")

    def joined(self, namespace: str, auth: dict[str, Any]) -> None:
        self.emit([packets.connect(namespace, {"sid": new_sid(self._clients.gateway_id)})])
        self._clients.note_greeted(self)
        # In a segment of its own: the suite begins to listen for it when it has heard the reply, and loses
        # what comes together with that.
        gevent.get_hub().loop.timer(APART_S).start(self._tell_auth, namespace, auth)

    def _tell_auth(self, namespace: str, auth: dict[str, Any]) -> None:
        if self.is_in(namespace):
            self.emit(packets.event(namespace, "auth", [auth]))

    def said(self, event: Event) -> None:
        if event.name == "message":
            self.emit(packets.event(event.namespace, "message-back", event.args))
        elif event.name == "message-with-ack" and event.id is not None:
            self.emit(packets.ack(event.namespace, event.id, event.args))

    def left(self, namespace: str) -> None:
        """There is nothing to forget."""


def make(clients: Clients, sid: str, fd: int | None, query: str) -> Suite:
    return Suite(clients, form_of(clients, fd), sid, fd)


if __name__ == "__main__":
    serve_clients("socketio_suite", make, "/socket.io/")
