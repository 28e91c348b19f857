"""Requests of Socket.IO for gateways that were killed, leave, have ended, hang, or only begin."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.socketio.sids import new_sid, owner_of
from tests.support.handed import UNKNOWN, Connect, Line, Set, counts, lines, port_of, request, three
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.waiting import wait_for


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Set]:
    """For those that break something."""
    with three(tmp_path) as found:
        yield found


@pytest.fixture
def line() -> Iterator[Connect]:
    with lines() as connect:
        yield connect


def test_an_owner_that_was_killed_and_is_back(fragile: Set, line: Connect) -> None:
    sid = new_sid("01")
    asking = line(fragile["00"])
    asking.send(request(sid))
    assert asking.by() == "01"
    fragile["01"].kill()
    asking = line(fragile["00"])
    asking.send(request(sid))
    assert asking.answer()[::2] == (400, UNKNOWN)
    fragile["01"].start()
    asking = line(fragile["00"])
    asking.send(request(sid))
    assert asking.by() == "01"
    assert counts(fragile["00"])["handover_failed"] == 1


def test_one_that_leaves_goes_on_with_its_sessions_and_passes_on_others(fragile: Set, line: Connect) -> None:
    leaving, other = fragile["01"], fragile["00"]
    kept = line(leaving)
    kept.send(request(new_sid("01")))
    assert kept.by() == "01"
    asking = line(leaving)
    asking.send(request("", path="/leave"))
    assert asking.by() == "01"
    kept.send(request(new_sid("02")))
    assert kept.by() == "02"
    asking = line(other)
    asking.send(request(new_sid("01")))
    status, headers, told = asking.answer()
    assert (status, told["by"], headers["Connection"]) == (200, "01", "close")


def test_an_owner_that_has_ended(fragile: Set, line: Connect) -> None:
    assert fragile["01"].stop() == 0
    asking = line(fragile["00"])
    asking.send(request(new_sid("01")))
    assert asking.answer()[::2] == (400, UNKNOWN)


def test_an_owner_that_hangs_holds_up_nobody_else(fragile: Set, line: Connect) -> None:
    """Some are in its queue and are answered when it goes on; all others are told in two seconds."""
    hanging = fragile["01"].pid
    os.kill(hanging, signal.SIGSTOP)
    try:
        lines = [line(fragile["00"]) for _ in range(400)]
        for each in lines:
            each.send(request(new_sid("01")))
        for owner in ("00", "02"):
            asking = line(fragile["00"])
            asking.send(request(new_sid(owner)))
            assert asking.by() == owner
        wait_for(lambda: counts(fragile["00"])["handover_failed"], what="those that waited told")
        late = line(fragile["00"])
        late.send(request(new_sid("01")))
        assert late.answer()[0] == 400
    finally:
        os.kill(hanging, signal.SIGCONT)
    statuses = [each.answer()[0] for each in lines]
    told = counts(fragile["00"])
    assert set(statuses) == {200, 400}
    assert statuses.count(200) == told["handed_over"] - 1  # the one for 02
    assert statuses.count(400) == told["handover_failed"] - 1  # the late one

    def is_back() -> bool:
        asking = line(fragile["00"])
        asking.send(request(new_sid("01")))
        return asking.answer()[0] == 200

    wait_for(is_back, what="one that is handed over again")


def test_real_gateways_find_each_other_by_their_port(tmp_path: Path) -> None:
    """Without a setting, and with nothing left behind."""
    with (
        tempfile.TemporaryDirectory(prefix="penstock-") as runtime,
        pytest.MonkeyPatch.context() as patch,
        running_broker(tmp_path, durability="memory") as broker,
    ):
        patch.setenv("XDG_RUNTIME_DIR", runtime)
        with (
            running_gateway(tmp_path, broker) as one,
            running_gateway(tmp_path, broker, 1, port=port_of(one, "url")) as two,
            running_gateway(tmp_path, broker, 2) as foreign,
        ):
            ports = {str(port_of(each, "url")) for each in (one, foreign)}
            ours = Path(runtime, f"penstock-{os.geteuid()}")
            assert {path.name for path in ours.iterdir()} == ports
            with closing(Line(one)) as asking:
                asking.send(request("", path="/socket.io/?EIO=4&transport=polling"))
                status, body = asking.text()
                sid = json.loads(body[1:])["sid"]
            assert (status, owner_of(sid)) == (200, "00")
            unknown = 400, json.dumps(UNKNOWN, separators=(",", ":"))
            # Connects, and closes its session.
            asked = [(foreign, b"40", unknown), (two, b"40", (200, "ok")), (two, b"1", (200, "ok"))]
            for at, said, answer in asked:
                with closing(Line(at)) as asking:
                    asking.send(request(sid, body=said))
                    assert asking.text() == answer
            for each in (one, two, foreign):
                assert each.stop() == 0
            assert list(ours.iterdir()) == []
