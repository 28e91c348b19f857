"""What a server wants to hear from a browser, and answers: one crowd speaks to all of them. Pure."""

from __future__ import annotations

from msgspec import Struct

_UPGRADE = (
    "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n"
)


class Step(Struct, frozen=True):
    say: str  # one text message; empty for none
    until: str  # what the answer has in it

    def about(self, topic: str, number: int = 1) -> Step:
        say, until = (
            text.replace("{topic}", topic).replace("{id}", str(number)) for text in (self.say, self.until)
        )
        return Step(say, until)


class Dialect(Struct, frozen=True):
    """In each text `{topic}` stands for the topic, and `{id}` for the number of the subscription."""

    request: str  # of the handshake, whole
    greeting: tuple[Step, ...]  # from there on, until the connection is of use
    subscribe: Step | None = None  # None: the greeting has done it
    unsubscribe: Step | None = None


def upgrade(path: str, subprotocol: str = "") -> str:
    """The request of a WebSocket's handshake."""
    return _UPGRADE % (path, f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else "")


PENSTOCK = Dialect(
    request=upgrade("/ws", "penstock.v1"),
    greeting=(Step("", '{"welcome"'),),
    subscribe=Step('{"subscribe":"{topic}","id":{id}}', '{"reply":{id},"ok"'),
    unsubscribe=Step('{"unsubscribe":"{topic}","id":{id}}', '{"reply":{id},"ok"'),
)

# The payloads of one topic alone.
RAW = Dialect(request=upgrade("/raw/{topic}"), greeting=(Step("", "\r\n\r\n"),))

# Socket.IO v5 over Engine.IO v4, ours and others'; 420 is an event that wants the acknowledgement 430.
SOCKET_IO = Dialect(
    request=upgrade("/socket.io/?EIO=4&transport=websocket"),
    greeting=(Step("", '0{"sid"'), Step("40", '40{"sid"')),
    subscribe=Step('420["subscribe","{topic}"]', "430["),
    unsubscribe=Step('420["unsubscribe","{topic}"]', "430["),
)
