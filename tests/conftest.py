"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

# No deadline for one example: on a busy machine it would judge the machine. A failure prints what
# repeats it. The same examples in each run: a change is judged by what it changes. With PENSTOCK_MODEL_RUNS
# models search elsewhere each time, as often as that says.
IS_SEARCH = "PENSTOCK_MODEL_RUNS" in os.environ
settings.register_profile("penstock", deadline=None, print_blob=True, derandomize=not IS_SEARCH)
settings.load_profile("penstock")
# It would try numbers that stand in our modules as well, those that are loaded: others in each worker.
# There is no setting for that, and these two names may go with an update: then this fails.
_none_of_ours = providers._local_constants
pytest.MonkeyPatch().setattr(providers, "_get_local_constants", lambda: _none_of_ours)
