"""Gateways behind networks of their own, and what a client may lack there: nothing that it is not told of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from broker.wire import Position
from tests.support.log import logged, status
from tests.support.processes import Broker, Gateway
from tests.support.processes import gateway as running_gateway
from tests.support.proxy import Proxy, proxied
from tests.support.sending import push
from tests.support.waiting import wait_for
from tests.support.websocket import Client, Subscription, assert_in_order, places

KEEP = 100_000
FILLER = b"x" * 40_000


@contextmanager
def distant(
    tmp_path: Path, to: Broker, number: int = 0, **settings: object
) -> Iterator[tuple[Gateway, Proxy, Proxy]]:
    """A gateway behind a network of its own: it, its way to the feed, and its way to control."""
    with (
        proxied(to.address["feed"]) as feed,
        proxied(to.address["control"]) as asked,
        running_gateway(
            tmp_path, to, number, feed=feed.address, control=asked.address, **settings
        ) as gateway,
    ):
        yield gateway, feed, asked


def drops(broker: Broker) -> int:
    """Messages that the feed's high-water mark has cost."""
    return status(broker.address["control"]).at.drops


def logs(broker: Broker, messages: Sequence[Sequence[bytes]]) -> None:
    """Publish; returns when it is logged and forwarded."""
    wanted = status(broker.address["control"]).logged + len(messages)
    push(broker.address["push"], messages)
    wait_for(lambda: status(broker.address["control"]).logged >= wanted, what="all of it is logged")


def assert_has_all(subscription: Subscription, broker: Broker, after: int = 0) -> None:
    """All that the log has of its pattern beyond that seq, once and in order."""
    assert_in_order(subscription.events)
    kept = logged(broker.address["control"], subscription.pattern.text, after)
    assert places(subscription.events) == [event.place for event in kept]


def at(client: Client, seq: int) -> str:
    return str(Position(Position.parse(client.welcome["position"]).epoch, seq))


def assert_exact(client: Client, subscription: Subscription, broker: Broker) -> None:
    """Of a topic all there ever was: each once and in order, or in a gap that says how many it stands for."""
    topic = subscription.pattern.text
    newest = logged(broker.address["control"], topic)[-1]
    events = subscription.events

    def gaps() -> list[tuple[int, int, int]]:
        told = [gap for gap in client.gaps if gap["pattern"] == topic]
        return [
            (Position.parse(gap["after"]).seq, Position.parse(gap["before"]).seq, gap["lost"]) for gap in told
        ]

    def is_settled() -> bool:
        return any(end > newest.seq for _, end, _ in gaps()) or any(
            event.seq == newest.seq for event in events
        )

    client.read_until(is_settled, what=f"the newest of {topic}, {newest}, or word that it is lost")
    had = [(0, 0), *((event.seq, event.nth) for event in events), (newest.seq + 1, newest.nth + 1)]
    for (before, before_nth), (after, after_nth) in pairwise(had):
        assert before < after
        if after_nth != before_nth + 1:
            assert any(start < after - 1 and before + 1 < end for start, end, _ in gaps()), (before, after)
    assert sum(lost for *_, lost in gaps()) == newest.nth - len(events)
