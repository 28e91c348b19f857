"""How many events of a topic are gone, where that is certain."""

from __future__ import annotations

import pytest

from broker.gap import maybe_lost


@pytest.mark.parametrize(
    ("seen", "seen_nth", "nth", "forgotten", "kept", "lost"),
    [
        pytest.param(8, 4, 9, 0, 0, 5, id="after the last one had"),
        pytest.param(0, 0, 9, 0, 0, 9, id="from the very beginning"),
        pytest.param(8, 0, 9, 0, 0, None, id="the number of the last one had is not known"),
        pytest.param(8, 4, 0, 0, 0, None, id="the number of the newest that is gone is not known"),
        pytest.param(8, 4, 9, 7, 0, 5, id="a topic was forgotten before"),
        pytest.param(8, 4, 9, 8, 0, None, id="it may have been this one, which began anew"),
        pytest.param(8, 4, 3, 8, 0, None, id="it certainly was"),
        pytest.param(0, 0, 9, 1, 0, None, id="something was forgotten since the beginning"),
        pytest.param(8, 4, 9, 0, 2, 3, id="some of them stand"),
        pytest.param(8, 4, 9, 0, 5, 0, id="all of them do"),
        pytest.param(8, 4, 9, 0, 6, None, id="more than there can be"),
        pytest.param(8, 4, 9, 0, None, None, id="how many stand is not known"),
    ],
)
def test_lost(seen: int, seen_nth: int, nth: int, forgotten: int, kept: int | None, lost: int | None) -> None:
    assert maybe_lost(seen, seen_nth, nth, forgotten, kept) == lost
