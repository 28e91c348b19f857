"""What clients of Socket.IO cost that poll and wait: `python -m tests.bench.polling [--connections 2000]`.

Each keeps one HTTP connection, as browsers do, subscribes to the same topic, and polls. Prints two lines:
between two polls, and with one that waits.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Iterator
from http.client import HTTPConnection

from deploy.load.figure import Figure, line
from deploy.load.loads import WARM_UP_CONNECTIONS, Found
from deploy.load.names import CPU_CONNECT, MEMORY
from tests.bench.ours import SOCKET_IO_NAME, penstock_socket_io

CONNECTIONS = 2_000
CPU_POLL = "CPU a poll"


class Poller:
    """One that is subscribed."""

    def __init__(self, host: str, port: int, topic: str) -> None:
        self._http = HTTPConnection(host, port)
        self._path = "/socket.io/?EIO=4&transport=polling"
        self._path += f"&sid={json.loads(self._poll()[1:])['sid']}"
        self._post("40")
        self._await("40{")
        self._post(f'420["subscribe","{topic}"]')
        self._await("430[")

    def begin_poll(self) -> None:
        self._http.request("GET", self._path)

    def _await(self, word: str) -> None:
        while word not in self._poll():
            pass

    def _poll(self) -> str:
        self.begin_poll()
        return self._http.getresponse().read().decode()

    def _post(self, packet: str) -> None:
        self._http.request("POST", self._path, packet, {"Content-Type": "text/plain;charset=UTF-8"})
        self._http.getresponse().read()


def polling(connections: int, topic: str = "bench") -> Iterator[Found]:
    with penstock_socket_io() as server:
        costs = server.costs
        assert costs is not None

        def found(state: str, name: str, cpu_s: float) -> Found:
            load = f"{connections:,} {state}"
            each = (costs.memory_bytes() - empty) / connections
            values = [(MEMORY, each, "bytes"), (name, (costs.cpu_s() - cpu_s) / connections * 1e6, "µs")]
            return [
                Figure(bench="polling", load=load, server=SOCKET_IO_NAME, name=name, unit=unit, value=value)
                for name, value, unit in values
            ]

        first = [Poller(server.host, server.port, topic) for _ in range(WARM_UP_CONNECTIONS)]
        for poller in first:
            poller.begin_poll()
        empty, began_s = costs.memory_bytes(), costs.cpu_s()
        pollers = [Poller(server.host, server.port, topic) for _ in range(connections)]
        yield found("between two polls", CPU_CONNECT, began_s)
        connected_s = costs.cpu_s()
        for poller in pollers:
            poller.begin_poll()
        # A new session is answered after what came before it was read.
        Poller(server.host, server.port, topic)
        yield found("with a poll that waits", CPU_POLL, connected_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="polling", description="What clients that poll cost.")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for found in polling(given.connections):
        print(line(found), flush=True)


if __name__ == "__main__":
    main()
