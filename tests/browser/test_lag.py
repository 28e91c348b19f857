"""The page where more is published than it can be sent: of now rather than whole, and whole again later."""

from __future__ import annotations

import json
import os
from base64 import b64encode

from tests.support.narrow import narrow
from tests.support.page import Page
from tests.support.processes import Broker, Gateway
from tests.support.sending import numbered, push, stream
from tests.support.waiting import wait_for

TOPICS = ["flood/0", "flood/1"]
NOISE_BYTES = 750
# Twice what the two need ten times a second, and much less than they bring, on a slow machine, too.
BYTES_PER_S = 40_000
CONNECTED = "Connected: websocket"
SKIPPING = f"{CONNECTED} - skipping"


def noise(number: int) -> bytes:
    """What no compression makes small."""
    return json.dumps({"n": number, "noise": b64encode(os.urandom(NOISE_BYTES)).decode()}).encode()


def shown_rate(page: Page) -> float:
    """Events a second of one topic, as its card has it."""
    return float((page.part(TOPICS[0], "rate") or "0").removesuffix("/s").replace("k", "e3"))


def test_what_is_too_much_is_skipped_and_said(page: Page, broker: Broker, gateway: Gateway) -> None:
    with narrow(gateway.address["url"]) as way:
        page.open(way.url)
        page.wait_state(CONNECTED)
        page.evaluate("document.querySelector('input[name=window][value=\"300\"]').click()")
        with stream(broker.address["ingest"], *TOPICS, payload=noise):
            page.wait_moving(TOPICS[0])
            assert page.state == CONNECTED
            way.bytes_per_s = BYTES_PER_S
            page.wait_state("Behind by ")
            # Then it asks for less, and what it shows is of now again.
            page.wait_state(SKIPPING)
            assert page.evaluate("document.querySelector('#state').dataset.state") == "lagging"
            page.wait_part(TOPICS[0], "gap", "skipped")
            # Ten a second come; the rate is of all there were.
            wait_for(lambda: shown_rate(page) > 20, what=lambda: f"the whole rate: {shown_rate(page)}/s")
            way.bytes_per_s = None
        # Nothing is skipped any more, so it asks for everything.
        wait_for(lambda: page.state == CONNECTED, what=lambda: f"connected: {page.state}")
        push(broker.address["push"], numbered("note", range(50)))
        page.wait_part("note", "legend", "n49")
        assert page.part("note", "gap") is None
        assert page.text("#gap") is None
        assert not [topic for topic in TOPICS if "lost" in (page.part(topic, "gap") or "")]
        assert page.problems == {"console": [], "thrown": [], "foreign": [], "failed": []}


def test_a_dead_connection_shows(page: Page, broker: Broker, gateway: Gateway) -> None:
    with narrow(gateway.address["url"]) as way:
        page.open(way.url)
        page.wait_state(CONNECTED)
        wait_for(lambda: page.evaluate("document.querySelector('#loading').hidden"), what="the past")
        way.is_blocked = True
        page.wait_state("No answer for ")
        way.is_blocked = False
        page.wait_state(CONNECTED)
        push(broker.address["push"], numbered("late", range(3)))
        page.wait_part("late", "legend", "n2")
        assert page.part("late", "gap") is None
