"""Event streams in Chromium: read as we read them, and resumed by the browser itself."""

from __future__ import annotations

import json

import pytest

from tests.support.log import logged
from tests.support.page import Page
from tests.support.processes import Broker, Gateway
from tests.support.sending import numbered, push
from tests.support.sse import AWKWARD, event_stream, event_streams_js
from tests.support.waiting import wait_for


def test_awkward_payloads_are_read_as_we_read_them(page: Page, broker: Broker, gateway: Gateway) -> None:
    push(broker.address["push"], [[b"awkward", payload] for payload in AWKWARD])
    url = gateway.address["url"]
    page.open(url)
    asked = f"{url}/sse?topic=awkward&history={len(AWKWARD)}"
    found = page.evaluate(event_streams_js(asked, len(AWKWARD)))
    with event_stream(url, "awkward", history=len(AWKWARD)) as opened:
        ours = [[found.name, found.id or "", found.told] for found in opened.take(len(AWKWARD) + 1)]
    assert [[name, last_id, json.loads(data)] for name, last_id, data in found] == ours


def test_a_browser_goes_on_by_itself_after_its_gateway_was_killed(
    page: Page, broker: Broker, gateway: Gateway
) -> None:
    url = gateway.address["url"]
    page.open(url)
    push(broker.address["push"], numbered("resumed", range(5)))
    page.evaluate(
        f"""void (
        window.had = [],
        window.gaps = [],
        window.source = new EventSource('{url}/sse?topic=resumed&history=3'),
        source.onmessage = ({{ data }}) => had.push(JSON.parse(data).data.n),
        source.addEventListener('gap', ({{ data }}) => gaps.push(data)))"""
    )

    def has_had(*numbers: int) -> None:
        wait_for(
            lambda: page.evaluate("had") == list(numbers),
            what=lambda: f"{numbers}, it had {page.evaluate('had')}",
        )

    has_had(2, 3, 4)
    push(broker.address["push"], numbered("resumed", [5]))
    has_had(2, 3, 4, 5)
    gateway.kill()
    push(broker.address["push"], numbered("resumed", [6, 7]))
    gateway.start()
    has_had(2, 3, 4, 5, 6, 7)
    push(broker.address["push"], numbered("resumed", [8]))
    has_had(2, 3, 4, 5, 6, 7, 8)
    assert page.evaluate("gaps") == []
    page.evaluate("source.close()")


@pytest.mark.parametrize("delivery", ["latest", "hz:10"])
def test_a_stream_of_values_goes_on_with_the_newest(
    page: Page, broker: Broker, gateway: Gateway, delivery: str
) -> None:
    url, topic = gateway.address["url"], f"values-{delivery.replace(':', '')}"
    page.open(url)
    page.evaluate(
        f"""void (
        window.had = [],
        window.places = [],
        window.gaps = [],
        window.replied = [],
        window.source = new EventSource('{url}/sse?topic={topic}&delivery={delivery}'),
        source.onmessage = ({{ data, lastEventId }}) => had.push([JSON.parse(data), lastEventId]),
        source.addEventListener('reply', ({{ lastEventId }}) => replied.push(lastEventId)),
        source.addEventListener('at', ({{ data, lastEventId }}) =>
          places.push([JSON.parse(data).at, lastEventId])),
        source.addEventListener('gap', ({{ data }}) => gaps.push(data)))"""
    )

    def had() -> list[int]:
        return [event["data"]["n"] for event, _ in page.evaluate("had")]

    wait_for(lambda: page.evaluate("replied"), what="the reply")
    push(broker.address["push"], numbered(topic, range(100)))
    wait_for(lambda: had()[-1:] == [99], what=lambda: f"99, it had {had()[-5:]}")
    events = [event for event, _ in page.evaluate("had")]
    assert not any("prev" in event for event in events)
    # The place is told apart from the events, and is the id that the browser keeps.
    wait_for(
        lambda: any(int(at[17:]) >= events[-1]["seq"] for at, _ in page.evaluate("places")),
        what="a place beyond them",
    )
    assert all(at == last_id for at, last_id in page.evaluate("places"))
    before = had()
    gateway.kill()
    push(broker.address["push"], numbered(topic, range(100, 200)))
    wait_for(lambda: logged(broker.address["control"], topic)[-1].nth == 200, what="199 in the log")
    gateway.start()
    wait_for(lambda: had()[-1:] == [199], what=lambda: f"199, it had {had()[-5:]}")
    # Of all that was published in the meantime the newest, and nothing again.
    assert had() == [*before, 199]
    push(broker.address["push"], numbered(topic, [200]))
    wait_for(lambda: had()[-1:] == [200], what=lambda: f"200, it had {had()[-5:]}")
    # An event has no id of its own.
    told = [*page.evaluate("replied"), *(at for at, _ in page.evaluate("places"))]
    assert {last_id for _, last_id in page.evaluate("had")} <= set(told)
    assert page.evaluate("gaps") == []
    page.evaluate("source.close()")
