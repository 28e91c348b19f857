"""A client of Engine.IO: a connection to the hub over a WebSocket, or by polls until it is upgraded to one.

What is sent while it polls is gathered for the poll that waits (see `polling`); between polls it is behind,
like any reader whose socket takes nothing. During an upgrade it has a socket beside that, which is only
read; once it has taken over, what was still to be sent goes there.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gateway import frames, protocol
from gateway.behind import Behind
from gateway.connection import COMMANDS_MAX
from gateway.frames import Binary, Text
from gateway.interest import Interest
from gateway.peer import TURN_MESSAGES, TURN_S, Peer
from gateway.socketio.engine import PROBE, Act, Cause, Engine, Over
from gateway.socketio.engine_packets import (
    EnginePacket,
    Kind,
    frame_of,
    read_binary,
    read_payload,
    read_text,
    text_of,
)
from gateway.socketio.errors import BadPacket
from gateway.socketio.forms import Carrier, PacketForm, as_frames
from gateway.socketio.polling import Poll, Polling
from gateway.wired import READ

if TYPE_CHECKING:
    from gateway.socketio.clients import Clients

PACKETS_MAX = 1_000  # in one POST

_NOOP, _CLOSE, _PING = (text_of(EnginePacket(kind)) for kind in (Kind.NOOP, Kind.CLOSE, Kind.PING))
_PROBED = frame_of(EnginePacket(Kind.PONG, PROBE))


class EngineClient(Peer):
    """`message` gets what the client sends."""

    __slots__ = ("_clients", "_polling", "engine", "sid")

    form: PacketForm

    def __init__(self, clients: Clients, form: PacketForm, sid: str, fd: int | None) -> None:
        """`fd`: of a WebSocket; None for one that polls."""
        self.engine = Engine(Over.POLLING if fd is None else Over.WEBSOCKET)
        self.sid = sid
        self._clients = clients
        self._polling = Polling(clients.later) if fd is None else None
        super().__init__(clients.hub, form, fd, clients.wheel, clients.limits.message_max_bytes)

    @abstractmethod
    def message(self, data: str | bytes) -> None:
        """Raises BadPacket: the session is to end."""

    @abstractmethod
    def late_to_join(self) -> None:
        """Its time for that is over, if there is one."""

    # It begins

    def open(self, head: bytes = b"", early: bytes = b"") -> None:
        """Join the hub.

        Args:
            head: the answer to a request for a WebSocket.
            early: what came right behind that.
        """
        limits = self._clients.limits
        hello = {
            "sid": self.sid,
            "upgrades": ["websocket"] if self.engine.is_polling else [],
            "pingInterval": round(limits.ping_interval_s * 1000),
            "pingTimeout": round(limits.ping_timeout_s * 1000),
            "maxPayload": limits.message_max_bytes,
        }
        packet = EnginePacket(Kind.OPEN, msgspec.json.encode(hello).decode())
        carrier = self.carrier
        self._work().unsent = memoryview(head + carrier.frame([carrier.text(text_of(packet))]))
        self.hub.add(self)
        if early:
            self.receive_bytes(early)

    def start(self) -> None:
        """It has yet to say what it wants; the hub owes it nothing."""
        self.pump()

    def ping(self) -> None:
        if self._polling is not None:
            self._polling.note_ping()
        self.tell(self.carrier.text(_PING))

    @property
    def is_excused(self) -> bool:
        """No pong can have come: it has yet to read so far, or we have. Whoever reads nothing at all is
        ended for that (see `Wired.look`).
        """
        if self.has_ended:
            return False
        if self._polling is not None:
            return self._polling.is_being_taken
        behind = self.behind
        is_behind = behind is not None and (behind.unsent is not None or bool(behind.told))
        return self.is_full or ((is_behind or self.has_unread) and not self.is_unheard)

    def _next(self, behind: Behind) -> bytes | None:
        # Before it is greeted it stands nowhere in the log, and what it asks for waits.
        is_nowhere = behind.past is None and self.cohort is None
        is_told = bool(behind.told or behind.control)
        return None if is_nowhere and not is_told else super()._next(behind)

    # Sending

    def write(self, data: bytes | memoryview) -> int:
        # Once a connection and flush; `super()` would take 0.1 µs more.
        return Peer.write(self, data) if self._polling is None else self._polling.write(data)

    def await_room(self) -> None:
        if self._polling is None:
            super().await_room()

    def interpose(self, control: bytes) -> None:
        if self._polling is None:
            super().interpose(control)
        elif self.engine.is_probing:
            super().write(control)

    def takes_more(self) -> bool:
        return super().takes_more() if self._polling is None else self._polling.takes_more

    def note_sent(self, size: int) -> None:
        if self._polling is None:
            super().note_sent(size)

    def call_slow(self) -> None:
        if self._polling is None:
            super().call_slow()

    @property
    def is_full(self) -> bool:
        """More waits to be done, or to be said to it, than should."""
        behind = self.behind
        return super().is_full or (behind is not None and len(behind.told) >= COMMANDS_MAX)

    @property
    def carrier(self) -> Carrier:
        """How packets go over its transport, as it is now."""
        return self.form.carrier

    @property
    def told_interest(self) -> Interest:
        """Of the set that what it is sent now speaks of."""
        return self.interest

    # Polls and posts

    def hear_all(self) -> None:
        """Hear what has come on its other connections. The loop goes through what is ready in no order of
        time, so a request may be here before an end of the poll before it, or before an upgrade.
        """
        if self.engine.is_probing:
            self._on_ready(READ)
        if self._polling is not None:
            self._polling.look()

    @property
    def is_polled(self) -> bool:
        """A poll waits."""
        return self._polling is not None and self._polling.is_waiting

    def poll(self, poll: Poll) -> None:
        """One that is to be answered, if it polls and no other one waits."""
        assert self._polling is not None
        self._polling.open(poll)
        self.pump()
        self._let_go()

    def lose_poll(self) -> None:
        """The one that waits has gone, perhaps with an answer under way: nobody knows what the client has."""
        self.end(reason="a poll was cut off")

    def take_payload(self, body: str, give_way: Callable[[], None] = lambda: None) -> None:
        """The body of a POST.

        Args:
            give_way: called between packets, so that others have their turn.

        Raises:
            BadPacket: the session has ended for it.
        """
        self._check_polls()
        assert self._polling is not None
        try:
            packets = read_payload(body, PACKETS_MAX)
            clients = self._clients
            if not self._polling.count(len(packets), clients.now_s(), clients.limits.messages_per_s):
                raise BadPacket("too many messages")
        except BadPacket as error:
            self.refuse(error.reason)
            raise
        until_s = time.monotonic() + TURN_S
        for number, packet in enumerate(packets, 1):
            if self.engine.is_closed:
                return  # by the packet before
            if number % TURN_MESSAGES == 0 or time.monotonic() > until_s:
                give_way()
                self._check_polls()
                until_s = time.monotonic() + TURN_S
            try:
                self._heed(packet, Over.POLLING)
            except BadPacket as error:
                self.refuse(error.reason)
                raise

    def _check_polls(self) -> None:
        if self._polling is None or self.engine.is_closed:
            raise BadPacket("this session does not poll")  # any more: no fault of what it is now

    def _let_go(self) -> None:
        """Once a WebSocket that is to take over has been answered, a poll is not held: the client waits for
        its end. Not before: where a proxy lets a WebSocket open and nothing through it, polls go on as ever.
        """
        if self.engine.is_probed and self._polling is not None and self._polling.is_waiting:
            self._polling.finish(_NOOP)

    # What comes

    def hear(self, message: Text | Binary) -> None:
        if self._has_dropped:
            return
        try:
            packet = read_text(message.text) if isinstance(message, Text) else read_binary(message.data)
            self._heed(packet, Over.WEBSOCKET)
        except BadPacket as error:
            if self.engine.is_probing:
                self._drop_socket()
            else:
                self.refuse(error.reason)

    def _heed(self, packet: EnginePacket, over: Over) -> None:
        act = self.engine.act(packet, over)
        if act is Act.DELIVER:
            self.message(packet.data)
        elif act is Act.NOTE_PONG:
            # One that comes without a poll for the ping is a guess: nobody may be there who reads.
            if self._polling is None or self._polling.may_know_of_ping:
                self._clients.note_pong(self)
        elif act is Act.ANSWER_PROBE:
            self.engine.move(Cause.PROBE)
            super().write(_PROBED)
            self._let_go()
        elif act is Act.UPGRADE:
            self._upgrade()
        elif act is Act.DROP:
            self._drop_socket()
        elif act is Act.CLOSE:
            # Who closes over a POST awaits the end of its poll, not a close of ours.
            self.end(polled=_NOOP)
        else:
            raise BadPacket(f"{packet.kind.name} may not come over {over.value} here")

    # The upgrade

    def probe(self, fd: int, head: bytes, early: bytes) -> None:
        """A WebSocket that is to take over, if it may have one now."""
        self.engine.move(Cause.SOCKET)
        self._quiet = 0
        self.attach(fd)
        super().write(head)
        if early:
            self.receive_bytes(early)

    def _upgrade(self) -> None:
        self.engine.move(Cause.UPGRADE)
        polling, self._polling = self._polling, None
        assert polling is not None
        self._clients.note_upgraded(self)
        if polling.is_waiting:
            polling.finish(_NOOP)
        behind = self._work()
        if self.cohort is not None:
            self._leave(behind)
        # What was made to be polled, and has not been, is made anew for the socket.
        if behind.unsent is not None:
            behind.unsent = memoryview(as_frames(bytes(behind.unsent)))
        told = [as_frames(each) for each in behind.told]
        behind.told.clear()
        behind.told.extend(told)
        self.form = self._clients.form_of(self.told_interest, Over.WEBSOCKET)
        self.pump()

    def _drop_socket(self) -> None:
        """The one that was to take over."""
        self.engine.move(Cause.LOSS)
        self._inbound = None
        self._rest.clear()
        self._detach()

    @property
    def _has_dropped(self) -> bool:
        """That one, and what came behind the reason for it is nothing."""
        return self._polling is not None and not self.engine.is_probing

    # It ends

    def refuse(self, reason: str) -> None:
        """The client broke a rule, and is told which."""
        self.end(frames.PROTOCOL_ERROR, reason, before=self.last_word(reason))

    def late_to_finish(self) -> None:
        """What it has begun to send is not whole, and its time for that is over."""
        reason = "a message took too long to come"
        self.end(frames.POLICY, reason, before=self.last_word(reason))

    def last_word(self, reason: str) -> bytes:
        """What says so, as one that breaks rules may hear it; framed."""
        return b""

    def end(
        self, code: int = frames.NORMAL, reason: str = "", *, before: bytes = b"", polled: bytes = _CLOSE
    ) -> None:
        """Close the transport: official clients come back from that. May be called twice.

        Args:
            before: what is sent first, framed.
            polled: the last packet for a poll that waits.
        """
        if self.engine.is_closed:
            return
        if self.engine.is_probing:
            self._drop_socket()
        polling = self._polling
        if polling is None:
            super().close(code, reason, before)
        self._be_over()
        if polling is not None:
            # Not behind anything else: what comes together with the end official clients keep until they are
            # back, and have asked for it anew by then. Their next poll tells them.
            polling.finish(before if before or polling.has_parts else polled)

    def _be_over(self) -> None:
        if not self.engine.is_closed:
            self.engine.move(Cause.END)
            self.hub.remove(self)
            self._clients.forget(self)

    def close(self, code: int, reason: str = "", before: bytes = b"") -> None:
        """For what is wrong with the socket."""
        if self.engine.is_probing:
            self._drop_socket()
        elif not self._has_dropped:
            self.end(code, reason, before=before or (self.last_word(reason) if reason else b""))

    def send_away(self, wait_s: float) -> None:
        told = protocol.notice("draining", come_back_s=round(wait_s, 1))
        reason = f"draining, come back in {wait_s:.1f} s"
        self.end(frames.COME_BACK, reason, before=self.notice_frame(told))

    def notice_frame(self, told: bytes) -> bytes:
        return b""

    def _gone(self) -> None:
        if self.engine.is_probing:
            self._drop_socket()
            return
        if self._polling is not None:
            self.end()  # a fault of ours
            return
        super()._gone()
        self._be_over()

    @property
    def has_ended(self) -> bool:
        return self.engine.is_closed or (self._polling is None and super().has_ended)

    def look_at_quiet(self) -> None:
        self._messages = 0
        if self._is_message_late():
            return
        if self.engine.is_probing and self._quiet > self._wheel.deadlines.pong:
            self._drop_socket()

    def want_beat(self, is_wanted: bool) -> None:
        """Engine.IO has its own."""
