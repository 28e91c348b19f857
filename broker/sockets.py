"""The broker's four ports, bound, with the options that make them safe to leave alone."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from dataclasses import dataclass

import zmq

from broker.errors import AddressInUse, BadSetting
from broker.settings import BrokerSettings

# A peer that never says ZMTP is let go after the handshake interval.
HANDSHAKE_MS = 5_000
ZAP_DOMAIN = b"penstock"
# A subscriber that vanished without a word, after the heartbeat's time-out: its queue would fill. Elsewhere
# there is none. Of a producer that has sent its last and closed, bytes written to it make its kernel reset
# the connection and drop what our full buffers had not let it send yet (up to 16,000 events). And where a
# queue of what came in can be full, a heartbeat can end the process (see broker.dial): that of the
# subscribers has no mark.
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 2_000, 6_000
# The kernel's own probes find the vanished, and carry no bytes; and those who acknowledge nothing.
PROBE_AFTER_S, PROBE_EVERY_S, PROBES, UNACKNOWLEDGED_MS = 15, 5, 3, 20_000
# A message over MAXMSGSIZE costs its sender the connection and the good messages around it, so what
# is only somewhat too large is taken in, dropped and counted.
HEAD_ROOM_FACTOR, HEAD_ROOM_BYTES = 4, 64 * 1024
REQUEST_MAX_BYTES = 8 << 20
# What has come in on the push port and not yet to the log is lost with a broker that is killed, so it
# waits at its senders instead.
PUSH_HIGH_WATER, PUSH_BUFFER_BYTES = 1_000, 256 * 1024
# Answers that wait for one requester, at most half a megabyte each: it asks again for what is beyond.
ANSWERS_HIGH_WATER = 64
# Requests of one peer that wait to be read; the others wait at their sender. More than any of ours has
# under way: a peer that sends heartbeats of its own could otherwise end the process.
REQUESTS_HIGH_WATER = 2_000


@dataclass(frozen=True, slots=True)
class Sockets:
    ingest: zmq.Socket[bytes]
    push: zmq.Socket[bytes]
    control: zmq.Socket[bytes]
    feed: zmq.Socket[bytes]

    def address(self, name: str) -> str:
        """Where it is bound, with the port that the kernel picked for `*`."""
        return str(getattr(self, name).getsockopt_string(zmq.LAST_ENDPOINT))

    def close(self) -> None:
        for socket in (self.ingest, self.push, self.control, self.feed):
            socket.close(linger=0)


def bind(context: zmq.Context[zmq.Socket[bytes]], settings: BrokerSettings) -> Sockets:
    """Raises AddressInUse, BadSetting."""
    message_max = settings.payload_max_bytes * HEAD_ROOM_FACTOR + HEAD_ROOM_BYTES
    sockets = Sockets(*(context.socket(kind) for kind in (zmq.XSUB, zmq.PULL, zmq.ROUTER, zmq.XPUB)))
    with ExitStack() as on_failure:
        on_failure.callback(sockets.close)
        sockets.ingest.setsockopt(zmq.RCVHWM, settings.ingest_high_water)
        _bind(sockets.ingest, "ingest", settings.ingest, message_max)
        sockets.push.setsockopt(zmq.RCVHWM, PUSH_HIGH_WATER)
        sockets.push.setsockopt(zmq.RCVBUF, PUSH_BUFFER_BYTES)
        _bind(sockets.push, "push", settings.push, message_max)
        sockets.ingest.send(b"\x01")  # everything, also for those who connect later
        sockets.control.setsockopt(zmq.SNDHWM, ANSWERS_HIGH_WATER)
        sockets.control.setsockopt(zmq.ROUTER_MANDATORY, 1)
        sockets.control.setsockopt(zmq.RCVHWM, REQUESTS_HIGH_WATER)
        _bind(sockets.control, "control", settings.control, max(REQUEST_MAX_BYTES, message_max))
        sockets.feed.setsockopt(zmq.SNDHWM, settings.feed_high_water)
        sockets.feed.setsockopt(zmq.XPUB_NODROP, 1)  # see broker.feed
        _bind(sockets.feed, "feed", settings.feed, HEAD_ROOM_BYTES)
        on_failure.pop_all()
    return sockets


def _bind(socket: zmq.Socket[bytes], name: str, address: str, message_max: int) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, message_max)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    # Nobody answers for this domain, and who speaks ZMTP 3 is let in all the same. But with one libzmq takes
    # no ZMTP 1 or 2, of which the former begins with any byte: without it a POST of HTTP is frames, and any
    # web page could have its visitors' browsers publish.
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    if name == "feed":
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_MAXRT, UNACKNOWLEDGED_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, PROBE_AFTER_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, PROBE_EVERY_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, PROBES)
    variable = f"PENSTOCK_BROKER__{name.upper()}"
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(address, variable) from error
        raise BadSetting(f"{variable} = {address!r}: cannot listen there: {error.strerror}") from error
