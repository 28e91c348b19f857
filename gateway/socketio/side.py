"""The side of a gateway that speaks Socket.IO, put together."""

from __future__ import annotations

from collections.abc import Callable

from gateway.hub import Hub
from gateway.kept import Kept
from gateway.lobby import Lobby
from gateway.settings import GatewaySettings
from gateway.socketio.clients import Clients
from gateway.socketio.engine import Over
from gateway.socketio.engine_client import EngineClient
from gateway.socketio.feed_client import FeedClient
from gateway.socketio.feeds import Feeds
from gateway.socketio.http import SocketIO
from gateway.socketio.limits import Limits
from gateway.socketio.urls import maybe_opening
from gateway.upgrade import Refusal
from gateway.wheel import Wheel


class Side:
    """`requests` has what comes over HTTP."""

    def __init__(
        self,
        settings: GatewaySettings,
        hub: Hub,
        wheel: Wheel,
        kept: Kept,
        lobby: Lobby,
        *,
        later: Callable[[Callable[[], None]], None],
        admit: Callable[[], Refusal | None],
        greet: Callable[[EngineClient], None],
        tell_others: Callable[[str], None],
    ) -> None:
        """
        Args:
            later: runs a function soon, not at once.
            admit: why there may be no client more, None if there may.
            greet: called with each that has just come.
            tell_others: other gateways of the host, that this token's client is here now.
        """
        self._settings, self._hub = settings, hub
        self._feeds = Feeds(kept, tell_others)
        self._clients = Clients(
            hub,
            wheel,
            self._make,
            gateway_id=settings.gateway_id,
            limits=Limits(
                settings.ping_interval_s,
                settings.ping_timeout_s,
                settings.message_max_bytes,
                settings.messages_per_s,
                frame_s=settings.frame_s,
                polling_per_address=settings.polling_sessions_per_address_max,
            ),
            later=later,
            forgotten=self._forget,
        )
        self.requests = SocketIO(
            self._clients, admit=admit, greet=greet, origins=settings.origins, lobby=lobby
        )

    def look(self) -> None:
        """To be called about once a second."""
        self._feeds.look(self._hub.epoch)

    def part(self, pid: str) -> None:
        """With the client of that token: it is at another gateway now."""
        self._feeds.part(pid)

    def counts(self) -> dict[tuple[str, ...], float]:
        """See Clients.counts."""
        return self._clients.counts()

    def _make(self, clients: Clients, sid: str, fd: int | None, query: str) -> FeedClient:
        over = Over.POLLING if fd is None else Over.WEBSOCKET
        form = clients.form_of(self._hub.interest(frozenset()), over)
        settings = self._settings
        opening = maybe_opening(query, settings.history_max, settings.subscriptions_max)
        return FeedClient(clients, self._feeds, form, sid, fd, opening)

    def _forget(self, client: EngineClient) -> None:
        assert isinstance(client, FeedClient)
        self._feeds.forget(client)
