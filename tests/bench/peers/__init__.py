"""Servers that others have made, under the same load as ours: each is started, spoken to, and ended here."""

from __future__ import annotations

from deploy.load.loads import Opening
from tests.bench.peers.nats import nats
from tests.bench.peers.socketify import socketify

PEERS: dict[str, Opening] = {"nats": nats, "socketify": socketify}
