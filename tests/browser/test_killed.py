"""kill -9 of each process of a supervised set while the page is open: it comes back, and the page goes on.

Beside the page a client follows everything on the shared port, and goes on wherever it is let in:
what it has at the end is compared with the log.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.deployed import Deployed, deployed
from tests.support.log import logged
from tests.support.page import browser
from tests.support.ports import is_listening
from tests.support.sending import push
from tests.support.waiting import wait_for
from tests.support.websocket import Client, Subscription, assert_in_order, places

CONNECTED = "Connected: websocket"
KILLED = ["broker", "gateway_00", "gateway_01", "demo"]
KEEP = 100_000


@pytest.fixture(scope="module")
def the_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("set")) as the_set:
        the_set.env["PENSTOCK_BROKER__KEEP_EVENTS"] = str(KEEP)
        the_set.start()
        # Running, to a supervisor, is not yet listening.
        wait_for(lambda: is_listening(the_set.ports["shared"]), what=lambda: f"a gateway\n{the_set.said()}")
        yield the_set


def kill(the_set: Deployed, name: str) -> None:
    """Returns when the supervisor has another one of it running."""
    before = the_set.process(name).pid
    os.kill(before, signal.SIGKILL)
    wait_for(
        lambda: the_set.process(name).pid not in (0, before) and the_set.all_run(),
        what=lambda: f"{name} back: {the_set.process(name)}\n{the_set.said()}",
    )


def notes(subscription: Subscription) -> list[str]:
    return [event.data for event in subscription.events if event.topic == "note"]


def has_come(subscription: Subscription, word: str) -> bool:
    return notes(subscription)[-1:] == [word]


def test_each_process_is_killed_and_the_page_goes_on(the_set: Deployed, tmp_path: Path) -> None:
    to_push, control = (f"tcp://127.0.0.1:{the_set.ports[name]}" for name in ("push", "control"))
    with browser(tmp_path) as page, Client() as client:
        page.open(the_set.url)
        page.wait_state(CONNECTED)
        page.wait_moving("graph")
        loaded_at = page.loaded_at
        client.connect(the_set.url)
        followed = client.subscribe("**")
        for name in KILLED:
            kill(the_set, name)
            # Word of after the kill reaches both, in its place.
            word = f"after {name}"
            push(to_push, [[b"note", json.dumps(word).encode()]])
            page.wait_part("note", "value", word)
            client.follow_until(partial(has_come, followed, word), url=the_set.url, what=word)
            page.wait_state(CONNECTED)
            page.wait_moving("graph")
        assert [page.part(topic, "gap") for topic in page.topics] == [None] * len(page.topics)
        assert page.text("#gap") is None
        assert page.loaded_at == loaded_at
        assert page.problems["thrown"] == []

        assert client.gaps == []
        events = followed.events
        assert_in_order(events)
        kept = logged(control, "**", events[0].seq - 1)
        assert places(events) == [event.place for event in kept if event.seq <= events[-1].seq]
        assert notes(followed) == [f"after {name}" for name in KILLED]
