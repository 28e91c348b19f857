"""The life of a session: what each packet asks for where it comes, and which moves there are."""

from __future__ import annotations

import pytest

from gateway.socketio.engine import Act, Cause, Engine, Over, State
from gateway.socketio.engine_packets import EnginePacket, Kind

# The moves that lead there.
WAYS: dict[State, tuple[Over, list[Cause]]] = {
    State.POLLING: (Over.POLLING, []),
    State.PROBING: (Over.POLLING, [Cause.SOCKET]),
    State.PROBED: (Over.POLLING, [Cause.SOCKET, Cause.PROBE]),
    State.WEBSOCKET: (Over.WEBSOCKET, []),
    State.CLOSED: (Over.POLLING, [Cause.END]),
}


def engine(state: State) -> Engine:
    over, causes = WAYS[state]
    made = Engine(over)
    for cause in causes:
        made.move(cause)
    assert made.state is state
    return made


HEARD = {Kind.MESSAGE: Act.DELIVER, Kind.PONG: Act.NOTE_PONG, Kind.CLOSE: Act.CLOSE}
# What a packet asks for; any other may not come there.
ALLOWED = [
    pytest.param(State.POLLING, Over.POLLING, HEARD, id="polling"),
    pytest.param(State.PROBING, Over.POLLING, HEARD, id="polling, beside a socket"),
    pytest.param(State.PROBED, Over.POLLING, HEARD, id="polling, beside a probed one"),
    pytest.param(State.WEBSOCKET, Over.WEBSOCKET, HEARD, id="over a WebSocket"),
    pytest.param(State.PROBED, Over.WEBSOCKET, {Kind.UPGRADE: Act.UPGRADE}, id="a probed socket"),
    pytest.param(State.PROBING, Over.WEBSOCKET, {}, id="a socket that is not probed"),
    pytest.param(State.WEBSOCKET, Over.POLLING, {}, id="polling after the upgrade"),
    pytest.param(State.CLOSED, Over.POLLING, {}, id="polling after the end"),
    pytest.param(State.CLOSED, Over.WEBSOCKET, {}, id="over a WebSocket after the end"),
]


@pytest.mark.parametrize(("state", "over", "allowed"), ALLOWED)
def test_what_packets_ask_for(state: State, over: Over, allowed: dict[Kind, Act]) -> None:
    is_beside = state in (State.PROBING, State.PROBED) and over is Over.WEBSOCKET
    otherwise = Act.DROP if is_beside else Act.REFUSE
    found = {kind: engine(state).act(EnginePacket(kind), over) for kind in Kind}
    assert found == {kind: allowed.get(kind, otherwise) for kind in Kind}


@pytest.mark.parametrize(
    ("data", "act"), [("probe", Act.ANSWER_PROBE), ("", Act.DROP), ("prob", Act.DROP), ("probe ", Act.DROP)]
)
def test_only_a_probe_is_answered(data: str, act: Act) -> None:
    assert engine(State.PROBING).act(EnginePacket(Kind.PING, data), Over.WEBSOCKET) is act


MOVES = {
    (State.POLLING, Cause.SOCKET): State.PROBING,
    (State.PROBING, Cause.PROBE): State.PROBED,
    (State.PROBING, Cause.LOSS): State.POLLING,
    (State.PROBED, Cause.LOSS): State.POLLING,
    (State.PROBED, Cause.UPGRADE): State.WEBSOCKET,
    **{(state, Cause.END): State.CLOSED for state in State},
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("cause", Cause)
def test_moves(state: State, cause: Cause) -> None:
    moving = engine(state)
    if (state, cause) in MOVES:
        moving.move(cause)
        assert moving.state is MOVES[state, cause]
    else:
        with pytest.raises(KeyError):
            moving.move(cause)
        assert moving.state is state


def test_what_is_said_of_each_state() -> None:
    said = {
        state: [
            name
            for name in ("is_polling", "is_probing", "is_probed", "may_be_probed", "is_closed")
            if getattr(engine(state), name)
        ]
        for state in State
    }
    assert said == {
        State.POLLING: ["is_polling", "may_be_probed"],
        State.PROBING: ["is_polling", "is_probing"],
        State.PROBED: ["is_polling", "is_probing", "is_probed"],
        State.WEBSOCKET: [],
        State.CLOSED: ["is_closed"],
    }
