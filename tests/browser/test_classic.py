"""The classic page in Chromium and in Firefox: its sine over Socket.IO, and the words above it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.log import logged
from tests.support.page import KINDS, Page, browser
from tests.support.processes import Broker, Gateway, Service, running
from tests.support.sending import push
from tests.support.waiting import wait_for

_serial = count()
MOST_POINTS = 100
WEBSOCKET, POLLING = "Connected: websocket", "Connected: polling"
NO_PROBLEMS: dict[str, list[str]] = {"console": [], "thrown": [], "foreign": [], "failed": []}

# A network that lets no WebSocket through, as the page sees it; how often it has tried.
BLOCKED = """
window.tries = 0
WebSocket = class { constructor() { tries++; throw new Error('no WebSocket here') } }
"""

# Each point of the curve, and whether the canvas has the line's colour (237, 194, 64) beside it.
DRAWN = """(() => {
  const plot = jQuery('#graph').data('plot')
  const canvas = plot.getCanvas()
  const { left, top } = plot.getPlotOffset()
  const scale = canvas.width / canvas.clientWidth
  // A copy: browsers warn of a canvas that is drawn and read in turn.
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true })
  copy.drawImage(canvas, 0, 0)
  const isOnLine = (across, down) => {
    // A point alone has no place on an axis that begins and ends with it.
    if (!(across < canvas.width)) return false
    const { data } = copy.getImageData(across * scale - 2, down * scale - 2, 5, 5)
    const isLine = at => [237, 194, 64].every((part, of) => Math.abs(data[at + of] - part) < 24)
    return Array.from({ length: 25 }, (_, pixel) => pixel * 4).some(isLine)
  }
  return plot.getData().flatMap(({ data }) => data).filter(Boolean).map(([x, y]) => {
    const place = plot.p2c({ x, y })
    return { x, y, isDrawn: isOnLine(left + place.left, top + place.top) }
  })
})()"""
DATA = "jQuery('#graph').data('plot').getData().flatMap(({ data }) => data).filter(Boolean)"
LOOK = "jQuery('#graph').data('plot').getCanvas().toDataURL()"


@pytest.fixture(scope="module", params=list(KINDS))
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp(request.param), request.param) as page:
        yield page


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Service]:
    args = ["-m", "producer.demo", "--ingest", broker.address["ingest"]]
    with running(Service("demo", args, {}, tmp_path_factory.mktemp("demo"))) as service:
        wait_for(lambda: logged(broker.address["control"], "graph"), what="a first point")
        yield service


def open_graph(page: Page, gateway: Gateway, query: str = "", before: str = "") -> None:
    page.open(f"{gateway.address['url']}/graph.html{query}", before=before)


def wait_said(page: Page, text: str) -> None:
    """Exactly this stands above the graph."""
    wait_for(lambda: page.text("#state") == text, what=lambda: f"{text!r}: {page.text('#state')!r}")


def drawn(page: Page) -> list[dict[str, Any]]:
    return list(page.evaluate(DRAWN))


def values(page: Page) -> list[float]:
    return [float(y) for _, y in page.evaluate(DATA)]


def wait_whole(page: Page) -> None:
    """A hundred points are there, and so is the line through them."""

    def is_whole() -> bool:
        points = drawn(page)
        return len(points) == MOST_POINTS and all(point["isDrawn"] for point in points)

    wait_for(is_whole, what=lambda: f"a whole curve: {drawn(page)}")


def wait_moving(page: Page) -> None:
    before = page.evaluate(LOOK)
    wait_for(lambda: page.evaluate(LOOK) != before, what="another picture")


@pytest.mark.usefixtures("demo")
def test_it_draws_the_sine(page: Page, broker: Broker, gateway: Gateway) -> None:
    open_graph(page, gateway)
    wait_said(page, WEBSOCKET)
    wait_whole(page)
    wait_moving(page)
    places = assert_in_log(page, broker)
    assert all(math.isclose(y, 2.5 * (1 + math.sin(x / 500)), abs_tol=1e-6) for x, y in places)
    assert page.problems == NO_PROBLEMS


def assert_in_log(page: Page, broker: Broker) -> list[tuple[float, float]]:
    """What is drawn is a piece of the log: nothing is missing, twice, or in another order."""
    places = [(point["x"], point["y"]) for point in drawn(page)]
    events = [json.loads(event.payload) for event in logged(broker.address["control"], "graph")]
    kept = [(event["x"], event["y"]) for event in events]
    pieces = [kept[at : at + len(places)] for at in range(len(kept))]
    assert places in pieces, f"{places} of {kept}"
    return places


@pytest.mark.usefixtures("demo")
def test_it_polls_where_no_websocket_gets_through(page: Page, gateway: Gateway) -> None:
    open_graph(page, gateway, before=BLOCKED)
    wait_for(lambda: page.evaluate("window.tries"), what="an upgrade that failed")
    wait_said(page, POLLING)
    wait_whole(page)
    wait_moving(page)
    assert page.text("#state") == POLLING
    assert page.problems == NO_PROBLEMS


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("before", [pytest.param("", id="websocket"), pytest.param(BLOCKED, id="polling")])
def test_it_says_closed_while_there_is_no_gateway(
    page: Page, broker: Broker, gateway: Gateway, before: str
) -> None:
    said = POLLING if before else WEBSOCKET
    open_graph(page, gateway, before=before)
    wait_said(page, said)
    wait_moving(page)
    loaded_at = page.loaded_at
    for end in (gateway.kill, gateway.stop):
        end()
        wait_said(page, "Closed")
        gateway.start()
        wait_said(page, said)
        wait_moving(page)
    assert page.loaded_at == loaded_at
    assert_in_log(page, broker)
    assert page.problems["thrown"] == []


def test_it_says_error_where_it_is_refused(page: Page, gateway: Gateway) -> None:
    open_graph(page, gateway, "?topic=$broker/beat")
    wait_said(page, "Error")
    wait_for(lambda: page.problems["console"], what="the reason")
    (reason,) = page.problems["console"]
    assert reason.startswith("$broker/beat: ")
    assert page.text("#note") == reason.removeprefix("$broker/beat: ")
    assert page.problems == {**NO_PROBLEMS, "console": [reason]}


def test_the_last_hundred_are_there_at_once_and_what_comes_moves_them(
    page: Page, broker: Broker, gateway: Gateway
) -> None:
    topic = f"hundred/{next(_serial)}"
    push(broker.address["push"], [[topic.encode(), b'{"y": %d}' % n] for n in range(150)])
    wait_for(lambda: len(logged(broker.address["control"], topic)) == 150, what="all of them in the log")
    open_graph(page, gateway, f"?topic={topic}")
    wait_for(lambda: values(page) == list(range(50, 150)), what=lambda: f"fifty on: {values(page)}")
    push(broker.address["push"], [[topic.encode(), b'{"y": 150}']])
    wait_for(lambda: values(page) == list(range(51, 151)), what=lambda: f"one more: {values(page)}")


def test_another_field_of_another_topic(page: Page, broker: Broker, gateway: Gateway) -> None:
    load = [[b"host/load", b'{"one": 4, "long": {"five": %d}}' % n] for n in (1, 2, 3)]
    push(broker.address["push"], load)
    wait_for(lambda: logged(broker.address["control"], "host/load"), what="an event in the log")
    open_graph(page, gateway, "?topic=host/load&field=long.five")
    wait_for(lambda: values(page)[-3:] == [1, 2, 3], what=lambda: f"that field: {values(page)}")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        pytest.param("", "no numbers on {} yet", id="none at all"),
        pytest.param("&field=z", "no numbers in z of {} yet", id="none of that name"),
    ],
)
def test_it_says_that_there_are_no_numbers_until_there_are(
    page: Page, broker: Broker, gateway: Gateway, query: str, told: str
) -> None:
    topic = f"words/{next(_serial)}"
    push(broker.address["push"], [[topic.encode(), b"none here"]])
    wait_for(lambda: logged(broker.address["control"], topic), what="words in the log")
    open_graph(page, gateway, f"?topic={topic}{query}")
    wait_for(lambda: page.text("#note") == told.format(topic), what=lambda: f"that: {page.text('#note')!r}")
    wait_said(page, WEBSOCKET)
    assert page.violations == []
    push(broker.address["push"], [[topic.encode(), b'{"z": 1}']])
    wait_for(lambda: page.text("#note") == "", what=lambda: f"nothing more: {page.text('#note')!r}")
    assert page.problems == NO_PROBLEMS


@pytest.mark.usefixtures("demo")
def test_it_fits_a_phone_and_breaks_no_rule_of_accessibility(
    page: Page, gateway: Gateway, tmp_path: Path
) -> None:
    open_graph(page, gateway)
    wait_said(page, WEBSOCKET)
    assert page.evaluate("document.querySelector('.flot-base').clientWidth") == 600
    page.resize(320, 640)
    wait_for(
        lambda: page.evaluate("document.querySelector('.flot-base').clientWidth") == 304,
        what="a graph as wide as the window",
    )
    wait_whole(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    assert page.violations == []
