"""A hole in a stream of events that cannot be filled. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from broker.wire import Position

CAUSES = ("retention", "forgotten", "epoch", "future", "late", "damaged")


@dataclass(frozen=True, slots=True)
class Gap:
    """Events on `pattern` with after < seq < before that cannot be had; `before` may be of a newer epoch."""

    pattern: str
    after: Position
    before: Position
    cause: str  # one of CAUSES
    lost: int | None = None  # how many, where that is known


def maybe_lost(seen: int, seen_nth: int, nth: int, forgotten: int, kept: int | None = 0) -> int | None:
    """How many events of a topic are gone up to its number `nth`, None where that is not certain.

    Args:
        seen, seen_nth: seq and number of the last one that was had; 0 and 0 for whoever is at the very
            beginning of a log, any seq and 0 where the number is not known.
        nth: 0 if it is not known.
        forgotten: the log's. A topic that was forgotten since `seen` counts from 1 again.
        kept: how many of them are still there all the same; None if that is not known.
    """
    if kept is None or nth <= seen_nth or (seen and not seen_nth) or forgotten >= max(seen, 1):
        return None
    lost = nth - seen_nth - kept
    return lost if lost >= 0 else None
