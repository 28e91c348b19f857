"""F12: the disk is full, under the log and under what the broker says."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from tests.faults.actors import Producing
from tests.faults.stage import Stage, stage
from tests.faults.verdict import Verdict
from tests.support.disks import NEEDS_ROOT, small_disk
from tests.support.log import status
from tests.support.waiting import wait_for

# Less than the write-ahead log may have on a large disk: of a small one it takes a part.
DISK_BYTES = 24 << 20
BACK_S = 5.0


def full(seed: int, brief: bool = False) -> Verdict:
    """Confirmed publishing is refused and waits; live events and reading go on; with room it goes on."""
    what = "disk full, under log and stdout"
    with (
        stage("F12", what, seed, brief=brief, is_empty=True) as on,
        small_disk(on.folder / "disk", DISK_BYTES) as disk,
    ):
        if disk is None:
            on.verdict.left_out = NEEDS_ROOT
            return on.verdict
        on.add_broker(disk)
        on.add_gateway()
        pid = on.broker.pid
        on.follow(count=10)
        confirmed = on.produce(kind="confirmed", rate=1_000, stem="load/sure", filler_bytes=200)
        plain = on.produce(kind="push", is_promised=False, rate=200, stem="load/plain")
        on.pass_events(300)
        on.note("the disk is full")
        _fill(disk / "filler")
        # What it says of it finds no room either.
        wait_for(lambda: _is_stuck(on, confirmed, plain), what="confirmations end")
        before = on.crowds[0].look()
        on.await_promised(plain, 100)
        on.crowds[0].wait(lambda state: state.entries > before.entries, "live events go on")
        # Whoever comes now reads what the log has.
        late = on.crowd()
        late.follow(on.urls, "load/**", since=f"{on.head.epoch_number:016x}.0")
        on.must(status(on.addresses["control"]).logged > 0, "the log is read")
        room_s = on.note("there is room again")
        (disk / "filler").unlink()
        on.await_promised(confirmed, 1)
        back_s = time.monotonic() - room_s
        on.await_promised(confirmed, 1_000)
        on.pass_events(300)
        verdict = on.judge(allow_unlogged=True)
        on.must(on.broker.pid == pid, "the broker was not restarted")
        verdict.back_s = back_s
        on.measure("confirmed again", back_s, "s", at_most=BACK_S)
        return verdict


def _fill(path: Path) -> None:
    """Takes all room there is."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))  # to the last page


def _is_stuck(on: Stage, confirmed: Producing, plain: Producing) -> bool:
    """Whether others are served, and this one has heard of nothing meanwhile."""
    before = confirmed.promised
    on.await_promised(plain, 100)
    return confirmed.promised == before
