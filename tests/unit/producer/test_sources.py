"""What the sources publish, given a time, readings or bytes."""

from __future__ import annotations

import dataclasses
import math

import pytest

from broker.topics import check_topic
from broker.wire import Content
from producer.demo import point
from producer.payload import content_of
from producer.readings import Reading, events, host_segment
from producer.splitter import Line, Splitter, TooLong

PERIOD_MS = 1_000 * math.pi


@pytest.mark.parametrize(
    ("now_ms", "y"),
    [
        pytest.param(0, 2.5, id="the start"),
        pytest.param(PERIOD_MS / 4, 5.0, id="the top"),
        pytest.param(PERIOD_MS / 2, 2.5, id="half-way"),
        pytest.param(PERIOD_MS * 3 / 4, 0.0, id="the bottom"),
    ],
)
def test_the_demo_is_a_sine_of_the_time(now_ms: float, y: float) -> None:
    assert point(now_ms) == {"x": now_ms, "y": pytest.approx(y)}


BEFORE = Reading(
    at_s=100.0,
    cores=(0.0, 0.0),
    memory_used=10.0,
    memory_available=1 << 30,
    load=(0.0, 0.0, 0.0),
    disk=(1 << 20, 2 << 20),
    network=(1_000, 2_000),
)
NOW = Reading(
    at_s=100.5,
    cores=(12.34, 100.0),
    memory_used=41.26,
    memory_available=1536 << 20,
    load=(0.123, 0.5, 1.0),
    disk=((1 << 20) + 512, (2 << 20) + 10_240),
    network=(1_000, 2_000 + 51_200),
)


def test_readings_become_one_event_a_subject() -> None:
    assert events("box", BEFORE, NOW) == [
        ("system/box/cpu", {"core0": 12.3, "core1": 100.0}),
        ("system/box/memory", {"used": 41.3, "available_mib": 1536.0}),
        ("system/box/load", {"1m": 0.12, "5m": 0.5, "15m": 1.0}),
        ("system/box/disk", {"read_kib_s": 1.0, "write_kib_s": 20.0}),
        ("system/box/network", {"sent_kib_s": 0.0, "received_kib_s": 100.0}),
    ]


@pytest.mark.parametrize(
    ("before", "now", "disk"),
    [
        pytest.param({"disk": None}, {"disk": None}, None, id="no disk: no event"),
        pytest.param({"disk": None}, {}, None, id="a disk that has just come: no rate yet"),
        pytest.param({"disk": (9 << 20, 0)}, {}, {"read_kib_s": 0.0, "write_kib_s": 4116.0}, id="gone back"),
        pytest.param({"at_s": 100.5}, {}, None, id="no time between them"),
    ],
)
def test_rates_need_two_counters_and_time(
    before: dict[str, object], now: dict[str, object], disk: dict[str, float] | None
) -> None:
    found = dict(events("box", dataclasses.replace(BEFORE, **before), dataclasses.replace(NOW, **now)))  # type: ignore[arg-type]
    assert found.get("system/box/disk") == disk


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        pytest.param("web-1.example.org", "web-1.example.org", id="a plain name"),
        pytest.param("my host/2*", "my-host-2-", id="what topics do not take"),
        pytest.param("bücher", "b-cher", id="beyond ASCII"),
        pytest.param("", "host", id="none"),
        pytest.param("..", "host", id="dots alone"),
        pytest.param("x" * 300, "x" * 100, id="too long"),
    ],
)
def test_a_hosts_name_becomes_a_segment(name: str, segment: str) -> None:
    assert host_segment(name) == segment
    assert check_topic(f"system/{segment}/network")


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        pytest.param([b"a\nb\n"], [Line(1, b"a"), Line(2, b"b")], id="two at once"),
        pytest.param([b"a", b"b", b"\nc", b"\n"], [Line(1, b"ab"), Line(2, b"c")], id="in pieces"),
        pytest.param([b"a\r\n", b"b\r", b"\n"], [Line(1, b"a"), Line(2, b"b")], id="with carriage returns"),
        pytest.param([b"a\n\nb"], [Line(1, b"a"), Line(2, b""), Line(3, b"b")], id="empty line, no last end"),
        pytest.param([b""], [], id="nothing"),
        pytest.param([b"12345678\nb\n"], [Line(1, b"12345678"), Line(2, b"b")], id="at the limit"),
        pytest.param([b"12345678\r\n"], [Line(1, b"12345678")], id="at the limit, carriage return"),
        pytest.param([b"123456789\nb\n"], [TooLong(1, 9), Line(2, b"b")], id="one over the limit"),
        pytest.param([b"123456789\r\n"], [TooLong(1, 10)], id="one over, carriage return"),
        pytest.param([b"12345678", b"9", b"0" * 90, b"\nb"], [TooLong(1, 99), Line(2, b"b")], id="far over"),
        pytest.param([b"ok\n", b"x" * 20], [Line(1, b"ok"), TooLong(2, 20)], id="over at the end"),
    ],
)
def test_bytes_become_lines(pieces: list[bytes], lines: list[Line | TooLong]) -> None:
    splitter = Splitter(max_bytes=8)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    assert found + splitter.end() == lines


@pytest.mark.parametrize(
    ("line", "content"),
    [
        pytest.param(b'{"v": 1}', Content.JSON, id="object"),
        pytest.param(b" 12.5 ", Content.JSON, id="number"),
        pytest.param(b'{"v": 1} and more', Content.TEXT, id="JSON and more"),
        pytest.param(b"NaN", Content.TEXT, id="NaN is not JSON"),
        pytest.param(b"", Content.TEXT, id="empty"),
        pytest.param(b"[" * 100_000, Content.TEXT, id="nested without end"),
        pytest.param("naïve".encode(), Content.TEXT, id="UTF-8"),
        pytest.param(b"na\xefve", Content.BINARY, id="not UTF-8"),
        pytest.param(b'"na\xefve"', Content.BINARY, id="not UTF-8 in quotes"),
    ],
)
def test_the_content_of_a_line(line: bytes, content: Content) -> None:
    assert content_of(line) == content
