"""F6 and F19: a producer is killed in the middle of its stream, rises from the dead, or is there twice."""

from __future__ import annotations

from tests.faults.producing import FENCED
from tests.faults.stage import stage
from tests.faults.verdict import Verdict


def killed(seed: int, brief: bool = False) -> Verdict:
    """kill -9, and again: each new one goes on after what the log has of it."""
    with stage("F6", "kill -9 of a producer", seed, brief=brief) as on:
        on.follow(count=10)
        producer = on.produce(kind="confirmed", rate=4_000)
        for _ in range(3 if brief else 10):
            on.pass_events(on.random.randrange(1, 1_500))
            on.note(f"kill -9 at {producer.promised}")
            producer.kill()
            producer.launch()
        on.pass_events(500)
        return on.judge()


def risen(seed: int, brief: bool = False) -> Verdict:
    """One that stood still while another took its id: it has more to send, and nothing of it is logged."""
    with stage("F6", "a producer that was given up goes on", seed, brief=brief) as on:
        on.follow(count=10)
        old = on.produce(kind="confirmed", rate=4_000, id="one")
        on.pass_events(on.random.randrange(1, 1_500))
        with on.stopped(old):
            on.note("another one takes its id")
            new = on.produce(kind="confirmed", rate=1_000, id="one")
            on.await_promised(new, 200)
        status = old.wait()
        on.must(status == FENCED, f"the old one is fenced: it ended with {status}\n{old.stderr()}")
        on.await_promised(new, 200)
        return on.judge()


def contested(seed: int, brief: bool = False) -> Verdict:
    """F19: programs that take one id, each from the one before. The latest has it, the others end."""
    with stage("F19", "one id, several producers", seed, brief=brief) as on:
        on.follow(count=10)
        has_it = on.produce(kind="confirmed", rate=2_000, id="one")
        for _ in range(2 if brief else 6):
            on.await_promised(has_it, on.random.randrange(1, 1_000))
            on.note(f"another one takes its id at {has_it.promised}")
            had_it, has_it = has_it, on.produce(kind="confirmed", rate=2_000, id="one")
            status = had_it.wait()
            on.must(status == FENCED, f"the one before is fenced: it ended with {status}\n{had_it.stderr()}")
        on.await_promised(has_it, 500)
        return on.judge()
