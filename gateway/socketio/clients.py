"""All clients of a gateway that speak Engine.IO: who has which session, and who has fallen silent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from gevent.hub import get_hub

from gateway.hub import Hub
from gateway.interest import Interest
from gateway.lobby import Waiting
from gateway.socketio.engine import Over
from gateway.socketio.engine_client import EngineClient
from gateway.socketio.forms import POLLING, WEBSOCKET, Forms, PacketForm
from gateway.socketio.heartbeats import Heartbeats
from gateway.socketio.limits import Limits
from gateway.socketio.pollers import Pollers
from gateway.socketio.sids import new_sid
from gateway.wheel import Wheel

log = logging.getLogger(__name__)

LEAST_S = 0.002  # between two looks at who is due


class Make(Protocol):
    """A new client, of a WebSocket's descriptor or one that polls; `query` is that of its URL."""

    def __call__(self, clients: Clients, sid: str, fd: int | None, query: str) -> EngineClient: ...


class Clients:
    """Not thread-safe."""

    def __init__(
        self,
        hub: Hub,
        wheel: Wheel,
        make: Make,
        *,
        gateway_id: str,
        limits: Limits,
        later: Callable[[Callable[[], None]], None],
        forgotten: Callable[[EngineClient], None] = lambda client: None,
    ) -> None:
        """
        Args:
            later: runs a function soon, not at once.
            forgotten: called with each whose session has ended.
        """
        self.hub, self.wheel, self.limits, self.later = hub, wheel, limits, later
        self.gateway_id = gateway_id
        self.now_s = time.monotonic
        self._make, self._forgotten = make, forgotten
        self._forms = {Over.WEBSOCKET: Forms(WEBSOCKET), Over.POLLING: Forms(POLLING)}
        self._by_sid: dict[str, EngineClient] = {}
        self._heartbeats: Heartbeats[EngineClient] = Heartbeats(limits.ping_interval_s, limits.ping_timeout_s)
        self._joining: Waiting[EngineClient] = Waiting(limits.connect_s)  # who has yet to say where to
        self._begun: Waiting[EngineClient] = Waiting(limits.frame_s)  # whose message is not whole
        self.pollers = Pollers(limits.polling_per_address)
        self._addresses: dict[EngineClient, str] = {}  # of these
        self._settled: dict[EngineClient, Callable[[], None]] = {}  # to be called of these
        self._timer: Any = get_hub().loop.timer(0)
        self._due_s: float | None = None  # when that is

    def form_of(self, interest: Interest, over: Over) -> PacketForm:
        return self._forms[over](interest)

    def maybe_client(self, sid: str) -> EngineClient | None:
        """Whose session it is; one whose time is over has none any more."""
        self.look()
        return self._by_sid.get(sid)

    def maybe_late_client(self, sid: str) -> EngineClient | None:
        """The same of who may have brought a pong, which might be in time but for us."""
        return self._by_sid.get(sid)

    def client(self, sid: str) -> EngineClient:
        """The same of one that was found just now."""
        return self._by_sid[sid]

    def open(
        self, fd: int | None, query: str, settled: Callable[[], None] | None = None, address: str = ""
    ) -> EngineClient:
        """A new session: its client `open`s next.

        Args:
            address: whose it is.
            settled: called when it is in a namespace, or has ended.
        """
        sid = new_sid(self.gateway_id)
        client = self._by_sid[sid] = self._make(self, sid, fd, query)
        now_s = self.now_s()
        self._heartbeats.begin(client, now_s)
        self._joining.add(client, now_s)
        if settled is not None:
            self._settled[client] = settled
        if fd is None:
            self._addresses[client] = address
            self.pollers.enter(address)
        self._arm()
        return client

    def note_pong(self, client: EngineClient) -> None:
        self._heartbeats.note_pong(client, self.now_s())

    def note_greeted(self, client: EngineClient) -> None:
        """It is in a namespace."""
        self._settle(client)

    def note_begun(self, client: EngineClient) -> None:
        """A message of it has begun, and more of it is due."""
        self._begun.add(client, self.now_s())
        self._arm()

    def note_whole(self, client: EngineClient) -> None:
        self._begun.discard(client)

    def note_upgraded(self, client: EngineClient) -> None:
        """It polls no more."""
        if (address := self._addresses.pop(client, None)) is not None:
            self.pollers.leave(address)

    def forget(self, client: EngineClient) -> None:
        """Its session has ended."""
        if self._by_sid.pop(client.sid, None) is not None:
            self._heartbeats.end(client)
            self._begun.discard(client)
            self.note_upgraded(client)
            self._settle(client)
            self._forgotten(client)

    def _settle(self, client: EngineClient) -> None:
        self._joining.discard(client)
        if settled := self._settled.pop(client, None):
            settled()

    def __len__(self) -> int:
        return len(self._by_sid)

    def counts(self) -> dict[tuple[str, ...], float]:
        """How many there are, by transport."""
        polling = sum(client.engine.is_polling for client in self._by_sid.values())
        return {(Over.POLLING.value,): polling, (Over.WEBSOCKET.value,): len(self._by_sid) - polling}

    # Time

    def look(self) -> None:
        """Ping whom it is time for, and part with those who have not kept to theirs."""
        now_s = self.now_s()
        due = self._heartbeats.due(now_s)
        for client in due.to_ping:
            client.ping()
        for client in due.over:
            if client.is_excused:
                self._heartbeats.excuse(client, now_s)
            else:
                client.end(reason="no pong came")
        for client in self._joining.late(now_s):
            client.late_to_join()
        for client in self._begun.late(now_s):
            if client.is_full:  # it is we who do not read
                self._begun.add(client, now_s)
            else:
                client.late_to_finish()
        self._arm()

    def _arm(self) -> None:
        firsts = self._heartbeats.next_s, self._joining.next_s, self._begun.next_s
        due_s = min((each for each in firsts if each is not None), default=None)
        if due_s is None or due_s == self._due_s:
            return
        self._due_s = due_s
        self._timer.stop()
        self._timer = get_hub().loop.timer(max(LEAST_S, due_s - self.now_s()))
        self._timer.start(self._on_time)

    def _on_time(self) -> None:
        self._due_s = None
        try:
            self.look()
        except Exception:
            # Or nobody would be looked at any more: neither pinged, nor parted with when silent.
            log.exception("a look at the sessions failed")
            self._arm()
