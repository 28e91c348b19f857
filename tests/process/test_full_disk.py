"""A disk that is really full: live events go on, publishers hear no, and all heals when there is room."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from broker import control
from broker import store as stores
from broker.backup import backup
from broker.chunk import Row
from broker.control import Answer, ReplayPage, StatusPage, Submit
from broker.errors import CannotCommit
from broker.store import Change, Store
from broker.tables import reading
from broker.verify import verify
from broker.wire import Position, pack_event
from tests.support.disks import NEEDS_ROOT, small_disk
from tests.support.log import ask, logged, status
from tests.support.ports import reserved_ports
from tests.support.processes import STOP_S, broker_environment, environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import push
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client, places

SIZE_KB = 1_024
SMALL_KB = 12_288
FILLING = "filling"


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of a megabyte, or of as many KB as are asked for."""
    with small_disk(tmp_path / "disk", getattr(request, "param", SIZE_KB) << 10) as place:
        if place is None:
            pytest.skip(NEEDS_ROOT)
        yield place


def test_a_disk_that_is_read_only(tmp_path: Path, disk: Path) -> None:
    """A log there is checked and copied, and no broker runs on it: it says what to do."""
    with running_broker(tmp_path, log=disk / "log.db") as broker:
        push(broker.address["push"], events(1, 3))
        wait_for(lambda: status(broker.address["control"]).logged == 3, what="three events")
        broker.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert verify(disk / "log.db").is_sound
        assert backup(disk / "log.db", tmp_path / "copy.db").events == 3
        broker.launch()
        assert broker.wait() == 1
        assert "make the folder writable for this user" in broker.stderr()
        assert "Traceback" not in broker.stderr()


def fill(disk: Path) -> None:
    with (disk / FILLING).open("wb", buffering=0) as file:
        while os.statvfs(disk).f_bavail:  # the log may let go of something meanwhile
            with suppress(OSError):
                while True:
                    file.write(bytes(4_096))


def events(first: int, count: int) -> list[list[bytes]]:
    """Of more than a page each: they do not fit where something is left over."""
    return [[b"load", b'{"n": %d, "x": "%s"}' % (n, b"x" * 6_000)] for n in range(first, first + count)]


def submitted(address: str, key: str) -> Answer:
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        asking.set(zmq.LINGER, 0)
        asking.connect(address)
        data = pack_event(b"kept", b"x" * 6_000, 0)
        asking.send_multipart([control.encode(Submit(id=1, subject="s", key=key)), data])
        assert asking.poll(int(DEADLINE_S * 1000))
        return control.decode_answer(asking.recv())


def test_a_full_disk_and_room_again(tmp_path: Path, disk: Path) -> None:
    with (
        running_broker(tmp_path, log=disk / "log.db") as broker,
        running_gateway(tmp_path, broker) as gateway,
        Client() as client,
    ):
        pid = broker.pid
        client.connect(gateway.address["url"])
        live = client.subscribe("load")
        push(broker.address["push"], events(1, 5))
        client.read_events(live, 5)
        before = live.events[-1]

        fill(disk)
        push(broker.address["push"], events(6, 20))
        client.read_events(live, 25)
        assert [event.data["n"] for event in live.events] == list(range(1, 26))
        refused = submitted(broker.address["control"], "k")
        assert refused.error is not None
        assert refused.error.code == "unavailable"
        assert "full" in refused.error.message and "make room" in refused.error.message
        # What is there can be read.
        replay = control.Replay(id=1, patterns=("load",), after=0)
        page, _ = ask(broker.address["control"], replay, ReplayPage)
        unlogged = (before.seq + 1, live.events[-1].seq)
        assert page.damaged == [unlogged]
        history = f"{gateway.address['url']}/api/topics/load/history?limit=2"
        with urllib.request.urlopen(history) as answer:
            assert answer.status == 200
        assert status(broker.address["control"]).logged == 5

        (disk / FILLING).unlink()
        assert submitted(broker.address["control"], "k").error is None
        push(broker.address["push"], events(26, 5))
        client.read_events(live, 30)
        assert client.gaps == [] and client.close_code is None
        kept = [event for event in places(live.events) if not unlogged[0] <= event[1] <= unlogged[1]]
        assert [event.place for event in logged(broker.address["control"], "load")] == kept
        # Who was there has them in memory; of another gateway, which asks the log, they are a gap.
        with running_gateway(tmp_path, broker, number=1) as other, Client() as late:
            late.connect(other.address["own"])
            resumed = late.subscribe("load", since=str(Position(before.epoch, before.seq)))
            late.read_events(resumed, 5)
            assert resumed.ok is not None and resumed.ok["recovered"] is False
            (gap,) = late.gaps
            assert gap["cause"] == "damaged"
            assert (gap["after"], gap["before"]) == (
                str(Position(before.epoch, before.seq)),
                str(Position(before.epoch, unlogged[1] + 1)),
            )
        assert broker.pid == pid
        assert broker.stop() == 0
        assert broker.stderr().count("unlogged from=") == 1
        assert f"unlogged from={unlogged[0]}" in broker.stderr()
        assert "Traceback" not in broker.stderr()
        broker.start()
        assert "new epoch" not in broker.stderr()
        assert submitted(broker.address["control"], "k").error is None


