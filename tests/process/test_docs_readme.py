"""The examples of the README, and every address that it and docs/operating.md ask."""

from __future__ import annotations

import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import OPERATING, README, blocks, lines
from tests.support.examples import here, node, reading, wait_printed
from tests.support.log import logged
from tests.support.ports import reserved_ports
from tests.support.processes import REPO, Broker, Gateway, environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import push
from tests.support.waiting import DEADLINE_S, wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=10_000) as service:
        yield service


@pytest.fixture
def gateway(tmp_path: Path, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path, broker, anonymous_publish='["room/**"]') as service:
        yield service


def test_a_producer_in_three_lines_of_pyzmq(broker: Broker) -> None:
    code, _ = blocks(README, "python")
    assert code.count("\n") == 3
    command = [sys.executable, "-c", here(code, broker)]
    for _ in range(3):
        subprocess.run(command, env=environment({}), timeout=DEADLINE_S, check=True)
    wait_for(lambda: len(logged(broker.address["control"], "room/*")) == 3, what="three events")
    assert logged(broker.address["control"], "room/*")[0].payload == b'{"celsius": 20.5}'


def test_a_producer_in_three_lines_waits_for_a_broker_that_comes_later(tmp_path: Path) -> None:
    code, _ = blocks(README, "python")
    with reserved_ports(1) as (port,):
        push = f"tcp://127.0.0.1:{port}"
        # It says when the lines have run, before the end of their `with`, and when that is over.
        code = code.replace("tcp://127.0.0.1:5558", push).rstrip() + "; print('sent')\nprint('over')"
        with reading([sys.executable, "-c", code], tmp_path) as out:
            wait_printed(out, "sent")
            assert "over" not in out.read_text()
            with running_broker(tmp_path, push=push) as broker:
                wait_printed(out, "over")
                events = wait_for(lambda: logged(broker.address["control"], "room/*"), what="it arrives")
                assert [event.payload for event in events] == [b'{"celsius": 20.5}']


def test_a_confirmed_producer(broker: Broker, tmp_path: Path) -> None:
    _, code = blocks(README, "python")
    code = code.replace("confirm=True", f"confirm=True, control={broker.address['control']!r}")
    subprocess.run([sys.executable, "-c", code], env=environment({}), timeout=DEADLINE_S, check=True)
    assert [event.payload for event in logged(broker.address["control"], "order/*")] == [b'{"total":42}']


def test_a_producer_in_node(broker: Broker, tmp_path: Path) -> None:
    code, _ = blocks(README, "js")
    command = node(here(code, broker), tmp_path)
    subprocess.run(command, cwd=tmp_path, env=environment({}), timeout=DEADLINE_S, check=True)
    wait_for(lambda: logged(broker.address["control"], "room/*"), what="it arrives")
    assert logged(broker.address["control"], "room/*")[0].payload == b'{"celsius":21.5}'


def test_a_listener_in_five_lines(broker: Broker, gateway: Gateway, tmp_path: Path) -> None:
    (html,), (_, code) = blocks(README, "html"), blocks(README, "js")
    assert html.count("\n") + code.count("\n") <= 5
    # Our pages run no inline script.
    assert '<script type="module" src="mine.js"></script>' in html
    code = code.replace("/penstock.js", str(REPO / "web/public/penstock.js"))
    # What a browser has and Node has not: a WebSocket, and a page that it is on.
    browser = f"""
        import {{ WebSocket }} from 'ws'
        globalThis.WebSocket = WebSocket
        globalThis.location = {{ href: '{gateway.address["url"]}/' }}
    """
    push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.5}']])
    with reading(node(browser + code, tmp_path), tmp_path) as out:
        wait_printed(out, "room/temperature { celsius: 20.5 }")
        push(broker.address["push"], [[b"room/temperature", b'{"celsius": 20.6}']])
        wait_printed(out, "room/temperature { celsius: 20.6 }")


CURLS = [(page.name, line) for page in (README, OPERATING) for line in lines(page, "sh") if "curl" in line]


@pytest.mark.parametrize(("page", "line"), CURLS)
def test_every_address_that_is_asked_answers(broker: Broker, gateway: Gateway, page: str, line: str) -> None:
    _, *options, url = shlex.split(here(line, broker, gateway))
    body = options[1].encode() if options[:1] == ["-d"] else None
    with urllib.request.urlopen(url, body, timeout=DEADLINE_S) as answer:
        assert answer.status == 200
