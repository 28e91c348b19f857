"""Places from which clients ask: each end of the log and beyond it, and one place from two clients."""

from __future__ import annotations

from broker.wire import Position
from tests.faults.journal import Story
from tests.faults.stage import stage
from tests.faults.verdict import Verdict
from tests.support.log import logged, status
from tests.support.waiting import wait_for

FOREIGN = 0x00000000DEADBEEF
KEPT_OF_EACH = 200
TOPICS = 5


def late(seed: int, brief: bool = False) -> Verdict:
    """F18: clients that ask from every edge of a log that has let some of it go, and then hear what comes."""
    count = 3_000 if brief else 20_000
    with stage("F18", "late joiners", seed, brief=brief, broker={"keep_events": KEPT_OF_EACH}) as on:
        # The only producer, and it pushes: events have the numbers of their places.
        past = on.produce(kind="push", rate=1_000_000, topics=TOPICS)
        on.await_promised(past, count)
        past.end()
        control = on.broker.address["control"]
        wait_for(lambda: status(control).logged >= past.promised, what="all of them logged")
        before = -1
        while before != (before := len(logged(control, "load/**"))):  # until retention has done its part
            on.hold(0.5)
        head = status(control).at
        epoch, newest, oldest = head.epoch_number, head.head, head.oldest
        on.must(newest == past.promised, f"one seq an event: {newest} for {past.promised}")
        on.must(oldest > 1, "retention was at work")
        on.note(f"asked from each edge of {oldest} to {newest}")
        edges = {
            "0": Position(epoch, 0),
            "oldest - 1": Position(epoch, oldest - 1),
            "oldest": Position(epoch, oldest),
            "oldest + 1": Position(epoch, oldest + 1),
            "within": Position(epoch, on.random.randrange(oldest, newest)),
            "newest - 1": Position(epoch, newest - 1),
            "newest": Position(epoch, newest),
            "newest + 1": Position(epoch, newest + 1),
            "far beyond": Position(epoch, newest + 1_000_000),
            "of another log": Position(FOREIGN, oldest),
            "at the start of another log": Position(FOREIGN, 0),
            "beyond this one's end, of another log": Position(FOREIGN, newest + 1_000),
        }
        crowd = on.crowd()
        for since in edges.values():
            crowd.follow(on.urls, "load/**", since=str(since), count=len(on.gateways))
        # Few enough that retention takes nothing of what is new.
        live = on.produce(kind="push", rate=200, topics=TOPICS)
        on.await_promised(live, KEPT_OF_EACH // 2)
        live.end()
        verdict = on.judge(on.all_pushed([past, live]))
        for number, story in enumerate(on.stories):
            name = list(edges)[number // len(on.gateways)]
            told = [entry for entry in story.entries if entry < 0]
            on.must(story.recovered == [not told], f"{name}: recovered {story.recovered}, gaps {len(told)}")
            on.must(bool(told) is _tells(name), f"{name}: {len(told)} gaps")
        return verdict


def _tells(name: str) -> bool:
    """Whether something is missing after that place."""
    return name == "0" or name in ("newest + 1", "far beyond") or "another log" in name


def twice(seed: int, brief: bool = False) -> Verdict:
    """F19: two clients that go on from one position, on one gateway and on two, in the middle of a stream.

    A position is a place and no session: both have everything from there on, each once.
    """
    with stage("F19", "one position, two clients", seed, brief=brief) as on:
        first = on.follow(count=2)
        on.produce(kind="push", rate=500)
        on.pass_events(200)
        control = on.broker.address["control"]
        head = status(control).at
        for _ in range(3 if brief else 20):
            since = Position(head.epoch_number, on.random.randrange(1, head.head))
            on.note(f"two clients from {since.seq}")
            for urls in ([on.urls[0]], on.urls):
                first.follow(urls, "load/**", since=str(since), count=2)
        on.pass_events(200)
        verdict = on.judge()
        on.must(_is_never_broken(on.stories), "no connection was closed for the other")
        on.must(all(story.recovered == [True] for story in on.stories), "all were recovered")
        return verdict


def _is_never_broken(stories: list[Story]) -> bool:
    return not any(story.breaks for story in stories)
