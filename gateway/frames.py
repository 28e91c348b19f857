"""WebSocket frames, as the server reads and writes them. Pure.

Whole small text frames and pongs, which is nearly all that browsers send, are read here at 0.8 µs each and
leave nothing behind. Anything else goes through websockets' sans-I/O parser, which exists while a
frame or message is incomplete and is let go at the next boundary (2 KB while it lasts).

That parser judges most of a header only when the payload has come, takes lengths that are not
minimal, and counts no fragments; `Inbound` judges each header as soon as its bytes are here, so that
nothing is allocated for a frame that will be refused.

Where permessage-deflate was negotiated (see `deflate`), the parser inflates, never beyond the limit of
a message. As 4 KB can be a hundred such messages, they are handed out in turns.

Source: RFC 6455, sections 5 (frames), 7 (close codes) and 8.1 (UTF-8); RFC 7692, 6 (RSV1).
"""

from __future__ import annotations

import codecs
import logging
from struct import Struct
from typing import Any, NamedTuple

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.speedups import apply_mask

MAX_FRAGMENTS = 1024
MAX_CONTROL_BYTES = 125
TURN_BYTES = 64 << 10

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_STATUS = 1005  # stands for a close without a code; never on the wire
BAD_DATA = 1007
POLICY = 1008
TOO_BIG = 1009
COME_BACK = 1012

RSV1 = 0x40
_FIN = 0x80
_RSV = 0x70
_MASKED = 0x80
_WHOLE_TEXT = _FIN | Opcode.TEXT
_WHOLE_PONG = _FIN | Opcode.PONG
_CONTROL = 0x08

_LENGTH_16 = Struct(">BBH").pack
_LENGTH_64 = Struct(">BBQ").pack
_CODE = Struct(">H").pack
_OPCODES = frozenset(Opcode)
_utf8_decoder = codecs.getincrementaldecoder("utf-8")
# Not the root's level: at DEBUG the parser would log what people send.
_QUIET = logging.getLogger("gateway.frames.parser")
_QUIET.setLevel(logging.WARNING)


class Text(NamedTuple):
    text: str


class Binary(NamedTuple):
    data: bytes


class Ping(NamedTuple):
    data: bytes  # to be sent back in a pong


class Pong(NamedTuple):
    data: bytes


class Closing(NamedTuple):
    """The peer closes: echo the code, end the connection."""

    code: int  # NO_STATUS if it gave none
    reason: str


class Fault(NamedTuple):
    """The peer broke a rule: send this code, end the connection."""

    code: int
    reason: str


Message = Text | Binary | Ping | Pong | Closing | Fault


