"""F13: the wall clock jumps, under the broker and under a gateway."""

from __future__ import annotations

import shutil
from pathlib import Path

from broker.control import Topics, TopicsPage
from tests.faults.stage import Start, stage
from tests.faults.verdict import Verdict
from tests.support.log import ask

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
JUMPS = ("+1h", "-1h", "+3650d", "-3650d", "+0")


def jumping(seed: int, brief: bool = False) -> Verdict:
    what = "the wall clock jumps by an hour and by ten years"
    library = maybe_library()
    if library is None:
        return Verdict(row="F13", what=what, seed=seed, left_out="needs Debian's package faketime")
    with stage("F13", what, seed, brief=brief, is_empty=True) as on:
        offset = on.folder / "offset"
        _jump(offset, "+0")
        preload = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # as it was called before
        }
        on.add_broker(start=Start("tests.faults.faked broker", preload))
        patience = {"ping_interval_s": 1, "ping_timeout_s": 2, "stall_s": 3}
        on.add_gateway(start=Start("tests.faults.faked gateway", preload), **patience)
        on.follow(count=20)
        on.produce(kind="confirmed", rate=300)
        on.pass_events(200)
        times = [_time(on.addresses["control"])]
        for jump in on.random.sample(JUMPS, len(JUMPS)):
            on.note(f"the wall clock jumps to {jump}")
            _jump(offset, jump)
            # Longer than a beat, a ping and its time-out.
            on.pass_events(300 * (1 if brief else 3))
            times.append(_time(on.addresses["control"]))
        verdict = on.judge()
        on.must(max(times) - min(times) > 7_000 * 86_400, f"the broker's clock did jump: {times}")
        on.must(not on.times.returns_s(), "no connection was closed")
        on.must(not any(story.stale for story in on.stories), "nobody was told that the broker is not heard")
        on.must(not verdict.report.gaps, "nothing was taken for old")
        return verdict


def maybe_library() -> str | None:
    if shutil.which("faketime") is None:
        return None
    return next((str(path) for each in LIBRARIES for path in Path("/").glob(each[1:])), None)


def _jump(file: Path, offset: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(f"{offset}\n")
    new.rename(file)  # it is read at any time


def _time(control: str) -> float:
    """The broker's clock, by the newest event."""
    page, _ = ask(control, Topics(id=1), TopicsPage)
    return max(float(topic.time) for topic in page.topics)
