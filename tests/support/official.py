"""Official Socket.IO clients in a Node process, each as a page has it: it subscribes whenever it is new.

    with officials() as node:
        client = node.open("ada", url, transports=["polling"], subscribe=[["cpu/**"]])
        client.await_following()
        client.break_off()      # comes back by itself
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Thread
from typing import Any

import pytest

from broker.wire import Position
from deploy.parent import end_with_parent
from tests.support.processes import REPO, end_with_input, environment
from tests.support.waiting import DEADLINE_S, wait_for

PROGRAM = REPO / "tests" / "support" / "official.mjs"
POLLING, UPGRADING, WEBSOCKET = ["polling"], ["polling", "websocket"], ["websocket"]
TRANSPORTS = [
    pytest.param(POLLING, id="polling"),
    pytest.param(UPGRADING, id="upgrading"),
    pytest.param(WEBSOCKET, id="websocket"),
]


class Official:
    """One client, and all that it has heard. Told it is new, it emits its subscriptions."""

    def __init__(self, node: Officials, name: str) -> None:
        self._node, self.name = node, name
        self._ids = count()
        self.connects: list[dict[str, Any]] = []  # recovered, id, pid, offset, transport
        self.ends: list[str] = []  # reasons
        self.errors: list[str] = []  # of tries to connect
        self.upgrades: list[str] = []
        self.subscribed: list[dict[str, Any]] = []  # answers to what it asked when it was new
        self.heard: list[tuple[str, list[Any]]] = []
        self.answers: dict[int, list[Any]] = {}

    # What it does

    def emit(self, name: str, *args: Any) -> None:
        self._node.do("emit", client=self.name, name=name, args=args)

    def ask(self, name: str, *args: Any) -> Any:
        """The acknowledgement."""
        id = next(self._ids)
        self._node.do("emit", client=self.name, name=name, args=args, id=id)
        answer: list[Any] = self.wait(lambda: self.answers.get(id), f"the answer to {name} {args}")
        assert len(answer) == 1
        return answer[0]

    def subscribe(self, pattern: str, **options: Any) -> dict[str, Any]:
        answer = self.ask("subscribe", pattern, options)
        ok: dict[str, Any] = answer["ok"]
        return ok

    def break_off(self) -> None:
        """Its transport ends; it comes back by itself."""
        self._node.do("break", client=self.name)

    def break_on(self, name: str, times: int = 1) -> None:
        """The next times it hears that."""
        self._node.do("breakOn", client=self.name, name=name, times=times)

    def forge(self, **state: str) -> None:
        """The `pid` or `offset` with which it comes back."""
        self._node.do("forge", client=self.name, **state)

    def move(self, url: str) -> None:
        """That is where it comes back."""
        self._node.do("move", client=self.name, url=url)

    def go_away(self) -> None:
        """Until it is moved elsewhere."""
        self.move("http://127.0.0.1:1")
        self.break_off()
        self.wait(lambda: self.errors, "that nobody is there")

    def close(self) -> None:
        """By its own wish: it does not come back."""
        self._node.do("close", client=self.name)

    # What it has heard

    def said(self, name: str) -> list[Any]:
        """The first argument of each event of that name."""
        return [args[0] for heard, args in self.heard if heard == name]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [each for each in self.said("event") if not each.get("history")]

    @property
    def past(self) -> list[dict[str, Any]]:
        return [each for each in self.said("event") if each.get("history")]

    def numbers(self, topic: str) -> list[int]:
        """Of numbered events, see `sending`."""
        return [each["data"]["n"] for each in self.events if each["topic"] == topic]

    def assert_each_once(self, topic: str) -> None:
        """Of numbered events from its first to its last, in order, and no gap."""
        found = self.numbers(topic)
        assert found == list(range(found[0], found[0] + len(found)))
        assert self.said("gap") == []

    @property
    def offset(self) -> str:
        """Of the last that had one."""
        return next(str(args[-1]) for _, args in reversed(self.heard) if isinstance(args[-1], str))

    @property
    def position(self) -> Position:
        return Position.parse(self.offset.rpartition(".")[0])

    @property
    def recovered(self) -> list[bool]:
        """Of each time that it connected."""
        return [each["recovered"] for each in self.connects]

    def wait(self, fact: Any, what: str, deadline_s: float = DEADLINE_S) -> Any:
        return wait_for(fact, what=lambda: f"{what} of {self!r}", deadline_s=deadline_s)

    def await_connects(self, times: int) -> None:
        self.wait(lambda: len(self.connects) >= times, f"{times} connects")

    def await_following(self, times: int = 1) -> None:
        """So many of its subscriptions have been answered."""
        self.wait(lambda: len(self.subscribed) >= times, f"{times} answers to subscribes")

    def await_events(self, times: int) -> None:
        self.wait(lambda: len(self.events) >= times, f"{times} events")

    def await_said(self, name: str, times: int = 1) -> list[Any]:
        self.wait(lambda: len(self.said(name)) >= times, f"{times} of {name}")
        return self.said(name)

    def __repr__(self) -> str:
        events = len(self.events)
        newest = self.heard[-3:]
        return (
            f"Official({self.name!r}, connects={self.connects}, ends={self.ends}, errors={self.errors[-3:]},"
            f" subscribed={self.subscribed}, events={events}, newest={newest})"
        )

    def _take(self, told: dict[str, Any]) -> None:
        what = told["what"]
        if what == "heard":
            self.heard.append((told["name"], [_plain(each) for each in told["args"]]))
        elif what == "connect":
            self.connects.append(told)
        elif what == "disconnect":
            self.ends.append(told["reason"])
        elif what == "connect_error":
            self.errors.append(told["message"])
        elif what == "upgrade":
            self.upgrades.append(told["name"])
        elif what == "subscribed":
            self.subscribed.append(told["answer"])
        elif what == "ack":
            self.answers[told["id"]] = told["answer"]


class Officials:
    """The process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._clients: dict[str, Official] = {}
        self._reports: dict[int, dict[str, Any]] = {}
        self._ids = count()
        self.is_ready = False
        Thread(target=self._read, name="officials", daemon=True).start()

    def open(
        self,
        name: str,
        url: str,
        transports: Sequence[str] = WEBSOCKET,
        *,
        subscribe: Sequence[Sequence[Any]] = (),
        quiet: bool = False,
        **options: Any,
    ) -> Official:
        """
        Args:
            subscribe: arguments of what it emits when it is new.
            quiet: it says nothing but in a `report`.
            options: socket.io-client's.
        """
        client = self._clients[name] = Official(self, name)
        options = {"transports": list(transports), **options}
        self.do("open", client=name, url=url, options=options, subscribe=subscribe, quiet=quiet)
        return client

    def report(self) -> dict[str, dict[str, Any]]:
        """Of each client: runs of numbers by topic, connects, how often it was anew, what else it heard."""
        id = next(self._ids)
        self.do("report", id=id)
        return wait_for(lambda: self._reports.get(id), what="a report")

    def do(self, what: str, **options: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **options}, default=_as_bytes) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if told["what"] == "ready":
                self.is_ready = True
            elif told["what"] == "report":
                self._reports[told["id"]] = told["clients"]
            else:
                self._clients[told["client"]]._take(told)


@contextmanager
def officials() -> Iterator[Officials]:
    """The process, ended after the block with all its clients."""
    process = subprocess.Popen(
        ["node", str(PROGRAM)],
        env=environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
    )
    node = Officials(process)
    try:
        wait_for(lambda: node.is_ready, what="the Node process of official clients")
        yield node
    finally:
        end_with_input(process)


def _as_bytes(value: object) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {"$bytes": b64encode(value).decode()}


def _plain(value: Any) -> Any:
    """With Node's buffers as bytes."""
    if isinstance(value, dict):
        if value.get("type") == "Buffer" and isinstance(value.get("data"), list):
            return bytes(value["data"])
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