@pytest.mark.parametrize("disk", [SMALL_KB], indirect=True)
def test_what_passes_through_a_small_disk_does_not_fill_it(tmp_path: Path, disk: Path) -> None:
    """The log keeps a megabyte; what is written ahead of it is let go in time, though twice the disk passes,
    and also after it was full.
    """
    with running_broker(tmp_path, log=disk / "log.db", keep_events=20, keep_bytes=1 << 20) as broker:
        control_port = broker.address["control"]

        def pass_events() -> StatusPage:
            upto = status(control_port).received + 200
            push(broker.address["push"], events(1, 200))
            wait_for(lambda: status(control_port).received == upto, what="all of them")
            return status(control_port)

        def goes_on(key: str) -> None:
            wait_for(lambda: submitted(control_port, key).error is None, what="it goes on")

        for number in range(2):
            for _ in range(20):
                assert pass_events().trouble is None
                wait_for(lambda: status(control_port).log_bytes < 2 << 20, what="retention has been at work")
            fill(disk)
            wait_for(lambda: pass_events().trouble, what="the disk is full")
            (disk / FILLING).unlink()
            goes_on(str(number))


@pytest.fixture
def store(disk: Path) -> Iterator[Store]:
    store = Store(disk / "log.db")
    yield store
    store.close()


def keep(store: Store, first: int, size: int, until_full: bool = False) -> int:
    """Commit a chunk, or as many as there is room for; which one comes next."""
    while True:
        try:
            store.commit(Change(add=[Row.make(first, first, 0.0, b"", b"x" * size)]))
        except CannotCommit as error:
            assert "full" in str(error) and until_full
            return first
        first += 1
        if not until_full:
            return first


@pytest.mark.parametrize("size", [2_000, 50_000, 250_000])
@pytest.mark.parametrize("disk", [SMALL_KB], indirect=True)
def test_whatever_fills_the_disk_when_it_goes_the_log_goes_on(disk: Path, store: Store, size: int) -> None:
    """At once, and with the very room that there was; the write-ahead log could have taken more meanwhile."""
    upto = 1
    for number in range(6):
        for _ in range(number * 100_000 // size):
            upto = keep(store, upto, size)
        fill(disk)
        upto = keep(store, upto, size, until_full=True)
        (disk / FILLING).unlink()
        upto = keep(store, upto, size)
    assert [row[0] for row in store.summaries()] == list(range(1, upto))


@pytest.mark.parametrize("disk", [SMALL_KB], indirect=True)
def test_who_reads_keeps_what_is_written_ahead_and_all_can_be_moved_afterwards(
    disk: Path, store: Store
) -> None:
    upto = keep(store, 1, 1_000)
    with reading(disk / "log.db"):
        upto = keep(store, upto, 50_000, until_full=True)
        # Another one has the very rest: what is there to grow by has been left.
        fill(disk)
        assert keep(store, upto, 50_000, until_full=True) == upto
        (disk / FILLING).unlink()
    for _ in range(20):
        upto = keep(store, upto, 50_000)
    assert store.faults() == []


@pytest.mark.parametrize("disk", [SMALL_KB], indirect=True)
def test_a_quota(disk: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk says that it has room, and takes nothing: within a second of when it does, all goes on."""
    monkeypatch.setattr(stores, "SCARCE_BYTES", 0)  # no room is too little
    monkeypatch.setattr(stores, "CHECKPOINT_BYTES", 100_000)
    upto = 1
    for _ in range(20):
        upto = keep(store, upto, 50_000)
    fill(disk)
    upto = keep(store, upto, 50_000, until_full=True)
    (disk / FILLING).unlink()

    wait_for(lambda: keep(store, upto, 50_000, until_full=True) > upto, what="it goes on")


def test_nowhere_to_say_anything(tmp_path: Path) -> None:
    """The files of its stdout and stderr are on a full disk: the broker runs, and ends as it is told."""
    with reserved_ports(1) as (port,), Path("/dev/full").open("w") as full:
        address = f"tcp://127.0.0.1:{port}"
        env = environment({**broker_environment(tmp_path), "PENSTOCK_BROKER__CONTROL": address})
        with subprocess.Popen(
            [sys.executable, "-m", "broker"], cwd=tmp_path, env=env, stdout=full, stderr=full
        ) as process:
            try:
                assert status(address).received == 0
                assert submitted(address, "k").error is None
                process.terminate()
                assert process.wait(STOP_S) == 0
            finally:
                process.kill()
