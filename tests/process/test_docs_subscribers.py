"""The examples of docs/subscribers.md: another backend process that hears events."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import SUBSCRIBERS, blocks
from tests.support.examples import reading, wait_printed, with_addresses
from tests.support.log import logged
from tests.support.processes import Broker
from tests.support.processes import broker as running_broker
from tests.support.sending import numbered, push
from tests.support.waiting import wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, keep_events=10_000) as service:
        yield service


def test_a_subscriber_in_three_lines(broker: Broker, tmp_path: Path) -> None:
    code = blocks(SUBSCRIBERS, "python")[0]
    assert len([line for line in code.splitlines() if line]) == 3
    push(broker.address["push"], [*numbered("room/a", range(12)), [b"room/note", b"window open"]])
    wait_for(lambda: logged(broker.address["control"], "room/note"), what="all of it logged")
    with reading([sys.executable, "-c", with_addresses(code, broker)], tmp_path) as out:
        wait_printed(out, "room/a {'n': 2}", "room/note window open")
        broker.kill()
        broker.start()
        push(broker.address["push"], numbered("room/a", range(12, 14)))
        wait_printed(out, "room/a {'n': 13}")
        numbers = [f"room/a {{'n': {number}}}" for number in range(2, 14)]
        assert out.read_text().splitlines() == [*numbers[:10], "room/note window open", *numbers[10:]]


def test_a_subscriber_is_told_what_is_missing(broker: Broker, tmp_path: Path) -> None:
    push(broker.address["push"], numbered("room/a", range(2)))
    wait_for(lambda: len(logged(broker.address["control"], "room/a")) == 2, what="two events")
    code = with_addresses(blocks(SUBSCRIBERS, "python")[1], broker)
    with reading([sys.executable, "-c", code], tmp_path) as out:
        wait_printed(out, "{'n': 1}")
        assert out.read_text().startswith("missing ** 0000000000000001.99 ")
        assert out.read_text().splitlines()[0].endswith(" epoch None")


def test_a_subscriber_that_stores_its_position_goes_on_there(broker: Broker, tmp_path: Path) -> None:
    code = with_addresses(blocks(SUBSCRIBERS, "python")[2], broker)
    push(broker.address["push"], numbered("room/a", range(2)))
    wait_for(lambda: len(logged(broker.address["control"], "room/a")) == 2, what="two events")
    for first in (0, 2, 4):
        with reading([sys.executable, "-c", code], tmp_path) as out:
            wait_printed(out, f"{{'n': {first + 1}}}")
            assert [line.split(" ", 1)[1] for line in out.read_text().splitlines()] == [
                f"{{'n': {number}}}" for number in (first, first + 1)
            ]
            wait_stored(tmp_path / "room.position", logged(broker.address["control"], "room/a")[-1].seq)
        push(broker.address["push"], numbered("room/a", [first + 2, first + 3]))


def wait_stored(file: Path, seq: int) -> None:
    wait_for(lambda: file.exists() and file.read_text().endswith(f".{seq}"), what=f"{seq} in {file}")
