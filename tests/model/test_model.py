"""Every client has each retained event once and in order, or was told a gap that covers what it lacks.

A hypothesis state machine drives the world of `tests/model/world.py` with drops, delays, breaks and
restarts at every arrow, and at the end lets it come to rest and compares. A failing run prints the
moves that lead to the loss, as few as it can find.
"""

from __future__ import annotations

import pytest
from hypothesis import seed

from tests.model.clients import ClientsMachine, give_way_after_each_send
from tests.model.machine import ALL_FAULTS, Loss, runs, search

__all__ = ["TestModel", "TestUncounted", "give_way_after_each_send"]

ClientsMachine.TestCase.settings = runs(200)
TestModel = ClientsMachine.TestCase


class UncountedMachine(ClientsMachine):
    """The counter in the stamps has gone round: holes show by `prev` and tails alone, later. Nobody breaks
    off before that, for who resumes from beyond a hole that is not found yet is not told; and no topic is
    forgotten, with what was dropped of it, within the second until its tail is asked for.
    """

    faults = frozenset({"drop", "age"})
    counts_drops = False
    breaks_off = False
    forgets = False


UncountedMachine.TestCase.settings = runs(50)
TestUncounted = UncountedMachine.TestCase


# Where the search takes minutes from most beginnings, one from which it takes seconds.
BEGINNINGS = {2: 1, 3: 3, 6: 3}


@pytest.mark.parametrize(
    ("off", "faults"),
    [
        # A quiet topic's last event is dropped, and no successor betrays it.
        pytest.param(1, frozenset({"drop"}), id="1 beat and tails"),
        # An event comes between the replay that was asked and the subscription's arrival.
        pytest.param(2, frozenset(), id="2 barrier"),
        # The feed has a hole where it broke.
        pytest.param(3, frozenset({"break", "die"}), id="3 a new barrier after each reconnect"),
        # The hub runs on past a hole, and what fills it comes too late.
        pytest.param(4, frozenset({"drop"}), id="4 one upstream that holds"),
        # Another topic's event hides the hole.
        pytest.param(5, frozenset({"drop"}), id="5 the last seq of each topic"),
        # The past of a new pattern moves the position of the old.
        pytest.param(6, frozenset(), id="6 a subscribe is one cut"),
        # A broker that starts again at 1 is taken for a repetition.
        pytest.param(8, frozenset({"die"}), id="8 an epoch in every position"),
        # Seqs that were seen are given out again.
        pytest.param(9, ALL_FAULTS, id="9 a new epoch after lost power"),
        # What was forwarded is not in the log, and its seq is used twice.
        pytest.param(10, frozenset({"die"}), id="10 commit first, reserved seqs"),
        # A topic that was forgotten looks as if it had never been.
        pytest.param(11, frozenset({"age"}), id="11 forgotten"),
        # The ring is asked about a prefix that it did not follow.
        pytest.param(12, frozenset(), id="12 what the ring covers"),
    ],
)
def test_the_model_finds_the_loss_with_a_rule_switched_off(off: int, faults: frozenset[str]) -> None:
    """Or a model that never fails would prove nothing. Only the faults that matter, to find it soon."""
    several = (("b/*", "a"), ("a", "b/**"))  # patterns of one client, for one to hide the other's loss
    machine = type(f"Without{off}", (ClientsMachine,), {"off": off, "faults": faults, "first": several})
    if off in BEGINNINGS:
        seed(BEGINNINGS[off])(machine)
    with pytest.raises(Loss):
        search(machine)
