"""The live page in Chromium, before a real broker and a real gateway."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.log import logged
from tests.support.page import Page
from tests.support.processes import Broker, Gateway
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push, stream
from tests.support.waiting import wait_for

CONNECTED = "Connected: websocket"
# On an idle machine a line moves well within one second of the load; tests run on busy ones.
FIRST_MOVE_MS = 4_000
NO_PROBLEMS: dict[str, list[str]] = {"console": [], "thrown": [], "foreign": [], "failed": []}

# Milliseconds from the start of the navigation to the first change of what a chart shows.
FIRST_MOVE = """new Promise(done => {
  let first
  const look = () => {
    const canvas = document.querySelector('.card canvas')
    const drawn = canvas?.width ? canvas.toDataURL() : undefined
    if (first !== undefined && drawn !== first) return done(performance.now())
    first = drawn
    requestAnimationFrame(look)
  }
  look()
})"""

# How many pixels of a topic's chart have one of the page's colours.
COLOURED = """(() => {
  const card = [...document.querySelectorAll('.card')].find(({ dataset }) => dataset.topic === '%s')
  const canvas = card?.querySelector('canvas')
  if (!canvas) return 0
  const probe = new OffscreenCanvas(1, 1).getContext('2d')
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('%s').trim()
  probe.fillRect(0, 0, 1, 1)
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  let count = 0
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] > 0) count++
  }
  return count
})()"""

HATCH = "--hatch-ground"
FIRST_LINE = "--line-1"


# Seconds: the longest stretch that the page shows.
WIDEST = "300"


@contextmanager
def window(page: Page, seconds: str) -> Iterator[None]:
    """So much is shown: what happened is still in sight when a busy machine comes to draw it."""
    choose = "document.querySelector('input[name=window][value=\"%s\"]').click()"
    page.evaluate(choose % seconds)
    try:
        yield
    finally:
        page.evaluate(choose % 10)


def coloured(page: Page, topic: str, colour: str) -> int:
    return int(page.evaluate(COLOURED % (topic, colour)))


def test_a_line_moves_soon_after_the_load_and_nothing_is_complained_of(
    page: Page, broker: Broker, gateway: Gateway
) -> None:
    with stream(broker.address["ingest"], "graph", interval_s=0.05):
        wait_for(lambda: logged(broker.address["control"], "graph"), what="a first event")
        page.open(gateway.address["url"])
        assert page.evaluate(FIRST_MOVE) < FIRST_MOVE_MS
        page.wait_state(CONNECTED)
        page.wait_moving("graph")
        wait_for(lambda: (page.text("#rate") or "0") != "0", what="a rate")
        # The first test here: nobody published anything else.
        assert (page.text("#topics"), page.text("#topics-noun")) == ("1", "topic")
        assert page.problems == NO_PROBLEMS


def test_an_event_alone_is_a_dot(page: Page, broker: Broker, gateway: Gateway) -> None:
    page.open(gateway.address["url"])
    page.wait_state(CONNECTED)
    push(broker.address["push"], numbered("alone", [7]))
    wait_for(lambda: coloured(page, "alone", FIRST_LINE) > 4, what="a dot")
    assert page.problems == NO_PROBLEMS


def test_words_after_numbers_are_shown_beside_the_chart(page: Page, broker: Broker, gateway: Gateway) -> None:
    page.open(gateway.address["url"])
    page.wait_state(CONNECTED)
    push(broker.address["push"], [*numbered("engine", range(5)), [b"engine", b"on"], [b"engine", b"fire"]])
    page.wait_part("engine", "value", "on\nfire")
    page.wait_part("engine", "legend", "n4")
    wait_for(lambda: page.drawing("engine"), what="a chart")
    assert page.problems == NO_PROBLEMS


def test_the_window_is_remembered(page: Page, gateway: Gateway) -> None:
    chosen = "document.querySelector('input[name=window]:checked').value"
    page.open(gateway.address["url"])
    assert page.evaluate(chosen) == "10"
    page.evaluate("document.querySelector('input[value=\"300\"]').click()")
    page.open(gateway.address["url"])
    assert page.evaluate(chosen) == "300"
    page.evaluate("document.querySelector('input[value=\"10\"]').click()")


def test_no_rate_is_shown_while_not_connected(page: Page, broker: Broker, gateway: Gateway) -> None:
    with stream(broker.address["ingest"], "graph", interval_s=0.05):
        page.open(gateway.address["url"])
        wait_for(lambda: (page.text("#rate") or "0") != "0", what="a rate")
        gateway.kill()
        page.wait_state("Reconnecting in ")
        assert page.text("#rate") == "0"
        gateway.start()
        page.wait_state(CONNECTED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_in_both_schemes(
    page: Page, broker: Broker, gateway: Gateway, tmp_path: Path, scheme: str
) -> None:
    push(broker.address["push"], numbered("graph", range(50)))
    push(broker.address["push"], [[b"note", b"in words"]])
    page.open(gateway.address["url"], scheme)
    page.wait_part("note", "value", "in words")
    wait_for(lambda: page.drawing("graph"), what="a chart")
    picture = tmp_path / f"{scheme}.png"
    page.screenshot(picture)
    assert picture.stat().st_size > 10_000
    # As bright as the scheme says, by the page's own background.
    red, green, blue = page.evaluate(
        "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert (red + green + blue > 3 * 128) is (scheme == "light")
    assert page.problems == NO_PROBLEMS


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("<img/src=x/onerror=document.title='owned'>", id="image"),
        pytest.param("a/<script>document.title='owned'</script>", id="script"),
        pytest.param("\"><svg/onload=document.title='owned'>", id="attribute"),
        pytest.param("javascript:document.title='owned'", id="address"),
        pytest.param("ünï/ツ/\u202egnp.exe", id="letters of the world"),
    ],
)
def test_names_and_values_are_text_whatever_they_look_like(
    page: Page, broker: Broker, gateway: Gateway, name: str
) -> None:
    value = "<b>bold</b><script>document.title='owned'</script>"
    push(broker.address["push"], [[name.encode(), value.encode()]])
    page.open(gateway.address["url"])
    page.wait_part(name, "value", value)
    assert page.part(name, "title") == name
    assert page.evaluate("document.title") == "Penstock"
    assert page.evaluate("document.querySelectorAll('.card :is(img, script, svg, b:not(li b))').length") == 0
    assert page.problems == NO_PROBLEMS


@pytest.mark.parametrize(
    "payload",
    [b"NaN", b"1e308", b"null", b'"x"', b"18446744073709551616", b"[" * 63 + b"]" * 63, b"\xff\x00", b""],
    ids=["NaN", "1e308", "null", "string", "64 bits", "deep", "bytes", "nothing"],
)
def test_an_odd_value_does_not_stop_the_others(
    page: Page, broker: Broker, gateway: Gateway, payload: bytes
) -> None:
    with stream(broker.address["ingest"], "graph", interval_s=0.05):
        page.open(gateway.address["url"])
        page.wait_state(CONNECTED)
        after = f"after {payload[:20]!r}"
        push(broker.address["push"], [[b"odd", payload], [b"note", after.encode()]])
        page.wait_part("note", "value", after)
        page.wait_moving("graph")
        assert "odd" in page.topics
        assert page.problems == NO_PROBLEMS


def test_a_gateway_that_goes_and_comes_back_leaves_no_hole(
    page: Page, broker: Broker, gateway: Gateway
) -> None:
    page.open(gateway.address["url"])
    page.wait_state(CONNECTED)
    loaded_at = page.loaded_at
    push(broker.address["push"], numbered("steps", range(10)))
    page.wait_part("steps", "legend", "n9")
    gateway.kill()
    page.wait_state("Reconnecting in ")
    push(broker.address["push"], numbered("steps", range(10, 20)))
    gateway.start()
    page.wait_state(CONNECTED)
    page.wait_part("steps", "legend", "n19")
    assert page.part("steps", "gap") is None and page.text("#gap") is None
    assert coloured(page, "steps", HATCH) == 0
    assert page.loaded_at == loaded_at


def test_it_reconnects_at_once_when_asked(page: Page, gateway: Gateway) -> None:
    page.open(gateway.address["url"])
    page.wait_state(CONNECTED)
    gateway.kill()
    wait_for(lambda: page.text("#retry") == "Now", what="a button to reconnect at once")
    gateway.start()
    wait_for(lambda: pressed_or_back(page), what="connected again")


def pressed_or_back(page: Page) -> bool:
    if page.text("#retry") == "Now":
        # It may come back by itself between the look and the click, and the button be gone.
        with suppress(AssertionError):
            page.click("#retry")
    return page.state == CONNECTED


def test_a_gateway_that_stops_in_good_order_is_come_back_to(page: Page, gateway: Gateway) -> None:
    page.open(gateway.address["url"])
    page.wait_state(CONNECTED)
    assert gateway.stop() == 0
    page.wait_state("Reconnecting in ")
    gateway.start()
    page.wait_state(CONNECTED)


def test_a_silent_broker_is_said_and_its_return_too(page: Page, broker: Broker, gateway: Gateway) -> None:
    page.open(gateway.address["url"])
    page.wait_state(CONNECTED)
    broker.kill()
    page.wait_state("Connected: websocket (broker silent)")
    assert "No news from the broker" in (page.text("#stale") or "")
    broker.start()
    wait_for(lambda: page.state == CONNECTED, what="connected, without reserve")
    assert page.text("#stale") is None


def test_a_log_that_began_anew_is_a_hatched_hole(page: Page, tmp_path: Path) -> None:
    with (
        running_broker(tmp_path, durability="memory") as broker,
        running_gateway(tmp_path, broker) as gateway,
    ):
        page.open(gateway.address["url"])
        with window(page, WIDEST):
            page.wait_state(CONNECTED)
            push(broker.address["push"], numbered("graph", range(5)))
            page.wait_part("graph", "legend", "n4")
            broker.kill()
            broker.start()
            push(broker.address["push"], numbered("graph", range(3)))
            page.wait_part("graph", "legend", "n2")
            page.wait_part("graph", "gap", "gap: the log began anew")
            assert page.text("#gap") == "gap: the broker's log began anew"
            wait_for(lambda: coloured(page, "graph", HATCH) > 100, what="a hatched stretch")


def test_events_that_retention_let_go_are_a_hatched_hole_with_a_number(page: Page, tmp_path: Path) -> None:
    with running_broker(tmp_path, keep_events=10) as broker, running_gateway(tmp_path, broker) as gateway:
        page.open(gateway.address["url"])
        with window(page, WIDEST):
            page.wait_state(CONNECTED)
            push(broker.address["push"], numbered("graph", range(5)))
            page.wait_part("graph", "legend", "n4")
            gateway.kill()
            page.wait_state("Reconnecting in ")
            push(broker.address["push"], numbered("graph", range(5, 3_000)))

            def first_kept() -> int:
                return logged(broker.address["control"], "graph")[0].nth

            first = wait_for(
                lambda: nth if 1_000 < (nth := first_kept()) == first_kept() else None,
                what="retention at work",
            )
            gateway.start()
            page.wait_state(CONNECTED)
            page.wait_part("graph", "legend", "n2999")
            page.wait_part("graph", "gap", " lost")
            lost = int((page.part("graph", "gap") or "").split()[1].replace(",", ""))
            # The first five were seen; retention may have gone on in the meantime.
            assert first - 6 <= lost <= 3_000 - 5
            assert "events lost in graph (retention)" in (page.text("#gap") or "")
            wait_for(lambda: coloured(page, "graph", HATCH) > 100, what="a hatched stretch")


def test_the_page_is_whole_without_any_other_host(gateway: Gateway) -> None:
    with urllib.request.urlopen(f"{gateway.address['url']}/", timeout=10) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
