"""What processes tell of themselves while a run lasts."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from threading import Event, Thread

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import Gateway, Service


class Lag:
    """What a gateway says of its loop's lag, asked every so often while it is looked at."""

    def __init__(self, gateways: Sequence[Gateway], every_s: float = 0.1) -> None:
        self.samples_ms: list[float] = []
        self._gateways, self._every_s = gateways, every_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="lag")

    def __enter__(self) -> Lag:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.samples_ms.sort()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            for gateway in self._gateways:
                try:
                    self.samples_ms.append(metric(gateway, "penstock_loop_lag_seconds") * 1000)
                except OSError:
                    continue  # it is not there just now: its clients know


def metric(of: Service, name: str) -> float:
    """Over all its labels. Raises OSError: nobody answers there."""
    return metrics(of).get(name, 0.0)


def metrics(of: Service) -> dict[str, float]:
    found: dict[str, float] = {}
    with urllib.request.urlopen(f"{of.address['admin']}/metrics", timeout=5) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
