"""What subscription messages say."""

from __future__ import annotations

import pytest

from broker.control import PREFIXES_MAX
from broker.demand import Barrier, Change, Demand


@pytest.mark.parametrize(
    ("messages", "outcomes", "prefixes"),
    [
        pytest.param([b"\x01cpu/"], [Change(b"cpu/", True)], ["cpu/"], id="the first subscriber"),
        pytest.param(
            [b"\x01b", b"\x01a", b"\x00b"],
            [Change(b"b", True), Change(b"a", True), Change(b"b", False)],
            ["a"],
            id="the last one leaves",
        ),
        pytest.param([b"\x01"], [Change(b"", True)], [""], id="everything"),
        pytest.param([b"\x01a", b"\x01a"], [Change(b"a", True), None], ["a"], id="told twice"),
        pytest.param([b"\x00a"], [None], [], id="leaving without having come"),
        pytest.param([b"\x01$sync/g0/1"], [Barrier(b"$sync/g0/1")], [], id="a barrier"),
        pytest.param([b"\x00$sync/g0/1"], [None], [], id="a barrier's end"),
        pytest.param([b"\x01$broker/beat", b"\x01$"], [None, None], [], id="the system's own"),
        pytest.param([b"\x01\xff"], [Change(b"\xff", True)], ["\\xff"], id="no UTF-8"),
    ],
)
def test_subscriptions(
    messages: list[bytes], outcomes: list[Barrier | Change | None], prefixes: list[str]
) -> None:
    demand = Demand()
    assert [demand.take([message]) for message in messages] == outcomes
    assert demand.prefixes() == prefixes
    assert len(demand) == len(prefixes)
    assert demand.ignored == 0


@pytest.mark.parametrize("frames", [[b""], [b"\x02a"], [b"hello"], [b"\x01a", b"b"]])
def test_anything_else_is_ignored_and_counted(frames: list[bytes]) -> None:
    demand = Demand()
    assert demand.take(frames) is None
    assert (demand.ignored, len(demand)) == (1, 0)


def test_of_very_many_prefixes_some_are_told() -> None:
    demand = Demand()
    for number in range(PREFIXES_MAX + 5):
        demand.take([b"\x01%d" % number])
    assert len(demand) == PREFIXES_MAX + 5
    assert len(set(demand.prefixes())) == PREFIXES_MAX
