"""A gateway put together: feed, hub, servers, and the moves of its life."""

from __future__ import annotations

import logging
import os
import random
import resource
import secrets
import socket
import time
from collections import Counter
from http import HTTPStatus
from typing import Any

import gevent
import zmq
from gevent.event import AsyncResult
from gevent.event import Event as Signal
from gevent.hub import get_hub

from broker import control
from broker.errors import ControlError
from broker.topics import pattern
from broker.upstream import Upstream
from gateway import publishing, raw
from gateway.admin import Admin, Labelled, LoopLag, Values
from gateway.drain import RETURN_WITHIN_S, Drain
from gateway.edge import EdgeServer, Streams
from gateway.feed import Feed
from gateway.forms import NATIVE, RAW, native_deflated, raw_deflated
from gateway.handover import Handover, folders
from gateway.http import Api, secured
from gateway.hub import Hub
from gateway.kept import Kept
from gateway.later import Later
from gateway.links import TIMEOUT_S, ControlLink
from gateway.listener import listen
from gateway.lobby import Lobby
from gateway.log import BrokerLog
from gateway.losses import LABELS
from gateway.opening import Opening
from gateway.pages import pages
from gateway.peer import Peer
from gateway.protocol import Subscribe
from gateway.publishing import Draft, Outcome, Publisher
from gateway.ring import Ring
from gateway.settings import GatewaySettings
from gateway.socketio import requests as socketio
from gateway.socketio.side import Side
from gateway.stream import Stream
from gateway.upgrade import Refusal, Upgrade
from gateway.wheel import Wheel
from gateway.wired import TCP_NOTSENT_LOWAT

log = logging.getLogger(__name__)

# What the edge refuses for.
LIMITS = (
    "too_many_connections",
    "too_many_arrivals",
    "too_many_sessions",
    "request_timeout",
    "no_descriptor",
    "unknown_session",
)
DESCRIPTORS_KEPT = 64
RETRY_S = 5  # when whoever found no place may ask again
EXPIRE_S = 1.0  # between two looks at what was kept for others


