"""The life of an Engine.IO session: what each packet means where it comes, and what follows. Pure.

A session begins over polling or over a WebSocket. One that polls may be upgraded: another connection, a
WebSocket, is probed while the session goes on by polling, and then takes its place.

Source: Engine.IO protocol, revision 4, "Transports" and "Upgrade".
"""

from __future__ import annotations

from enum import Enum, auto

from gateway.socketio.engine_packets import EnginePacket, Kind

PROBE = "probe"
REVISION = "4"


class Over(Enum):
    """How a packet came."""

    POLLING = "polling"
    WEBSOCKET = "websocket"


class State(Enum):
    POLLING = auto()
    PROBING = auto()  # polling, with a WebSocket beside it
    PROBED = auto()  # that has been answered
    WEBSOCKET = auto()
    CLOSED = auto()


class Act(Enum):
    """What a packet asks for."""

    DELIVER = auto()  # to whom the session is for
    NOTE_PONG = auto()
    ANSWER_PROBE = auto()  # and let go the poll that waits: the client awaits that
    UPGRADE = auto()
    CLOSE = auto()  # the client ends the session
    REFUSE = auto()  # it may not come here: the session ends
    DROP = auto()  # it may not come here: this WebSocket ends, the session goes on without


_ALWAYS = {Kind.MESSAGE: Act.DELIVER, Kind.PONG: Act.NOTE_PONG, Kind.CLOSE: Act.CLOSE}
_ACTS = {
    (State.POLLING, Over.POLLING): _ALWAYS,
    (State.PROBING, Over.POLLING): _ALWAYS,
    (State.PROBED, Over.POLLING): _ALWAYS,
    (State.PROBING, Over.WEBSOCKET): {Kind.PING: Act.ANSWER_PROBE},
    (State.PROBED, Over.WEBSOCKET): {Kind.UPGRADE: Act.UPGRADE},
    (State.WEBSOCKET, Over.WEBSOCKET): _ALWAYS,
}


class Cause(Enum):
    """What moves a session on."""

    SOCKET = auto()  # a WebSocket for it has come
    PROBE = auto()  # and was probed
    UPGRADE = auto()
    LOSS = auto()  # of that WebSocket, before it took over
    END = auto()


_MOVES = {
    (State.POLLING, Cause.SOCKET): State.PROBING,
    (State.PROBING, Cause.PROBE): State.PROBED,
    (State.PROBED, Cause.UPGRADE): State.WEBSOCKET,
    (State.PROBING, Cause.LOSS): State.POLLING,
    (State.PROBED, Cause.LOSS): State.POLLING,
    **{(state, Cause.END): State.CLOSED for state in State},
}


class Engine:
    """One session."""

    __slots__ = ("state",)

    def __init__(self, over: Over) -> None:
        self.state = State.POLLING if over is Over.POLLING else State.WEBSOCKET

    @property
    def is_polling(self) -> bool:
        """What is sent goes out with the answer to a poll."""
        return self.state in (State.POLLING, State.PROBING, State.PROBED)

    @property
    def is_probing(self) -> bool:
        return self.state in (State.PROBING, State.PROBED)

    @property
    def is_probed(self) -> bool:
        return self.state is State.PROBED

    @property
    def may_be_probed(self) -> bool:
        """A WebSocket that comes for it may take over."""
        return self.state is State.POLLING

    @property
    def is_closed(self) -> bool:
        return self.state is State.CLOSED

    def act(self, packet: EnginePacket, over: Over) -> Act:
        """What is to be done about it."""
        found = _ACTS.get((self.state, over), {}).get(packet.kind)
        if found is None or (found is Act.ANSWER_PROBE and packet.data != PROBE):
            return Act.DROP if self.is_probing and over is Over.WEBSOCKET else Act.REFUSE
        return found

    def move(self, cause: Cause) -> None:
        """Raises KeyError for a move that there is not: a fault of ours."""
        self.state = _MOVES[self.state, cause]