def text_frame(payload: bytes) -> bytes:
    return frame(Opcode.TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    return frame(Opcode.BINARY, payload)


def pong_frame(payload: bytes) -> bytes:
    return frame(Opcode.PONG, payload)


def ping_frame(payload: bytes) -> bytes:
    return frame(Opcode.PING, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """The code and as much of the reason as fits; an empty body for NO_STATUS."""
    if code == NO_STATUS:
        return frame(Opcode.CLOSE, b"")
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore")  # no character cut in half
    return frame(Opcode.CLOSE, _CODE(code) + text.encode())


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole one; `opcode` with the reserved bits that are set."""
    size = len(payload)
    if size < 126:
        return bytes((_FIN | opcode, size)) + payload
    if size < 1 << 16:
        return _LENGTH_16(_FIN | opcode, 126, size) + payload
    return _LENGTH_64(_FIN | opcode, 127, size) + payload


def receive(
    data: bytes, inbound: Inbound | None, max_bytes: int, *, inflates: bool = False
) -> tuple[list[Message], Inbound | None]:
    """What the peer said in `data`, and the parser to hand in with the next bytes.

    Args:
        data: what one read of the socket gave.
        inbound: what the call before returned, None at first.
        max_bytes: limit of one message, fragments summed, as it came and inflated.
        inflates: permessage-deflate was negotiated.
    Returns:
        The messages in order; nothing comes after a Closing or a Fault. None for the parser where a
        frame and a message have ended. While it `has_more`, `data` may be b"".
    """
    if inbound is not None:
        messages = inbound.feed(data)
        return messages, None if inbound.is_idle else inbound
    messages = []
    at, end = 0, len(data)
    while end - at >= 6 and data[at] == _WHOLE_TEXT:
        size = data[at + 1] - _MASKED  # negative for an unmasked frame
        body = at + 6
        if size == 126 and end - at >= 8:
            size = data[at + 2] << 8 | data[at + 3]
            body = at + 8
            if size < 126:
                break
        elif not 0 <= size < 126:
            break
        after = body + size
        if after > end or size > max_bytes:
            break
        try:
            text = str(apply_mask(data[body:after], data[body - 4 : body]), "utf-8")
        except UnicodeDecodeError:
            break
        messages.append(Text(text))
        at = after
    if at == end:
        return messages, None
    if data[at] == _WHOLE_PONG and 6 <= end - at < 132 and end - at == 6 + (data[at + 1] ^ _MASKED):
        messages.append(Pong(bytes(apply_mask(data[at + 6 :], data[at + 2 : at + 6]))))
        return messages, None
    # Whatever the fast path does not take, faults included, is told in one place.
    inbound = Inbound(max_bytes, inflates=inflates)
    messages += inbound.feed(data[at:])
    return messages, None if inbound.is_idle else inbound


class Inbound:
    """Bytes in, messages out, for a connection in the middle of a frame or a message."""

    __slots__ = (
        "_allowed", "_decoder", "_fragments", "_head", "_is_over", "_left", "_max_bytes", "_parts",
        "_protocol", "_size", "_unread", "looks",
    )  # fmt: skip

    def __init__(self, max_bytes: int, *, inflates: bool = False) -> None:
        self._protocol = Protocol(Side.SERVER, state=OPEN, max_size=max_bytes, logger=_QUIET)
        self._allowed = 0  # reserved bits that the first frame of a message may have
        if inflates:
            self._protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
            self._allowed = RSV1
        self._max_bytes = max_bytes
        self._unread = b""  # what came, but is left for another turn
        self._head = b""  # of the header under way, the bytes that have come
        self._left = 0  # bytes of masking key and payload still to come in this frame
        self._size = 0  # of the message under way, as declared so far
        self._fragments = 0  # of the message under way
        self._parts: list[Any] = []  # of the message under way, str or bytes
        self._decoder: codecs.IncrementalDecoder | None = None  # None for binary
        self._is_over = False  # a Closing or a Fault has been told: what follows is not read
        self.looks = 0  # for who counts how long it takes

    @property
    def is_idle(self) -> bool:
        """No frame and no message is under way: this object may be let go."""
        return not (self._left or self._head or self._fragments or self._is_over or self._unread)

    @property
    def has_more(self) -> bool:
        """Feed it again, be it with nothing, when others had their turn."""
        return bool(self._unread)

    def feed(self, data: bytes) -> list[Message]:
        messages: list[Message] = []
        data, self._unread = self._unread + data, b""
        at, end, heard = 0, len(data), 0
        while at < end and not self._is_over:
            if heard >= TURN_BYTES:
                self._unread = data[at:]
                break
            if self._left:
                upto = min(at + self._left, end)
                self._left -= upto - at
            else:
                upto = min(at + _missing(self._head), end)
                self._head += data[at:upto]
                if fault := self._judge_header():
                    self._is_over = True
                    messages.append(fault)
                    break
            self._protocol.receive_data(data[at:upto])
            self._protocol.data_to_send()  # its pongs and closes; the connection writes its own
            at = upto
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame):
                    heard += len(frame.data) if self._allowed else 0
                    if message := self._message(frame):
                        messages.append(message)
            if self._protocol.close_sent and not self._is_over:
                self._is_over = True
                messages.append(self._ending(self._protocol.close_sent))
        return messages

    def _message(self, frame: Frame) -> Message | None:
        """What this frame says or completes. The parser hands out unmasked bytes."""
        data = bytes(frame.data)
        if frame.opcode is Opcode.PING:
            return Ping(data)
        if frame.opcode is Opcode.PONG:
            return Pong(data)
        if frame.opcode is Opcode.CLOSE:
            return None  # see _ending
        if frame.opcode is Opcode.TEXT:
            self._decoder = _utf8_decoder()
        if self._decoder is None:
            self._parts.append(data)
        else:
            try:
                self._parts.append(self._decoder.decode(data, frame.fin))
            except UnicodeDecodeError as error:
                self._is_over = True
                return Fault(BAD_DATA, f"text is not UTF-8: {error.reason}")
        if not frame.fin:
            return None
        message = Binary(b"".join(self._parts)) if self._decoder is None else Text("".join(self._parts))
        self._parts, self._decoder = [], None
        self._size = self._fragments = 0
        return message

    def _ending(self, sent: Close) -> Message:
        """Why the parser would close now."""
        # A sound close in the middle of a message is one all the same: RFC 6455, 5.4 lets control
        # frames in there; the parser calls it a protocol error.
        if (received := self._protocol.close_rcvd) is not None:
            return Closing(int(received.code), received.reason)
        return Fault(int(sent.code), sent.reason)

    def _judge_header(self) -> Fault | None:
        """The rule that the header under way breaks, as far as it has come; a whole one is taken."""
        head = self._head
        if len(head) < 2:
            return None
        opcode, size = head[0] & 0x0F, head[1] & 0x7F
        is_final, is_control = bool(head[0] & _FIN), bool(opcode & _CONTROL)
        if head[0] & _RSV & ~(self._allowed if opcode in (Opcode.TEXT, Opcode.BINARY) else 0):
            return Fault(PROTOCOL_ERROR, "reserved bits must be 0")
        if opcode not in _OPCODES:
            return Fault(PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if not head[1] & _MASKED:
            return Fault(PROTOCOL_ERROR, "frames of a client must be masked")
        if is_control and not is_final:
            return Fault(PROTOCOL_ERROR, "a control frame must not be fragmented")
        if is_control and size > MAX_CONTROL_BYTES:
            return Fault(PROTOCOL_ERROR, f"a control frame has at most {MAX_CONTROL_BYTES} bytes")
        if not is_control and (opcode == Opcode.CONT) != bool(self._fragments):
            return Fault(
                PROTOCOL_ERROR,
                "continuation of nothing" if opcode == Opcode.CONT else "message inside a message",
            )
        if _missing(head):
            return None
        if size >= 126:
            size, shortest = int.from_bytes(head[2:], "big"), 126 if size == 126 else 1 << 16
            if size < shortest or size >> 63:
                return Fault(PROTOCOL_ERROR, "length not in its shortest form")
        self._head = b""
        self._left = 4 + size
        if is_control:
            return None
        self._size += size
        if self._size > self._max_bytes:
            return Fault(TOO_BIG, f"message over {self._max_bytes} bytes")
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            return Fault(POLICY, f"message in more than {MAX_FRAGMENTS} fragments")
        return None


def _missing(head: bytes) -> int:
    """Bytes that a header, without its masking key, still lacks."""
    if len(head) < 2:
        return 2 - len(head)
    size = head[1] & 0x7F
    return 2 + (0 if size < 126 else 2 if size == 126 else 8) - len(head)
