"""The client module in Chromium before real processes, following values rather than each change of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.log import logged
from tests.support.page import Page
from tests.support.processes import Broker, Gateway
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.waiting import wait_for

# A feed of our own, on a document of the gateway that has none.
FOLLOW = """import('/penstock.js').then(({ connect }) => {
  window.feed = connect()
  window.had = []
  window.gaps = []
  window.lives = 0
  for (const [pattern, options] of %s) {
    feed.subscribe(pattern, {
      ...options,
      onEvent: event => had.push([pattern, event.topic, event.data.n, event.prev === undefined]),
      onGap: gap => gaps.push(gap),
      onLive: () => lives++,
    })
  }
})"""


@dataclass(frozen=True)
class Had:
    """An event that a subscription was handed."""

    pattern: str
    topic: str
    number: int
    is_bare: bool  # without `prev`: others of its topic are left out


class Follower:
    """A feed in the page."""

    def __init__(self, page: Page, gateway: Gateway, **deliveries: Any) -> None:
        self._page = page
        asked = [[pattern, {"delivery": delivery}] for pattern, delivery in deliveries.items()]
        page.open(f"{gateway.address['url']}/api/status")
        page.evaluate(FOLLOW % json.dumps(asked))
        self.wait_lives(len(asked))

    @property
    def had(self) -> list[Had]:
        return [Had(*each) for each in self._page.evaluate("had")]

    @property
    def lives(self) -> int:
        return int(self._page.evaluate("lives"))

    @property
    def position(self) -> str:
        return str(self._page.evaluate("feed.position"))

    def numbers(self, topic: str) -> list[int]:
        return [each.number for each in self.had if each.topic == topic]

    def wait_lives(self, count: int) -> None:
        """Until so many replies have come, over all connections."""
        wait_for(lambda: self.lives >= count, what=lambda: f"{count} replies, {self.lives} came")

    def wait_last(self, topic: str, number: int) -> None:
        wait_for(
            lambda: self.numbers(topic)[-1:] == [number],
            what=lambda: f"{number} last on {topic}: {self.numbers(topic)[-5:]}",
        )

    def wait_settled(self, seq: int) -> None:
        """Until nothing up to there can be pending."""
        wait_for(lambda: int(self.position[17:]) >= seq, what=lambda: f"beyond {seq}, it is {self.position}")

    def close(self) -> None:
        assert self._page.evaluate("gaps") == []
        assert self._page.problems["thrown"] == []
        self._page.evaluate("feed.close()")


def assert_newer_each(numbers: list[int]) -> None:
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("name", "delivery"),
    [("latest", "latest"), ("hz60", {"hz": 60}), ("hz1", {"hz": 1})],
    ids=["latest", "60 a second", "1 a second"],
)
def test_values_end_on_the_newest(
    page: Page, broker: Broker, gateway: Gateway, name: str, delivery: Any
) -> None:
    topic = f"values-{name}"
    follower = Follower(page, gateway, **{topic: delivery})
    push(broker.address["push"], numbered(topic, range(5_000)))
    follower.wait_last(topic, 4_999)
    assert_newer_each(follower.numbers(topic))
    assert len(follower.numbers(topic)) < 5_000
    assert all(each.is_bare for each in follower.had)
    follower.close()


def test_a_topic_that_is_wanted_in_full_too_comes_in_full_to_both(
    page: Page, broker: Broker, gateway: Gateway
) -> None:
    follower = Follower(page, gateway, **{"mixed/*": {"hz": 1}, "mixed/whole": "all"})
    topics = ("mixed/some", "mixed/whole")
    push(broker.address["push"], [each for topic in topics for each in numbered(topic, range(500))])
    for topic in topics:
        follower.wait_last(topic, 499)
    for pattern in ("mixed/*", "mixed/whole"):
        mine = [each for each in follower.had if each.pattern == pattern and each.topic == "mixed/whole"]
        assert [each.number for each in mine] == list(range(500))
    assert_newer_each(follower.numbers("mixed/some"))
    assert {each.topic: each.is_bare for each in follower.had} == {"mixed/some": True, "mixed/whole": False}
    follower.close()


@pytest.mark.parametrize(
    ("name", "delivery"), [("latest", "latest"), ("hz5", {"hz": 5})], ids=["latest", "5 a second"]
)
def test_at_another_gateway_it_gets_the_newest_of_what_changed(
    page: Page, broker: Broker, tmp_path: Path, name: str, delivery: Any
) -> None:
    changed, unchanged, whole = (f"{name}/{each}" for each in ("changed", "unchanged", "whole"))
    with running_gateway(tmp_path, broker) as first:
        follower = Follower(page, first, **{f"{name}/*": delivery, whole: "all"})
        # What is wanted in full comes last, or the feed's position would stay before the others.
        for topic in (changed, unchanged, whole):
            push(broker.address["push"], numbered(topic, range(10)))
            follower.wait_last(topic, 9)
        follower.wait_settled(max_seq(page, changed, unchanged, whole))
        port = first.address["url"].rsplit(":", 1)[1]
        first.kill()
        for topic in (changed, whole):
            push(broker.address["push"], numbered(topic, range(10, 30)))
        for topic in (changed, whole):
            wait_for(partial(has_logged, broker, topic, 30), what=f"29 in the log of {topic}")
        before = {topic: follower.numbers(topic) for topic in (changed, unchanged)}
        with running_gateway(tmp_path, broker, number=1, port=port):
            follower.wait_lives(4)
            follower.wait_last(changed, 29)
            follower.wait_last(whole, 29)
            push(broker.address["push"], numbered(unchanged, [10]))
            follower.wait_last(unchanged, 10)
            # Of all that happened in the meantime the newest, and nothing again.
            assert follower.numbers(changed) == [*before[changed], 29]
            assert follower.numbers(unchanged) == [*before[unchanged], 10]
            mine = [each.number for each in follower.had if each.pattern == whole]
            assert mine == list(range(30))
            follower.close()


def test_a_position_is_good_for_an_event_stream(page: Page, broker: Broker, gateway: Gateway) -> None:
    follower = Follower(page, gateway, carried="latest")
    push(broker.address["push"], numbered("carried", range(10)))
    follower.wait_last("carried", 9)
    follower.wait_settled(max_seq(page, "carried"))
    position = follower.position
    follower.close()
    push(broker.address["push"], numbered("carried", range(10, 20)))
    page.evaluate(
        f"""void (
        window.had = [],
        window.source = new EventSource('/sse?topic=carried&delivery=latest&since={position}'),
        source.onmessage = ({{ data }}) => had.push(JSON.parse(data).data.n))"""
    )
    wait_for(lambda: 19 in page.evaluate("had"), what=lambda: f"19, it had {page.evaluate('had')}")
    assert 9 not in page.evaluate("had")
    page.evaluate("source.close()")


def has_logged(broker: Broker, topic: str, count: int) -> bool:
    return logged(broker.address["control"], topic)[-1].nth == count


def max_seq(page: Page, *topics: str) -> int:
    """Of the newest events of these topics, by the gateway."""
    told = page.evaluate("fetch('/api/topics').then(answer => answer.json())")
    return max(int(each["seq"]) for each in told["topics"] if each["topic"] in topics)
