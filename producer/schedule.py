"""When a source that publishes at an interval is due. Pure."""

from __future__ import annotations

import math


def next_beat(beat: int, elapsed_s: float, interval_s: float) -> int:
    """The beat after `beat`; beat k is due k * interval_s after the start.

    Counting from the start keeps lateness from adding up. Whoever slept through beats (a stopped
    process, a suspended machine) goes on with the newest of them, late, instead of making up for all.
    """
    return max(beat + 1, math.floor(elapsed_s / interval_s))
