"""Event streams in Chromium: read as we read them, and resumed by the browser itself."""

from __future__ import annotations

import json

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
