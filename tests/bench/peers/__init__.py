"""Servers that others have made, under the same load as ours: each is started, spoken to, and ended here."""

from __future__ import annotations

from deploy.load.loads import Opening
from tests.bench.peers.in_python import python_socketio, socketify
from tests.bench.peers.nats import nats
from tests.bench.peers.nchan import nchan
from tests.bench.peers.node import socket_io, ws

PEERS: dict[str, Opening] = {
    "nats": nats,
    "socketify": socketify,
    "nchan": nchan,
    "ws": ws,
    "socket.io": socket_io,
    "python-socketio": python_socketio,
}
