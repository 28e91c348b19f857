"""The chat: people in two browsers talk through a gateway that lets everybody publish in rooms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.log import logged
from tests.support.page import Page, browser
from tests.support.processes import Broker, Gateway
from tests.support.processes import gateway as running_gateway
from tests.support.sending import push
from tests.support.waiting import wait_for

WEBSOCKET = "Connected: websocket"
NO_PROBLEMS: dict[str, list[str]] = {"console": [], "thrown": [], "foreign": [], "failed": []}
HISTORY = 50
# What is said, without the time before it.
SAID = """[...document.querySelectorAll('#log p')].map(line => {
  const parts = [...line.childNodes].filter(({ nodeName }) => nodeName !== 'TIME')
  return parts.map(({ textContent }) => textContent).join('').trim()
})"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, broker, anonymous_publish='["room/**"]') as service:
        yield service


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Somebody with another browser."""
    with browser(tmp_path_factory.mktemp("other"), "firefox-esr") as page:
        yield page


def open_chat(page: Page, gateway: Gateway, scheme: str = "light") -> None:
    page.open(f"{gateway.address['url']}/chat.html", scheme)
    wait_for(lambda: page.text("#state") == WEBSOCKET, what=lambda: f"connected: {page.text('#state')}")


def enter(page: Page, room: str, name: str) -> None:
    """Returns when the room is open: what was said there before is shown."""
    page.type("#name", name)
    page.type("#room", room)
    page.click("#entrance button")
    is_open = "document.querySelector('#log').getAttribute('aria-busy') === 'false'"
    wait_for(lambda: page.evaluate(is_open), what=lambda: f"the room {room}: {page.text('#refused')}")


def say(page: Page, text: str) -> None:
    page.type("#text", text)
    page.press("Enter")


def said(page: Page) -> list[str]:
    return [str(each) for each in page.evaluate(SAID)]


def wait_heard(page: Page, *lines: str) -> None:
    """Exactly these are shown."""
    wait_for(lambda: said(page) == list(lines), what=lambda: f"{lines}: {said(page)}")


def from_a_program(broker: Broker, room: str, texts: list[str]) -> None:
    """Messages that no browser sent; they are in the log when it returns."""
    topic = f"room/{room}"
    before = len(logged(broker.address["control"], topic))
    messages = [json.dumps({"name": "bot", "text": text}).encode() for text in texts]
    push(broker.address["push"], [[topic.encode(), message] for message in messages])
    wait_for(
        lambda: len(logged(broker.address["control"], topic)) == before + len(texts),
        what=f"{len(texts)} messages in the log",
    )


def test_two_talk_and_a_third_room_does_not_hear(page: Page, other: Page, gateway: Gateway) -> None:
    open_chat(page, gateway)
    open_chat(other, gateway)
    enter(page, "tea", "Ada")
    enter(other, "tea", "Bob")
    say(page, "hello")
    for each in (page, other):
        wait_heard(each, "Ada: hello")
    say(other, "hello yourself")
    for each in (page, other):
        wait_heard(each, "Ada: hello", "Bob: hello yourself")
    enter(other, "coffee", "Bob")
    wait_heard(other)
    say(page, "still there?")
    wait_heard(page, "Ada: hello", "Bob: hello yourself", "Ada: still there?")
    say(other, "I am here")
    wait_heard(other, "Bob: I am here")
    enter(other, "tea", "Bob")
    wait_heard(other, "Ada: hello", "Bob: hello yourself", "Ada: still there?")
    assert page.problems == NO_PROBLEMS and other.problems == NO_PROBLEMS


def test_it_says_where_what_is_written_goes(page: Page, gateway: Gateway) -> None:
    def wait_place(text: str) -> None:
        wait_for(lambda: page.text("#place") == text, what=lambda: f"{text!r}: {page.text('#place')!r}")

    open_chat(page, gateway)
    assert page.text("#place") == "Enter a room to write there."
    assert page.evaluate("document.querySelector('#send').disabled")
    enter(page, "here", "Ada")
    wait_place("You are in room/here.")
    page.type("#room", "elsewhere")
    say(page, "hello")
    wait_heard(page, "Ada: hello")
    assert page.text("#place") == "You are in room/here."
    page.click("#entrance button")
    wait_place("You are in room/elsewhere.")
    wait_heard(page)
    gateway.kill()
    wait_place("No connection: you can write in room/elsewhere when it is back.")
    gateway.start()
    wait_place("You are in room/elsewhere.")


def test_who_comes_later_reads_the_last_fifty(page: Page, broker: Broker, gateway: Gateway) -> None:
    from_a_program(broker, "long", [str(n) for n in range(60)])
    open_chat(page, gateway)
    enter(page, "long", "Ada")
    before = [f"bot: {n}" for n in range(60 - HISTORY, 60)]
    wait_heard(page, *before)
    say(page, "ah")
    wait_heard(page, *before, "Ada: ah")


def test_what_was_said_while_the_gateway_was_away_comes_once(
    page: Page, broker: Broker, gateway: Gateway
) -> None:
    open_chat(page, gateway)
    enter(page, "away", "Ada")
    say(page, "before")
    wait_heard(page, "Ada: before")
    for end in (gateway.kill, gateway.stop):
        end()
        wait_for(lambda: page.text("#state") == "Closed", what="that it notices")
        assert page.evaluate("document.querySelector('#send').disabled")
        told = said(page)
        from_a_program(broker, "away", [f"after {end.__name__}"])
        gateway.start()
        wait_heard(page, *told, f"bot: after {end.__name__}")
    say(page, "back")
    wait_heard(page, "Ada: before", "bot: after kill", "bot: after stop", "Ada: back")


@pytest.mark.parametrize("text", ["<img src=x onerror=document.title='owned'>", "<b>bold</b>", "&lt;"])
def test_names_and_texts_are_text_whatever_they_look_like(page: Page, gateway: Gateway, text: str) -> None:
    open_chat(page, gateway)
    enter(page, f"markup-{len(text)}", text[:30])
    say(page, text)
    wait_heard(page, f"{text[:30]}: {text}")
    assert page.evaluate("document.querySelectorAll('#log :is(img, script), #log b b').length") == 0
    assert page.evaluate("document.title") == "Chat - Penstock"
    assert page.problems == NO_PROBLEMS


def test_other_events_of_the_room_are_shown_as_they_are(page: Page, broker: Broker, gateway: Gateway) -> None:
    payloads = [b'{"celsius":20.5}', b"door opened", b"\xff\x00", b'{"name":1}']
    push(broker.address["push"], [[b"room/sensors", payload] for payload in payloads])
    open_chat(page, gateway)
    enter(page, "sensors", "Ada")
    wait_heard(page, '{"celsius":20.5}', "door opened", "(2 bytes)", '{"name":1}')
    assert page.problems == NO_PROBLEMS


@pytest.mark.parametrize("room", ["a b", "a/b", "*", ".."])
def test_a_room_that_cannot_be_is_not_entered(page: Page, gateway: Gateway, room: str) -> None:
    open_chat(page, gateway)
    page.type("#name", "Ada")
    page.type("#room", room)
    page.click("#entrance button")
    assert page.evaluate("document.querySelector('#room').validationMessage")
    assert page.evaluate("document.querySelector('#text').disabled")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_may_not_publish_is_told_what_allows_it(
    page: Page, broker: Broker, tmp_path: Path, scheme: str
) -> None:
    with running_gateway(tmp_path, broker) as gateway:
        open_chat(page, gateway, scheme)
        page.resize(320, 640)
        enter(page, "shut", "Ada")
        assert page.text("#refused") is None
        say(page, "hello?")
        told = wait_for(lambda: page.text("#refused"), what="a refusal")
        assert "Nobody may write here." in told
        assert 'anonymous_publish = ["room/**"]' in told
        assert "a restart does not take it" in told
        assert page.evaluate("document.querySelector('#text').value") == "hello?"
        assert said(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        assert page.violations == []
        assert page.problems == NO_PROBLEMS


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_breaks_no_rule_of_accessibility(page: Page, gateway: Gateway, scheme: str) -> None:
    open_chat(page, gateway, scheme)
    assert page.violations == []
    enter(page, f"rules-{scheme}", "Ada")
    say(page, "hello")
    wait_heard(page, "Ada: hello")
    assert page.violations == []
