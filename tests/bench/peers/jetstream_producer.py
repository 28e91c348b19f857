"""A producer for JetStream that hears of each event that it is stored: a program of the bench.

It speaks NATS's own protocol over one connection, as lean as that can be: an event is bytes made
before, many go out in one write, and acknowledgements, which all come to one inbox, are counted.
Source: docs.nats.io, client protocol; JetStream wire API, STREAM.CREATE and STREAM.INFO.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any

from deploy.load.errors import Failed
from deploy.load.program import serve
from tests.bench.confirmed_producer import PAYLOAD, Confirm, Confirmed, topics

STREAM = b"BENCH"
# Events that wait for their acknowledgement, and in a write. With 512 to 65,536 of the one and 64 to 512 of
# the other it takes 185,000 to 230,000 a second; with these it is among the fastest.
IN_FLIGHT_MAX, BATCH = 2_048, 128
BUFFER_BYTES = 256 << 10
ANSWER_S = 10.0
_ACKNOWLEDGED = b'"seq":'  # once in each


class Occurrences:
    """Of a word in what comes, wherever reads cut it. Pure."""

    def __init__(self, word: bytes) -> None:
        self._word, self._rest = word, b""
        self.count = 0

    def feed(self, data: bytes | bytearray) -> None:
        heard = self._rest + data
        self.count += heard.count(self._word)
        self._rest = heard[len(heard) - len(self._word) + 1 :] if len(heard) >= len(self._word) else heard


class Jetstream:
    def __init__(self, port: int) -> None:
        self._link = socket.create_connection(("127.0.0.1", port), ANSWER_S)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link.sendall(
            b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB answers 1\r\nSUB acknowledged 2\r\n'
        )
        self._ask("STREAM.CREATE", {"name": STREAM.decode(), "subjects": ["bench.>"], "storage": "file"})

    def obey(self, request: Confirm) -> Confirmed:
        names = [topic.replace("/", ".").encode() for topic in topics(request.topics)]
        lines = [b"PUB %b acknowledged %d\r\n%b\r\n" % (name, len(PAYLOAD), PAYLOAD) for name in names]
        batch = b"".join((lines * BATCH)[:BATCH])
        stored = self._stored()
        started_s = time.monotonic()
        sent = self._publish(batch, started_s + request.seconds)
        took_s = time.monotonic() - started_s
        if self._stored() != stored + sent:
            raise Failed(f"{sent} events acknowledged, {self._stored() - stored} stored")
        return Confirmed(sent, took_s)

    def _publish(self, batch: bytes, until_s: float) -> int:
        """The batch again and again; how many events, when all of them are acknowledged."""
        link, acknowledged = self._link, Occurrences(_ACKNOWLEDGED)
        buffer, unsent, sent = bytearray(BUFFER_BYTES), memoryview(b""), 0
        link.setblocking(False)
        while True:
            is_over = time.monotonic() > until_s
            if not unsent and not is_over and sent - acknowledged.count <= IN_FLIGHT_MAX - BATCH:
                unsent = memoryview(batch)
                sent += BATCH
            if is_over and not unsent and acknowledged.count >= sent:
                link.settimeout(ANSWER_S)
                return sent
            readable, writable, _ = select.select([link], [link] if unsent else [], [], ANSWER_S)
            if writable:
                unsent = unsent[link.send(unsent) :]
            if readable:
                count = link.recv_into(buffer)
                if not count:
                    raise Failed("the server closed the connection")
                acknowledged.feed(buffer[:count])
            if not readable and not writable:
                raise Failed(f"{sent - acknowledged.count} of {sent} events were not acknowledged")

    def _stored(self) -> int:
        return int(self._ask("STREAM.INFO", None)["state"]["messages"])

    def _ask(self, what: str, body: dict[str, Any] | None) -> dict[str, Any]:
        text = b"" if body is None else json.dumps(body).encode()
        self._link.sendall(b"PUB $JS.API.%b.%b answers %d\r\n" % (what.encode(), STREAM, len(text)))
        self._link.sendall(text + b"\r\n")
        heard = b""
        while True:
            # MSG <subject> <number> <bytes>, and the answer behind that line.
            _, head, rest = heard.partition(b"MSG answers 1 ")
            size, line_end, said = rest.partition(b"\r\n")
            if head and line_end and len(said) >= int(size):
                answer: dict[str, Any] = json.loads(said[: int(size)])
                break
            more = self._link.recv(BUFFER_BYTES)
            if not more:
                raise Failed("the server closed the connection")
            heard += more
        if "error" in answer:
            raise Failed(f"{what}: {answer['error']}")
        return answer


if __name__ == "__main__":
    serve(Confirm, Jetstream(int(sys.argv[1])).obey)
