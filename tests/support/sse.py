"""Event streams, read as a browser reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from tests.support.waiting import DEADLINE_S

# Payloads that would break an event stream that did not take care.
AWKWARD = [
    b"a\r\nb\rc\nd",
    b"\n\ndata: forged\n\n",
    b'{"a":\r\n[1,\r2,\n3]}',
    b"a\0b",
    b'"a\\u0000b"',
    "a\u2028b\u2029c\u0085d".encode(),
    '"a\u2028b\u2029c\u0085d"'.encode(),
    "\ufeffa".encode(),
    '"\ufeff"'.encode(),
    "\U0001f4a7".encode(),
    b"\xff\n\n\xfe",
    b"",
    b" ",
    b": no comment",
]


class Block(NamedTuple):
    """What stands between two empty lines."""

    name: str  # of the event, "message" if it has none
    id: str | None
    told: Any  # the object in its data
    retry: int | None = None
    comment: str | None = None


def block(text: str) -> Block:
    """Of the lines of one block."""
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(": ")
        assert colon and name not in fields, f"not one line a field: {text!r}"
        fields[name] = value
    assert fields.keys() <= {"", "event", "id", "data", "retry"}, fields
    data, retry = fields.get("data"), fields.get("retry")
    return Block(
        fields.get("event", "message"),
        fields.get("id"),
        None if data is None else json.loads(data),
        None if retry is None else int(retry),
        fields.get(""),
    )


class EventStream:
    """One answer to GET /sse. Remembers the id as an EventSource does."""

    def __init__(self, answer: HTTPResponse) -> None:
        self.answer = answer
        self.last_id = ""

    def read(self) -> Block | None:
        """The next block; None at the end. Raises TimeoutError."""
        lines: list[str] = []
        while line := self.answer.readline():
            if line == b"\n":
                found = block("\n".join(lines))
                self.last_id = self.last_id if found.id is None else found.id
                return found
            lines.append(line.decode().removesuffix("\n"))
        return None

    def told(self) -> Iterator[Block]:
        """The blocks that tell something."""
        while (found := self.read()) is not None:
            if found.told is not None:
                yield found

    def take(self, count: int) -> list[Block]:
        """So many of them."""
        told = self.told()
        return [next(told) for _ in range(count)]


@contextmanager
def event_stream(
    url: str, *topics: str, last_event_id: str = "", headers: dict[str, str] | None = None, **asked: Any
) -> Iterator[EventStream]:
    """GET /sse; whatever the status is."""
    place = urlsplit(url)
    assert place.hostname and place.port
    connection = HTTPConnection(place.hostname, place.port, timeout=DEADLINE_S)
    query = urlencode([*(("topic", topic) for topic in topics), *asked.items()])
    sent = {**({"Last-Event-ID": last_event_id} if last_event_id else {}), **(headers or {})}
    try:
        connection.request("GET", f"/sse?{query}", headers=sent)
        with connection.getresponse() as answer:
            yield EventStream(answer)
    finally:
        connection.close()


def event_streams_js(url: str, count: int) -> str:
    """An expression that is, with a browser's EventSource, a promise of what came: [name, last id, data]
    of the first `count` events and of the reply.
    """
    return f"""new Promise((done, fail) => {{
  const source = new EventSource({json.dumps(url)})
  const had = []
  const take = ({{ type, lastEventId, data }}) => {{
    had.push([type, lastEventId, data])
    if (had.length <= {count}) return
    source.close()
    done(had)
  }}
  for (const name of ['message', 'reply', 'gap', 'notice']) source.addEventListener(name, take)
  source.onerror = () => {{ source.close(); fail(new Error('the stream ended')) }}
}})"""
