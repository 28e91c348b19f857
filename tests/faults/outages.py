"""F3: power is lost, and with it what was not synced."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from broker.log import Durability
from tests.faults import rebooted
from tests.faults.checker import Report
from tests.faults.stage import Start, stage
from tests.faults.verdict import Verdict
from tests.support.outages import outages


def cut(seed: int, brief: bool = False) -> Verdict:
    """The log on a disk that forgets: three cuts, and of each several ways that it may end."""
    durability: Durability = "power" if seed % 2 else "process"
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        outcome = outages(Path(folder), seed, durability)
    verdict = Verdict(
        row="F3",
        what=f"power is cut, durability {durability}",
        seed=seed,
        report=Report(lost=len(outcome.wrong), gaps=outcome.told),
        broken=outcome.wrong[:3],
    )
    if durability == "power" and (outcome.told or outcome.new_epochs):
        verdict.broken.append(f"{outcome.told} events are gone, {outcome.new_epochs} new epochs")
    return verdict


def forgotten(seed: int, brief: bool = False) -> Verdict:
    """The machine starts anew, with a log that lacks its end, under clients that have seen it."""
    with stage("F3", "the log has lost its end", seed, brief=brief, is_empty=True) as on:
        boot, old = on.folder / "boot", on.folder / "old"
        old.mkdir()
        boot.write_text("first")
        on.add_broker(start=Start("tests.faults.rebooted", {rebooted.NAME: str(boot)}))
        for _ in range(2):
            on.add_gateway()
        on.follow(count=20)
        producer = on.produce(kind="push", rate=500, is_promised=False)
        on.pass_events(on.random.randrange(100, 500))
        on.note("so much is on the disk")
        on.broker.kill()
        for file in on.folder.glob("log.db*"):
            shutil.copy(file, old)
        on.broker.start()
        on.pass_events(on.random.randrange(100, 500))
        on.note("power is cut")
        on.broker.kill()
        boot.write_text("second")
        for file in on.folder.glob("log.db*"):  # in place: the same files, with other contents
            file.write_bytes((old / file.name).read_bytes())
        on.broker.start()
        on.await_promised(producer, 500)
        # What clients have seen of the time that is lost is in no log.
        verdict = on.judge(allow_unlogged=True)
        for journal in on.journals:
            for story in journal.clients:
                causes = [journal.gaps[-1 - entry].cause for entry in story.entries if entry < 0]
                on.must(causes[:1] == ["epoch"], f"each client is told of another log: {causes}")
        return verdict
