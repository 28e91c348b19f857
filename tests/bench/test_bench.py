"""The bench measures what it says: small loads over real processes, and losses that it must notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import crowd, floor
from tests.bench.figure import Figure, line
from tests.bench.payload import PAYLOAD_BYTES, ending, payload, stamped
from tests.bench.program import program
from tests.bench.stage import check, gateway_stage

PORTION = payload(1, 10) + b"}\x81\x7e\x00\x99" + payload(2, 20)


def test_a_payload_has_the_size_that_the_figures_name() -> None:
    assert len(payload(1, 1)) == len(payload(999_999_999, 10**18)) == PAYLOAD_BYTES
    assert (payload(7, 1) + b"}").endswith(ending(7))


@pytest.mark.parametrize("cut", [0, 1, 100, 128, 130, 200, len(PORTION)])
def test_events_are_found_wherever_a_read_cuts_them(cut: int) -> None:
    first, rest = stamped(PORTION[:cut])
    then, _ = stamped(rest + PORTION[cut:])
    assert first + then == [(1, 10), (2, 20)]


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        pytest.param(Figure(bench="b", name="n", value=7, unit="µs", at_most=8), "at most 8", id="held"),
        pytest.param(Figure(bench="b", name="n", value=9, unit="µs", at_most=8), "MISSED", id="too much"),
        pytest.param(Figure(bench="b", name="n", value=9, unit="/s", at_least=10), "MISSED", id="too little"),
        pytest.param(Figure(bench="b", name="n", value=9, unit="/s"), "/s", id="no limit"),
    ],
)
def test_a_line_ends_with_what_matters_most(figure: Figure, text: str) -> None:
    assert line(figure).endswith(text)


def test_a_load_counts_a_delivery_for_each_event_and_client(tmp_path: Path) -> None:
    with gateway_stage(tmp_path, clients=3) as stage:
        load = stage.load(50, rate=1_000)
    assert load.deliveries == 150
    assert (load.received.complete, load.received.missed) == (3, 0)
    assert load.received.p99_ms >= load.received.p50_ms > 0


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        pytest.param([1, 2, 3], (2, 0), id="all came"),
        pytest.param([1, 2], (0, 2), id="the last one did not"),
        pytest.param([1, 3], (2, 2), id="one in the middle did not"),
        pytest.param([1, 2, 2, 3], (2, 2), id="one came twice"),
    ],
)
def test_a_crowd_notices_what_is_not_as_it_should_be(sent: list[int], found: tuple[int, int]) -> None:
    with program("floor") as server, program("crowd") as browsers:
        port = server.ask(floor.Listen(), floor.Port).port
        server.tell(floor.Greet(2))
        browsers.ask(crowd.Connect(port, 2), crowd.Done)
        browsers.ask(crowd.Subscribe("any"), crowd.Done)
        server.answer(floor.Done)
        for number in sent:
            server.ask(floor.Write(number, 1, rate=1_000), floor.Done)
        received = browsers.ask(crowd.Read(last=3, deadline_s=0.5), crowd.Received)
    assert (received.complete, received.missed) == found
    if found != (2, 0):
        with pytest.raises(AssertionError):
            check(received, clients=2)