class Gateway:
    """Everything of one process. `start`, then `run` until `stop` is called."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Binds its ports. Raises AddressInUse, BadSetting."""
        self.settings = settings
        host, loopback = settings.host, "127.0.0.1"
        listeners = [
            listen(host, settings.port, reuse=True, setting="PENSTOCK_GATEWAY__PORT"),
            listen(loopback, settings.effective_own_port, reuse=False, setting="PENSTOCK_GATEWAY__OWN_PORT"),
        ]
        admin = listen(
            loopback, settings.effective_admin_port, reuse=False, setting="PENSTOCK_GATEWAY__ADMIN_PORT"
        )
        self._context: zmq.Context[Any] = zmq.Context()
        self._link = link = ControlLink(self._context, settings.control)
        instance = secrets.token_hex(8)
        self.feed = Feed(self._context, settings.feed, link, instance)
        loop = get_hub().loop
        later = Later()
        self._log = BrokerLog(
            link.read,
            self.feed.wake,
            settings.history_max,
            epoch=lambda: self.hub.epoch,
            later=later,
            wait=lambda seconds, call: loop.timer(seconds).start(call),
            clock=time.monotonic,
        )
        self._expiring = loop.timer(EXPIRE_S, EXPIRE_S)
        # A link of its own: readers and publishers do not take each other's places in the queue.
        self._publish_link = ControlLink(self._context, settings.control, is_immediate=True)
        self._publisher = Publisher(
            self._publish_link.ask,
            time.monotonic,
            anonymous=map(pattern, settings.anonymous_publish),
            most=settings.publishes_max,
            payload_max_bytes=settings.publish_max_bytes,
            maybe_silence=self._maybe_silence,
        )
        self._publishing = loop.timer(publishing.TICK_S, publishing.TICK_S)
        self.hub = Hub(
            Ring(settings.ring_max_bytes),
            self._log,
            later,
            time.time,
            publishing=self._publisher,
            name=f"{settings.number:02d}",
            limits={
                "subscriptions": settings.subscriptions_max,
                "history": settings.history_max,
                "message_bytes": settings.message_max_bytes,
            },
            linger_s=settings.linger_s,
        )
        self._wheel = Wheel(
            stall_s=settings.stall_s,
            ping_interval_s=settings.ping_interval_s,
            ping_timeout_s=settings.ping_timeout_s,
            frame_s=settings.frame_s,
            messages_per_s=settings.messages_per_s,
        )
        self._turning = loop.timer(self._wheel.tick_s, self._wheel.tick_s)
        self.feed.hub = self.hub
        self.feed.upstream = self.hub.needs.upstream = Upstream(self.hub, self.feed)
        api = Api(
            self._call,
            self.status,
            settings.history_max,
            self._publisher,
            self._publish,
            publish_max_bytes=settings.publish_max_bytes,
            origins=settings.origins,
        )
        self._lobby = Lobby(settings.arrivals_max, settings.arrivals_per_address_max)
        self._socketio = Side(
            settings,
            self.hub,
            self._wheel,
            Kept(link.ask),
            self._lobby,
            later=later,
            admit=self._refuse_more,
            greet=lambda client: self._drain.greet(client),
            tell_others=lambda pid: self._handover.tell_all(pid.encode()),
        )
        application = self._socketio.requests.over(secured(pages(api)))
        streams = Streams(
            self._adopt_stream, self._refuse_more, settings.history_max, settings.subscriptions_max
        )
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._connections_max = min(settings.connections_max, max(1, descriptors - DESCRIPTORS_KEPT))
        # Of connections without permessage-deflate, and with it.
        self._native = NATIVE, native_deflated(settings.deflate_min_bytes)
        self._raw = RAW, raw_deflated(settings.deflate_min_bytes)
        self._servers: list[EdgeServer] = []
        self._handover = Handover(
            settings.gateway_id,
            folders(settings.handover_dir, listeners[0].getsockname()[1], os.environ),
            resume=lambda *found: self._servers[0].resume(*found),
            on_lost=lambda *found: self._servers[0].lose_session(*found),
            note=lambda *found: self._servers[0].note(*found),
            on_told=lambda pid: self._socketio.part(pid.decode(errors="replace")),
        )
        for listener in listeners:
            # Accepted sockets inherit both: what waits in the kernel for a slow reader is bounded.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
            listener.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, settings.not_sent_lowat_bytes)
            self._servers.append(
                EdgeServer(
                    listener,
                    application,
                    adopt=self._adopt,
                    admit=self._admit,
                    origins=settings.origins,
                    streams=streams,
                    polls=self._socketio.requests,
                    handover=self._handover,
                    deflates=settings.deflate_min_bytes > 0,
                    lobby=self._lobby,
                    head_s=settings.head_s,
                )
            )
        self._lag = LoopLag()
        self._admin = Admin(admin, counters=self._counters, is_draining=self._is_draining, lag=self._lag)
        self._drain = Drain(self._servers, self.hub, self._wheel, settings.drain_s)
        self._stopping = Signal()
        self._hurrying = Signal()
        self._failed = False
        self.addresses = [listener.getsockname()[:2] for listener in (*listeners, admin)]

    def start(self) -> None:
        self._lag.start()
        self._turning.start(self._wheel.tick)
        self._expiring.start(self._expire)
        self._publishing.start(self._publisher.tick)
        self._admin.start()
        self._handover.start()
        for server in self._servers:
            server.start()
        # A relay that fails takes the process with it: supervision starts it anew, clients come back.
        gevent.spawn(self.feed.run).link_exception(self._fail)

    def run(self) -> int:
        """Wait for the end; the exit status."""
        self._stopping.wait()
        gevent.wait([gevent.spawn(self._drain.run), self._hurrying], self.settings.drain_s, count=1)
        self._handover.close()
        self._admin.stop()
        for server in self._servers:
            server.stop()
        return 1 if self._failed else 0

    def stop(self) -> None:
        """Drain, and end; called again, end at once."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    def _expire(self) -> None:
        self._socketio.look()
        self._log.expire()
        for code, count, case in self._publisher.tally.take():
            log.info("not published code=%s count=%d %s", code, count, case)

    def _fail(self, greenlet: gevent.Greenlet) -> None:
        log.error("the relay failed: %r", greenlet.exception)
        self._failed = True
        self._stopping.set()

    # The edge

    def _call(self, request: control.AnyRequest, timeout_s: float = TIMEOUT_S) -> tuple[Any, bytes]:
        """See ControlLink.call. A broker that is known to be silent is not waited for."""
        if why := self._maybe_silence():
            raise ControlError("unavailable", why)
        return self._link.call(request, timeout_s)

    def _publish(self, draft: Draft) -> Outcome:
        """See Publisher.submit. For a greenlet that may wait."""
        result: AsyncResult = AsyncResult()
        outcome: Outcome = self._publisher.submit(draft, result.set) or result.get()
        return outcome

    def _maybe_silence(self) -> str | None:
        if not self.feed.is_silent:
            return None
        return f"nothing comes from feed={self.settings.feed} (control={self.settings.control})"

    def _admit(self, upgrade: Upgrade) -> Refusal | None:
        """Why this may not become a WebSocket, None if it may."""
        if upgrade.path == "/ws":
            return self._refuse_more()
        if upgrade.path in socketio.PATHS:
            return self._socketio.requests.admit(upgrade)
        if not upgrade.path.startswith(raw.PATH):
            message = "WebSockets are at /ws, /raw/<topic> and /socket.io/"
            return Refusal(HTTPStatus.NOT_FOUND, "not_found", message)
        found = raw.wanted(upgrade.path, upgrade.query, self.settings.history_max)
        return found if isinstance(found, Refusal) else self._refuse_more()

    def _refuse_more(self) -> Refusal | None:
        """Why there may be no connection more, None if there may."""
        if len(self.hub.connections) < self._connections_max:
            return None
        message = f"this gateway has {self._connections_max} connections and takes no more"
        headers = {"Retry-After": str(RETRY_S)}
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_connections", message, headers)

    def _adopt(self, fd: int, upgrade: Upgrade, head: bytes, early: bytes) -> None:
        if upgrade.path in socketio.PATHS:
            self._socketio.requests.adopt(fd, upgrade, head, early)
            return
        is_native = upgrade.path == "/ws"
        form = (self._native if is_native else self._raw)[upgrade.extensions is not None]
        peer = Peer(self.hub, form, fd, self._wheel, self.settings.message_max_bytes)
        peer.start_with(head, early)
        if not is_native:
            found = raw.wanted(upgrade.path, upgrade.query, self.settings.history_max)
            assert isinstance(found, Subscribe)  # it was let in
            peer.command(found)
        self._drain.greet(peer)

    def _adopt_stream(self, fd: int, opening: Opening) -> None:
        # Were this gateway killed, its streams would come back spread over so long, too.
        retry_s = random.uniform(0, RETURN_WITHIN_S)
        stream = Stream(self.hub, fd, self._wheel)
        stream.start_with(opening.wanted, retry_s)
        self._drain.greet(stream)

    # What is told of it

    def status(self) -> dict[str, Any]:
        hub = self.hub
        return {
            "gateway": hub.name,
            "position": str(hub.position),
            "stale": hub.is_stale,
            "connections": len(hub.connections),
            "ring_events": len(hub.ring),
            **hub.counts,
            **hub.losses.as_json(),
        }

    def _counters(self) -> Values:
        hub = self.hub
        refused = sum((server.tally.counts for server in self._servers), Counter[str]())
        return {
            "connections": len(hub.connections),
            "socketio_sessions": Labelled(("transport",), self._socketio.counts()),
            "arrivals": self._lobby.count,
            "refused_total": {**dict.fromkeys(LIMITS, 0), **refused},
            "published_total": {**dict.fromkeys(publishing.OUTCOMES, 0), **self._publisher.tally.counts},
            **{f"{name}_total": value for name, value in self._handover.counts.items()},
            "broker_heard": float(not hub.is_stale),
            "position_seq": hub.flushed,
            "ring_events": len(hub.ring),
            **{f"{name}_total": value for name, value in hub.counts.items()},
            **{f"{name}_total": Labelled(LABELS, values) for name, values in hub.losses.counts().items()},
        }

    def _is_draining(self) -> bool:
        return bool(self._stopping.is_set())
