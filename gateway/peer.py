"""A connection over a WebSocket: frames in and out."""

from __future__ import annotations

import time

from broker.wire import Position
from gateway import frames, protocol
from gateway.forms import Form
from gateway.frames import Binary, Closing, Fault, Inbound, Ping, Pong, Text
from gateway.hub import Hub
from gateway.protocol import Refusal
from gateway.wheel import Wheel
from gateway.wired import Wired

TURN_MESSAGES = 64
TURN_S = 0.002  # one that subscribes may take half a millisecond
TOO_SLOW = 4408
BEAT = frames.text_frame(protocol.BEAT)
PING = frames.ping_frame(b"")
MARK_DATA = b"read"  # in pings among newest values, which are to be answered when all before was read
MARK = frames.ping_frame(MARK_DATA)


class Peer(Wired):
    """See `Wired`."""

    __slots__ = ("_has_beat", "_inbound", "_max_bytes", "_messages", "_rest")

    def __init__(self, hub: Hub, form: Form, fd: int | None, wheel: Wheel, max_bytes: int) -> None:
        super().__init__(hub, form, fd, wheel)
        self._has_beat = False
        self._inbound: Inbound | None = None
        self._messages = 0  # that came since the last look
        self._max_bytes = max_bytes
        self._rest: list[frames.Message] = []  # that came together with others, and wait for a turn

    def start_with(self, head: bytes, early: bytes) -> None:
        """Join the hub; `head` is the answer to the client's request, `early` what it sent right behind."""
        self._work().unsent = memoryview(head)
        self.hub.add(self)
        if early:
            self.receive_bytes(early)

    def close(self, code: int, reason: str = "", before: bytes = b"") -> None:
        """Say why, after the frames in `before`, and end. May be called twice."""
        self._inbound = None  # nothing is heard any more, and what it has inflated may be large
        self.end_with(before + frames.close_frame(code, reason))

    def want_beat(self, is_wanted: bool) -> None:
        self._has_beat = is_wanted

    def _beat(self) -> None:
        if self.behind is not None:
            self.tell(protocol.BEAT)
        elif (sent := self.write(BEAT)) < len(BEAT):
            self._work().unsent = memoryview(BEAT)[sent:]
            self.pump()

    def send_away(self, wait_s: float) -> None:
        told = protocol.notice("draining", come_back_s=round(wait_s, 1))
        words = self.form.finish([self.form.told("notice", told, None)]) if self.form.told else b""
        self.close(frames.COME_BACK, f"draining, come back in {wait_s:.1f} s", words)

    def note_sent(self, size: int) -> None:
        super().note_sent(size)
        self._mark()

    def _mark(self) -> None:
        if self._gauge and self._gauge.wants_mark and not (self.behind and self.behind.control):
            self._gauge.mark()
            self._work().control = MARK
            self.hub.later(self.pump)  # this may be in the middle of it

    def _heed_pong(self, data: bytes) -> None:
        if self._gauge and data == MARK_DATA:
            self._gauge.answer()
            self._mark()  # or who was sent much since that ping would be held for ever

    def give_up(self, position: Position | None) -> None:
        self.close(TOO_SLOW, f"too slow, resume after {position}" if position else "too slow")

    def look_at_quiet(self) -> None:
        deadlines = self._wheel.deadlines
        self._messages = 0
        if self._has_beat:
            self._beat()
        if self._is_message_late():
            return
        if self._quiet == deadlines.ping:
            self.interpose(PING)
        elif self._quiet >= deadlines.ping + deadlines.pong and (not self.has_unread or self.is_unheard):
            # It has the ping and says nothing, or is not there; else it has yet to read so far.
            if self._gauge and self._gauge.is_held:
                self.hub.counts["stalled"] += 1
                self.give_up(self.behind.past.position if self.behind and self.behind.past else None)
                return
            self.hub.counts["unheard"] += 1
            self.close(frames.GOING_AWAY, "no pong came")

    def _is_message_late(self) -> bool:
        """One look more at a message that is under way; if it takes too long, that is the end."""
        if self._inbound is None:
            return False
        self._inbound.looks += 1
        if self._inbound.looks <= self._wheel.deadlines.frame:
            return False
        self.close(frames.POLICY, "a message took too long to come")
        return True

    def take(self, data: bytes) -> None:
        self._hear(data)
        if self._messages > self._wheel.deadlines.messages:
            self.hub.counts["flooding"] += 1
            self.close(frames.POLICY, "too many messages")
            return
        self._go_on()

    def _hear(self, data: bytes) -> None:
        messages, self._inbound = frames.receive(
            data, self._inbound, self._max_bytes, inflates=self.form.deflates
        )
        self._rest += messages
        self._messages += len(messages)

    @property
    def is_full(self) -> bool:
        return bool(self._rest) or super().is_full

    def _go_on(self) -> None:
        """Do some of what the client said; the rest after others had their turn."""
        now, self._rest = self._rest[:TURN_MESSAGES], self._rest[TURN_MESSAGES:]
        until_s = time.monotonic() + TURN_S
        for place, message in enumerate(now):
            if self.has_ended:
                return
            if place and time.monotonic() > until_s:
                self._rest = now[place:] + self._rest
                break
            if isinstance(message, Text | Binary):
                self.hear(message)
            elif isinstance(message, Ping):
                self.interpose(frames.pong_frame(message.data))
            elif isinstance(message, Pong):
                self._heed_pong(message.data)
            elif isinstance(message, Closing | Fault):
                self.close(message.code, message.reason if isinstance(message, Fault) else "")
        while not self._rest and self._inbound is not None and self._inbound.has_more:
            self._hear(b"")
        if self._rest:
            self.hub.later(self._go_on_later)
        else:
            self.pump()  # reads on

    def hear(self, message: Text | Binary) -> None:
        """A message of the client."""
        if not self.form.is_native:
            return
        if isinstance(message, Text):
            self.receive(message.text)
        else:
            self.command(Refusal(None, "bad_request", "want text, not binary"))

    def _go_on_later(self) -> None:
        try:
            self._go_on()
        except Exception:
            self.fail()  # or the rest would wait for ever, and the reading with it
