"""Tokens that only gateways with the same key give, and offsets."""

from __future__ import annotations

import pytest

from broker.wire import Position
from gateway.socketio.recovery import Sealer, maybe_place, new_key
from tests.support.events import OTHER_EPOCH, position

NAME = "A" * 22
PID = Sealer("key").new_pid(position(7))


@pytest.mark.parametrize("offset", [position(7), position(8), position(3, OTHER_EPOCH)])
def test_a_token_is_known_to_all_who_have_the_key(offset: Position) -> None:
    assert Sealer("key").is_of(PID, offset)
    assert not Sealer("other key").is_of(PID, offset)


def test_what_was_before_it_is_not_of_it() -> None:
    assert not Sealer("key").is_of(PID, position(6))


@pytest.mark.parametrize(
    "pid",
    [
        pytest.param("", id="nothing"),
        pytest.param(PID[:-1], id="cut off"),
        pytest.param(PID + "A", id="longer"),
        pytest.param(PID + "\n", id="a line's end"),
        pytest.param(PID[:-1] + ("A" if PID[-1] != "A" else "B"), id="another seal"),
        pytest.param(PID.replace(".7.", ".6."), id="another place"),
        pytest.param("x" + PID, id="something before it"),
        pytest.param(PID[:-1] + "\u0661", id="other digits"),
        pytest.param("." * 50, id="dots"),
        pytest.param("A" * 100_000, id="huge"),
    ],
)
def test_what_is_none_of_ours(pid: str) -> None:
    assert not Sealer("key").is_of(pid, position(100))


def test_no_two_are_the_same() -> None:
    sealer = Sealer("key")
    assert len({sealer.new_pid(position(1)) for _ in range(100)}) == 100
    assert new_key() != new_key()


def test_an_offset_is_a_place_and_a_set() -> None:
    assert maybe_place(f"{position(12)}.{NAME}") == (position(12), NAME)


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param("", id="nothing"),
        pytest.param(str(position(12)), id="a place alone"),
        pytest.param(f"{position(12)}.{NAME}A", id="a longer name"),
        pytest.param(f"{position(12)}.{NAME[1:]}", id="a shorter name"),
        pytest.param(f"{position(12)}.{NAME[1:]}/", id="no name"),
        pytest.param(f"12.{NAME}", id="no epoch"),
        pytest.param(f"{position(12)}x.{NAME}", id="no number"),
        pytest.param(f"{'f' * 16}.{'9' * 30}.{NAME}", id="a number that there is not"),
        pytest.param(f"{'f' * 16}.-1.{NAME}", id="less than nothing"),
        pytest.param(f"..{NAME}", id="dots"),
    ],
)
def test_what_is_no_offset(offset: str) -> None:
    assert maybe_place(offset) is None
