"""`penstock restart`: every process of a set anew, under load, and nobody misses anything."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from producer import Publisher
from tests.support.deployed import Deployed, deployed
from tests.support.log import logged
from tests.support.waiting import wait_for
from tests.support.websocket import Client, Subscription, assert_in_order, places

IN_ORDER = ["broker", "gateway_00", "gateway_01", "demo", "system"]
END = "end"


@pytest.fixture(scope="module")
def the_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("set")) as the_set:
        the_set.env["PENSTOCK_BROKER__KEEP_EVENTS"] = "100000"
        the_set.start()
        # Running, to a supervisor, is not yet ready.
        for name in ("gateway[00]", "gateway[01]"):
            wait_for(partial(has_said, the_set, f"ready {name}"), what=the_set.said)
        yield the_set


def has_said(the_set: Deployed, words: str) -> bool:
    return words in the_set.said()


def restart(the_set: Deployed, *names: str) -> subprocess.CompletedProcess[str]:
    return the_set.run("penstock", "restart", *names, "--config", str(the_set.config), timeout_s=120)


def pids(the_set: Deployed) -> dict[str, int]:
    return {process.name: process.pid for process in the_set.supervised.processes()}


@contextmanager
def counting(control: str) -> Iterator[None]:
    """Confirmed events 1, 2, 3 and so on while the block lasts, and END."""
    stop = Event()

    def run() -> None:
        with Publisher(control=control, confirm=True) as publisher:
            number = 0
            while not stop.wait(0.002):
                number += 1
                publisher.publish("count", number)
            publisher.publish("count", END)
            publisher.flush(30)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def has_ended(followed: Subscription) -> bool:
    counted = [event for event in followed.events[-100:] if event.topic == "count"]
    return bool(counted) and counted[-1].data == END


def test_all_of_it_is_restarted_and_nobody_misses_anything(the_set: Deployed) -> None:
    control = f"tcp://127.0.0.1:{the_set.ports['control']}"
    before = pids(the_set)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client()) for _ in range(6)]
        for client in clients:
            client.connect(the_set.url)
            client.subscribe("**")
        following = [
            Thread(
                target=client.follow_until,
                args=(partial(has_ended, client.subscriptions["**"]),),
                kwargs={"url": the_set.url, "what": END},
            )
            for client in clients
        ]
        with counting(control):
            for thread in following:
                thread.start()
            answer = restart(the_set)
        for thread in following:
            thread.join()
        assert answer.returncode == 0, f"{answer.stderr}\n{the_set.said()}"
        assert [line.split()[1] for line in answer.stderr.splitlines()] == IN_ORDER
        after = pids(the_set)
        assert [name for name, pid in before.items() if after[name] in (0, pid)] == []

        kept = logged(control, "**")
        for client in clients:
            events = client.subscriptions["**"].events
            numbers = [event.data for event in events if event.topic == "count"]
            assert numbers == [*range(1, len(numbers)), END]
            assert len(numbers) > 1_000
            assert client.gaps == []
            # What the demo's sources sent, too, as far as it came to the broker.
            assert_in_order(events)
            first, last = events[0].seq, events[-1].seq
            assert places(events) == [event.place for event in kept if first <= event.seq <= last]


def test_one_that_does_not_come_back_ends_it_and_the_others_stay(the_set: Deployed) -> None:
    before = pids(the_set)
    wrong = the_set.folder / "penstock.toml"
    wrong.write_text("[gateway]\nfeet = 1\n")
    answer = restart(the_set, "gateway")
    wrong.unlink()
    assert answer.returncode == 1
    assert "gateway_00 failed" in answer.stderr and "did you mean feed?" in answer.stderr
    after = pids(the_set)
    assert {name for name, pid in before.items() if after[name] != pid} == {"gateway_00"}

    assert restart(the_set, "gateway_00").returncode == 0
    assert the_set.process("gateway_00").state == "RUNNING"


def test_a_name_that_nobody_has_is_told(the_set: Deployed) -> None:
    answer = restart(the_set, "gateways")
    assert (answer.returncode, "no such process runs: gateways" in answer.stderr) == (1, True)


def test_a_set_that_does_not_run_is_not_started(tmp_path: Path) -> None:
    with deployed(tmp_path) as the_set:
        answer = restart(the_set)
        assert (answer.returncode, "nothing runs there" in answer.stderr) == (1, True)
        assert the_set.everybody() == []
