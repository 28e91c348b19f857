"""Health and metrics of this process, on a port of its own: plain text for probes and Prometheus."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gevent.hub import get_hub
from gevent.pywsgi import WSGIServer
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

log = logging.getLogger(__name__)


class Labelled(NamedTuple):
    """A number for each combination of words."""

    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


Values = Mapping[str, float | Mapping[str, float] | Labelled]

PREFIX = "penstock_"
TICK_S = 0.25
LAG_MAX_S = 1.0  # beyond it, the process is not healthy


class LoopLag:
    """How late the event loop is, by a timer that ticks in it from `start` on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s = 0.0
        self._due = clock() + TICK_S
        self._timer = get_hub().loop.timer(TICK_S, TICK_S, ref=False)

    def start(self) -> None:
        self._timer.start(self.tick)

    def stop(self) -> None:
        self._timer.stop()
        self._timer.close()

    def tick(self) -> None:
        now = self._clock()
        self._last_s = max(0.0, now - self._due)
        self._due = now + TICK_S

    @property
    def seconds(self) -> float:
        """Of the last tick, or of the one that is due by now if that is more."""
        return max(self._last_s, self._clock() - self._due)


class Counters:
    """A prometheus collector over one reading of the process's numbers.

    A name that ends in `_total` is a counter, any other a gauge; a mapping has a value for each `code`.
    """

    def __init__(self) -> None:
        self.values: Values = {}

    def collect(self) -> Iterator[Metric]:
        for name, value in self.values.items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            words = name.removesuffix("_total").replace("_", " ")
            if isinstance(value, Mapping):
                value = Labelled(("code",), {(code,): each for code, each in value.items()})
            if isinstance(value, Labelled):
                labelled = family(PREFIX + name, words, labels=value.labels)
                for names, each in value.values.items():
                    labelled.add_metric(names, each)
                yield labelled
            else:
                yield family(PREFIX + name, words, value=value)


class Admin:
    """The server; `address` is where it listens."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        counters: Callable[[], Values],
        is_draining: Callable[[], bool],
        lag: LoopLag,
    ) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._counters = counters
        self._is_draining = is_draining
        self._lag = lag
        self._reading = Counters()
        self._registry = CollectorRegistry()
        self._registry.register(self._reading)
        ProcessCollector(registry=self._registry)
        self._pages: dict[str, Callable[[], tuple[str, bytes]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }
        name = {"SERVER_NAME": self.address[0]}  # or pywsgi asks the resolver for it
        self._server = WSGIServer(listener, self._application, log=None, error_log=log, environ=name)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        page = self._pages.get(environ["PATH_INFO"])
        if page is None:
            known = ", ".join(self._pages)
            status, body = "404 Not Found", f"nothing at {environ['PATH_INFO']}: there are {known}\n".encode()
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"ask with GET\n"
        else:
            status, body = page()
        headers = [
            ("Content-Type", CONTENT_TYPE_PLAIN_0_0_4),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        if status.startswith("405"):
            headers.append(("Allow", "GET, HEAD"))
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _healthz(self) -> tuple[str, bytes]:
        lag_s = self._lag.seconds
        if lag_s >= LAG_MAX_S:
            return "503 Service Unavailable", b"the loop lags by %.3f s\n" % lag_s
        return "200 OK", b"ok\n"

    def _readyz(self) -> tuple[str, bytes]:
        if self._is_draining():
            return "503 Service Unavailable", b"draining\n"
        return "200 OK", b"ok\n"

    def _metrics(self) -> tuple[str, bytes]:
        # Read here, where nothing else runs; rendered in a thread, for many series hold up the loop.
        self._reading.values = {"loop_lag_seconds": self._lag.seconds, **self._counters()}
        return "200 OK", get_hub().threadpool.apply(generate_latest, (self._registry,))
