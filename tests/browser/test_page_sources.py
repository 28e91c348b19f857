"""Events from anywhere: each kind of producer is seen on the open page, and found in history."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.page import Page
from tests.support.processes import REPO, Broker, Gateway, environment
from tests.support.waiting import wait_for

DEADLINE_S = 20

# As strangers would write them: nothing of ours is imported. `{}` is the broker's address.
PUB = """
import select, zmq
pub = zmq.Context().socket(zmq.PUB)
pub.connect("{}")
for n in range(1_000_000):
    pub.send_multipart([b"plain/pub", b'{{"n": %d}}' % n])
    select.select([], [], [], 0.02)
"""
PUB_ALONE = """
import select, zmq
pub = zmq.Context().socket(zmq.PUB)
pub.connect("{}")
for n in range(1_000_000):
    pub.send(b'{{"n": %d}}' % n)
    select.select([], [], [], 0.02)
"""
PUSH = """
import zmq
with zmq.Context() as context, context.socket(zmq.PUSH) as push:
    push.connect("{}")
    for n in range(20):
        push.send_multipart([b"plain/push", b'{{"n": %d}}' % n])
"""


@pytest.fixture(scope="module")
def page(page: Page, gateway: Gateway) -> Page:
    """Open before anybody publishes, and never loaded again."""
    page.open(gateway.address["url"])
    page.wait_state("Connected: websocket")
    return page


def history(gateway: Gateway, topic: str) -> list[dict[str, Any]]:
    url = f"{gateway.address['url']}/api/topics/{urllib.parse.quote(topic)}/history"
    with urllib.request.urlopen(url, timeout=10) as answer:
        page = json.load(answer)
    assert page["recovered"] is True
    return list(page["events"])


@contextmanager
def running_script(code: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", code], env=environment({})) as script:
        try:
            yield
        finally:
            script.kill()


@pytest.mark.parametrize(
    ("code", "topic"),
    [
        pytest.param(PUB, "plain/pub", id="PUB"),
        pytest.param(PUB_ALONE, "default", id="PUB of one frame alone"),
    ],
)
def test_a_plain_stream_moves_a_line(
    page: Page, broker: Broker, gateway: Gateway, code: str, topic: str
) -> None:
    with running_script(code.format(broker.address["ingest"])):
        page.wait_moving(topic)
        events = wait_for(lambda: history(gateway, topic)[9:], what="ten events in history")
        numbers = [event["data"]["n"] for event in events]
        # Whatever came before the link stood is lost; from the first on nothing is.
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert page.part(topic, "gap") is None


def test_a_push_that_sends_and_exits_loses_nothing(page: Page, broker: Broker, gateway: Gateway) -> None:
    code = PUSH.format(broker.address["push"])
    subprocess.run([sys.executable, "-c", code], env=environment({}), timeout=DEADLINE_S, check=True)
    page.wait_part("plain/push", "legend", "n19")
    assert [event["data"]["n"] for event in history(gateway, "plain/push")] == list(range(20))


def test_a_producer_in_another_language_arrives_whole(
    page: Page, broker: Broker, gateway: Gateway, tmp_path: Path
) -> None:
    shutil.copy(REPO / "producer" / "examples" / "producer.mjs", tmp_path)
    # A user's project is a folder with node_modules; this one borrows the page's.
    os.symlink(REPO / "web" / "node_modules", tmp_path / "node_modules")
    env = environment({"PENSTOCK_PRODUCER__PUSH": broker.address["push"]})
    subprocess.run(["node", "producer.mjs"], cwd=tmp_path, env=env, timeout=DEADLINE_S, check=True)
    page.wait_part("build/progress", "legend", "step20")
    steps = [event["data"] for event in history(gateway, "build/progress")]
    assert steps == [{"step": step, "of": 20} for step in range(1, 21)]


def test_lines_from_a_pipe_are_shown_as_text(page: Page, broker: Broker, gateway: Gateway) -> None:
    env = environment({"PENSTOCK_PRODUCER__PUSH": broker.address["push"]})
    lines = [sys.executable, "-m", "producer.lines", "--topic", "web/access"]
    subprocess.run(lines, env=env, input=b"GET /\nGET /api\n", timeout=DEADLINE_S, check=True)
    page.wait_part("web/access", "value", "GET /api")
    assert [event["text"] for event in history(gateway, "web/access")] == ["GET /", "GET /api"]


def test_nothing_was_complained_of_meanwhile(page: Page) -> None:
    assert page.problems == {"console": [], "thrown": [], "foreign": [], "failed": []}
