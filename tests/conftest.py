"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# No deadline for one example: on a busy machine it would judge the machine. A failure prints what
# repeats it.
settings.register_profile("penstock", deadline=None, print_blob=True)
settings.load_profile("penstock")
