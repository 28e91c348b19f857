"""Engine.IO as `engineio_echo` serves it: it says back what it hears."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.processes import Service, running

LONG = "60"

Serve = Callable[[str, str], str]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """The URL of one with these times, of which there is one each; no traceback may be in its log."""
    with ExitStack() as stack:
        known: dict[tuple[str, str], Service] = {}

        def start(interval_s: str, timeout_s: str) -> str:
            if (service := known.get((interval_s, timeout_s))) is None:
                args = ["-m", "tests.conformance.engineio_echo"]
                args += ["--ping-interval-s", interval_s, "--ping-timeout-s", timeout_s]
                folder = tmp_path_factory.mktemp("engineio")
                service = known[interval_s, timeout_s] = Service("engineio_echo", args, {}, folder)
                stack.enter_context(running(service))
            return service.address["url"] + "/engine.io/"

        yield start
        for service in known.values():
            assert "Traceback" not in service.stderr()


@pytest.fixture
def url(serve: Serve) -> str:
    """Of one that has time."""
    return serve(LONG, LONG)
