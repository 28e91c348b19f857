"""Output forms of Socket.IO: an event as a packet, made once, and over both transports. Pure.

An event's last argument is the offset, from which its client goes on after a break: the position and the
name of what it is subscribed to (see `sets`). That ends the packet and is the same for all who have the
same subscriptions, so all before it is made once for everybody.

What a packet becomes over a WebSocket is one frame, or several with its attachments; in the answer to a
poll packets are separated by a character.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from weakref import WeakKeyDictionary

from broker.gap import Gap
from broker.wire import Position
from gateway.event import Event
from gateway.forms import Form, gap_object, is_binary, native, object_with
from gateway.frames import binary_frame, text_frame
from gateway.interest import Interest
from gateway.socketio.sets import name_of

SEPARATOR = b"\x1e"
_ESCAPED = b"\\u001e"  # where it stands in a string of a payload, which is the only place it can
_ATTACHMENT = b'"data":{"_placeholder":true,"num":0}'
_END = b"]"
_PAST = b'42["event",{"history":true,%b]'
_PAST_BINARY = b'451-["event",{"history":true,%b]'
NO_ID = -1  # of a command that nobody wants answered


class Carrier:
    """How packets go over one of the transports."""

    def __init__(
        self,
        name: str,
        text: Callable[[bytes], bytes],
        binary: Callable[[bytes], bytes],
        frame: Callable[[list[bytes]], bytes],
    ) -> None:
        """
        Args:
            text: an Engine.IO packet, as it is sent.
            binary: a message of bytes, as it is sent right behind another packet.
            frame: what was made by these, as one piece for the socket.
        """
        self.name, self.text, self.binary, self.frame = name, text, binary, frame


def _poll_frame(objects: list[bytes]) -> bytes:
    # Closed by a separator, so that pieces can follow each other; the last is taken off before it is sent.
    return SEPARATOR.join([each for each in objects if each]) + SEPARATOR


WEBSOCKET = Carrier("websocket", text_frame, binary_frame, b"".join)
POLLING = Carrier("polling", lambda text: text, lambda data: SEPARATOR + b"b" + b64encode(data), _poll_frame)


def as_frames(polled: bytes) -> bytes:
    """What was made for polling, for a WebSocket."""
    frames = []
    for packet in polled.split(SEPARATOR):
        if packet.startswith(b"b"):
            frames.append(binary_frame(b64decode(packet[1:])))
        elif packet:
            frames.append(text_frame(packet))
    return b"".join(frames)


class PacketForm(Form):
    """What a client of Socket.IO gets that has one set of subscriptions."""

    def __init__(
        self, carrier: Carrier, forms: Callable[[Interest], PacketForm], name: str, *, is_mixed: bool
    ) -> None:
        """
        Args:
            forms: the one of another set.
            name: of this set.
            is_mixed: it wants all of some topics, and less of others.
        """
        name_of_form = f"socket.io, {carrier.name}"
        super().__init__(name_of_form, self._event, self._gap, carrier.frame, self._past, self._told)
        self.carrier, self._forms = carrier, forms
        self.waits_to_be_asked = carrier is POLLING
        self._mark = b'%b"]' % name.encode()
        self._is_mixed = is_mixed

    def of(self, interest: Interest) -> PacketForm:
        return self._forms(interest)

    def _event(self, event: Event) -> bytes:
        # A thousand who catch up, having the same set, want the same events one after the other: made anew
        # for each, at 0.6 µs, 2,000 events a second would take more than a core.
        done = event.socketio_done
        if done is None or done[0] is not self:
            done = event.socketio_done = self, self._made(event)
        return done[1]

    def _made(self, event: Event) -> bytes:
        text = event.socketio
        if text is None:
            text = event.socketio = _packet(event)
        done = self.carrier.text(text + (_END if event.is_bare else self._mark))
        return done + self.carrier.binary(event.payload) if is_binary(event) else done

    def _past(self, event: Event, _: int) -> bytes:
        """What a subscribe asked for of the past: says nothing of how far its client is, so has no offset."""
        if is_binary(event):
            made = object_with(event, _ATTACHMENT)
            return self.carrier.text(_PAST_BINARY % made[1:]) + self.carrier.binary(event.payload)
        return self.carrier.text(_PAST % native(event)[1:].replace(SEPARATOR, _ESCAPED))

    def past_gap(self, gap: Gap) -> bytes:
        """One in that past."""
        # {"gap":{...}}
        return self.carrier.text(b'42["gap",%b]' % gap_object(gap)[7:-1])

    def _gap(self, gap: Gap) -> bytes:
        told, before = self.past_gap(gap), gap.before
        if gap.after.epoch == before.epoch:
            return told
        # From here on the client is in another log, though nothing may come of it for long.
        return told + self._separator + self.at(Position(before.epoch, before.seq - 1))

    def _told(self, name: str, told: bytes, at: Position | None) -> bytes:
        if name == "reply":
            reply = self._reply(told)
            # The offset goes first: whoever has the acknowledgement could not go on without it from here.
            return reply if at is None else self.at(at) + (self._separator if reply else b"") + reply
        if name == "at" and at is not None and not self._is_mixed:
            return self.at(at)
        if name == "at":
            # It speaks of the topics that are not wanted in full, and an offset would go back in the others.
            # Who comes back gets the newest of the former in any case (see FeedClient).
            return self.carrier.text(b'42["at",%b]' % told)
        # {"notice":{...}}
        return self.carrier.text(b'42["%b",%b]' % (name.encode(), told[len(name) + 4 : -1]))

    def _reply(self, reply: bytes) -> bytes:
        """`{"reply": id, ...}` as the acknowledgement of that id. An error that nobody wants acknowledged
        is an event.
        """
        head, _, rest = reply.partition(b",")
        id = head[len(b'{"reply":') :]
        if id not in (b"null", b"%d" % NO_ID):
            return self.carrier.text(b"43%b[{%b]" % (id, rest))
        return self.carrier.text(b'42["error",%b]' % rest[8:-1]) if rest.startswith(b'"error":') else b""

    def told_notice(self, told: bytes) -> bytes:
        return self._told("notice", told, None)

    def at(self, position: Position) -> bytes:
        """Where the client is, and the offset of that."""
        place = str(position).encode()
        return self.carrier.text(b'42["at",{"at":"%b"},"%b.%b' % (place, place, self._mark))

    @property
    def _separator(self) -> bytes:
        """Between two packets of one object."""
        return SEPARATOR if self.carrier is POLLING else b""


def _packet(event: Event) -> bytes:
    """Up to the name of the set, or to the end of a bare one, which says nothing of how far its client is."""
    head, made = b'42["event",%b', native(event)
    if is_binary(event):
        head, made = b'451-["event",%b', object_with(event, _ATTACHMENT)
    elif SEPARATOR in made:
        made = made.replace(SEPARATOR, _ESCAPED)
    return head % made if event.is_bare else b'%b,"%016x.%d.' % (head % made, event.epoch, event.seq)


class Forms:
    """One form for each set of subscriptions, as long as anybody has it."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._made: WeakKeyDictionary[Interest, PacketForm] = WeakKeyDictionary()

    def __call__(self, interest: Interest) -> PacketForm:
        if (found := self._made.get(interest)) is None:
            found = PacketForm(self._carrier, self, name_of(interest), is_mixed=interest.is_mixed)
            self._made[interest] = found
        return found
