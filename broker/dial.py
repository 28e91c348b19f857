"""How our own sockets connect to the broker, so that one that is gone is noticed and found again.

No ZMTP heartbeat: libzmq 4.3.5 ends the process when one falls due on a link whose queue is full and
which is reset, or is not answered for want of room in it (its issue #3937). The kernel's own probes
notice a host that is gone, and whoever owes a beat and says nothing is called anew.
"""

from __future__ import annotations

from contextlib import suppress

import zmq

# The kernel takes a host for gone that has acknowledged nothing for three seconds.
PROBE_AFTER_S, PROBE_EVERY_S, PROBES, UNACKNOWLEDGED_MS = 1, 1, 3, 3_000
RECONNECT_MS, RECONNECT_MAX_MS = 100, 1_000
CONNECT_TIMEOUT_MS = 5_000  # the kernel's own is over two minutes
HANDSHAKE_MS = 5_000
SILENT_S = 3.5  # three beats and a half
STOOD_STILL_S = 1.0


def prepare(socket: zmq.Socket[bytes]) -> None:
    """The options of a socket that has yet to connect."""
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.TCP_KEEPALIVE, 1),
        (zmq.TCP_KEEPALIVE_IDLE, PROBE_AFTER_S),
        (zmq.TCP_KEEPALIVE_INTVL, PROBE_EVERY_S),
        (zmq.TCP_KEEPALIVE_CNT, PROBES),
        (zmq.TCP_MAXRT, UNACKNOWLEDGED_MS),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS),
        (zmq.RECONNECT_IVL, RECONNECT_MS),
        (zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS),
    ):
        socket.set(option, value)


def redial(socket: zmq.Socket[bytes], address: str) -> None:
    """Another link in the place of one that says nothing: what came on that and was not read is gone, and a
    SUB sends its filters again.
    """
    with suppress(zmq.ZMQError):  # it has just gone by itself
        socket.disconnect(address)
    socket.connect(address)


class Silence:
    """Of a link on which a word is due every second; to be asked a few times a second.

    `now_s` is any clock that does not jump. Time in which nobody asked is not held against the link: then
    it was the process that stood still.
    """

    def __init__(self) -> None:
        self._heard_s: float | None = None  # None: no link stands
        self._asked_s: float | None = None

    def on_link(self, now_s: float) -> None:
        self._heard_s = now_s

    def on_word(self, now_s: float) -> None:
        if self._heard_s is not None:
            self._heard_s = now_s

    def is_over(self, now_s: float) -> bool:
        """Whether the link is to be given up: once for each. One that does not stand is no matter of ours."""
        pause_s = 0.0 if self._asked_s is None else now_s - self._asked_s
        self._asked_s = now_s
        if self._heard_s is None:
            return False
        if pause_s > STOOD_STILL_S:
            self._heard_s = min(now_s, self._heard_s + pause_s)
        if now_s - self._heard_s <= SILENT_S:
            return False
        self._heard_s = None
        return True
