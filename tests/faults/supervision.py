"""F7: what supervisord stops leaves nothing, and what cannot start is given up where everybody sees it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.faults.stage import SupervisedStage, supervised
from tests.faults.verdict import Verdict
from tests.support.deployed import assert_nothing_left
from tests.support.waiting import wait_for

RETRIES = 2  # instead of the 30 of deploy/supervisord.conf, which take eight minutes
BACK_S = 5.0


def stopped(seed: int, brief: bool = False) -> Verdict:
    """All of it is stopped and started again, under clients and a producer that go on."""
    with supervised("F7", "stop and start of the whole set", seed, brief=brief) as on:
        on.follow(count=10, watched=10)
        on.produce(kind="confirmed", rate=500)
        on.pass_events(200)
        processes, ports = on.set.everybody(), on.set.listening_ports()
        stopped_s = on.note("supervisorctl shutdown")
        answer = on.set.supervisorctl("shutdown")
        on.must(answer.returncode == 0, answer.stdout + answer.stderr)
        assert_nothing_left(processes, ports)
        started_s = on.note("nothing is left; started again")
        on.set.start()
        on.pass_events(200)
        verdict = on.judge()
        on.measure("stopped", started_s - stopped_s, "s")
        verdict.back_s = on.times.flow_back_s(started_s)
        return verdict


def crashing(seed: int, brief: bool = False) -> Verdict:
    """The broker's log is no log: it ends at each start, is given up, and goes on once that is mended."""
    retries = {"startretries=30": f"startretries={RETRIES}"}
    with supervised("F7", "crash loop of the broker", seed, brief=brief, config=retries) as on:
        on.follow(count=10, watched=10)
        on.produce(kind="confirmed", rate=500)
        on.pass_events(200)
        gateways = {name: on.pid(name) for name in ("gateway_00", "gateway_01")}
        log, aside = on.folder / "run" / "penstock.log.db", on.folder / "aside"
        on.note("the log is another file, and the broker is killed")
        # The broker has it open, and writes on. Its write-ahead log alone would be a log again.
        _move(log.parent, aside)
        log.write_text("no log")
        os.kill(on.pid("broker"), signal.SIGKILL)
        wait_for(lambda: on.set.process("broker").state == "FATAL", what=on.set.said)
        fatal_s = on.note("FATAL")
        answer = on.set.supervisorctl("status")
        on.must(answer.returncode == 3, f"supervisorctl status ends with 3, not {answer.returncode}")
        on.must(re.search(r"^broker +FATAL", answer.stdout, re.MULTILINE), f"and says so: {answer.stdout}")
        _must_have_backed_off(on, fatal_s)
        on.must({name: on.pid(name) for name in gateways} == gateways, "gateways go on")
        log.unlink()
        _move(aside, log.parent)
        mended_s = on.note("the log is what it was; supervisorctl start broker")
        on.set.supervisorctl("start", "broker")
        on.pass_events(200)
        verdict = on.judge()
        on.must(not on.times.returns_s(), "clients kept their connections")
        stale = [[is_stale for _, is_stale in story.stale] for story in on.stories]
        on.must(stale == [[True, False]] * len(stale), f"clients were told, and when it was over: {stale}")
        verdict.back_s = on.times.flow_back_s(mended_s)
        on.measure("flow back", verdict.back_s, "s", at_most=BACK_S)
        return verdict


def _move(here: Path, there: Path) -> None:
    there.mkdir(exist_ok=True)
    for file in here.glob("penstock.log.db*"):
        if file.suffix != ".lock":
            file.rename(there / file.name)


def _must_have_backed_off(on: SupervisedStage, fatal_s: float) -> None:
    """One more try than retries, with a pause of one second more before each."""
    tries = (on.set.supervised.logs / "broker.log").read_text().count("is not a Penstock log")
    on.must(tries == RETRIES + 1, f"{RETRIES + 1} tries, not {tries}")
    killed_s = on.verdict.moments[-2].monotonic_s
    on.must(fatal_s - killed_s >= sum(range(1, RETRIES + 1)), f"it backed off: {fatal_s - killed_s:.1f} s")
