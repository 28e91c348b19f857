"""The admin port: health for supervisors, metrics for Prometheus. A thread that only reads."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.control import StatusPage
from broker.errors import AddressInUse, BadSetting

LAG_MAX_S = 1.0
REFUSED = ("unavailable", "fenced", "conflict")  # shown also while there was none: what one looks for
TYPE_TEXT = "text/plain; charset=utf-8"
TYPE_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Watched(Protocol):
    """What is looked at: a Forwarder."""

    @property
    def status(self) -> StatusPage: ...  # as of the newest beat
    @property
    def alive_s(self) -> float: ...  # when the loop turned last, by time.monotonic
    @property
    def is_stopping(self) -> bool: ...


class Metrics(Collector):
    """What the forwarder counted up to its newest beat: nothing is counted twice for a scrape's sake."""

    def __init__(self, forwarder: Watched) -> None:
        self._forwarder = forwarder

    def collect(self) -> Iterable[Metric]:
        status = self._forwarder.status
        yield InfoMetricFamily(
            "penstock_build", "What runs here.", {"version": status.version, "process": "broker"}
        )
        received = CounterMetricFamily("penstock_broker_events_received", "Messages taken in.")
        received.add_metric([], status.received)
        yield received
        logged = CounterMetricFamily("penstock_broker_events_logged", "Events committed to the log.")
        logged.add_metric([], status.logged)
        yield logged
        dropped = CounterMetricFamily(
            "penstock_broker_events_dropped", "Messages dropped at the ingest.", labels=["reason"]
        )
        for reason, count in status.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped
        for name, words, count in (
            ("missing", "Events that producers counted and that never arrived.", status.missing),
            ("late", "Events that were found missing and came after all.", status.late),
            ("unclear", "Events before the first that a producer was heard with.", status.unclear),
        ):
            found = CounterMetricFamily(f"penstock_broker_events_{name}", words)
            found.add_metric([], count)
            yield found
        confirmed = CounterMetricFamily(
            "penstock_broker_events_confirmed", "Events logged of which their publisher was told so."
        )
        confirmed.add_metric([], status.confirmed)
        yield confirmed
        refused = CounterMetricFamily(
            "penstock_broker_publish_refused", "Requests to publish that were refused.", labels=["code"]
        )
        for code, count in {**dict.fromkeys(REFUSED, 0), **status.refused}.items():
            refused.add_metric([code], count)
        yield refused
        yield GaugeMetricFamily(
            "penstock_broker_log_writable", "1, or 0 while the log cannot be written.", status.trouble is None
        )
        unanswered = CounterMetricFamily(
            "penstock_broker_unanswered", "Answers that their requester did not take."
        )
        unanswered.add_metric([], status.unanswered)
        yield unanswered
        drops = CounterMetricFamily(
            "penstock_broker_feed_drops", "Times that a subscriber lost messages at its high-water mark."
        )
        drops.add_metric([], status.at.drops)
        yield drops
        yield GaugeMetricFamily("penstock_broker_head_seq", "Newest seq of the log.", status.at.head)
        yield GaugeMetricFamily("penstock_broker_topics", "Topics in the log.", status.topics)
        yield GaugeMetricFamily("penstock_broker_log_bytes", "Bytes of events kept.", status.log_bytes)
        yield GaugeMetricFamily(
            "penstock_broker_subscribed_prefixes", "Prefixes asked for.", status.subscribed
        )
        yield GaugeMetricFamily(
            "penstock_broker_loop_lag_seconds", "Since the loop last turned.", self.lag_s()
        )

    def lag_s(self) -> float:
        return time.monotonic() - self._forwarder.alive_s


class Admin:
    """/healthz, /readyz and /metrics of a forwarder, from construction to `close`."""

    def __init__(self, address: str, forwarder: Watched) -> None:
        """`address`: host:port, port 0 for one that the kernel picks. Raises AddressInUse, BadSetting."""
        host, _, port = address.rpartition(":")
        metrics = Metrics(forwarder)
        registry = CollectorRegistry()
        registry.register(metrics)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = _answer(self.path, forwarder, metrics, registry)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            timeout = 10  # for a peer that says nothing

            def log_message(self, *args: Any) -> None:
                """Nothing: a health check a second is no news."""

        try:
            self._server = ThreadingHTTPServer((host, int(port)), Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(address, "PENSTOCK_BROKER__ADMIN") from error
            raise BadSetting(f"PENSTOCK_BROKER__ADMIN = {address!r}: {error.strerror}") from error
        except OverflowError as error:
            raise BadSetting(f"PENSTOCK_BROKER__ADMIN = {address!r}: want a port up to 65535") from error
        self.address = f"http://{host}:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, name="admin", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(
    path: str, forwarder: Watched, metrics: Metrics, registry: CollectorRegistry
) -> tuple[int, str, bytes]:
    if path == "/metrics":
        return 200, TYPE_METRICS, generate_latest(registry)
    if path not in ("/healthz", "/readyz"):
        return 404, TYPE_TEXT, b"want /healthz, /readyz or /metrics\n"
    lag_s = metrics.lag_s()
    if lag_s > LAG_MAX_S:
        return 503, TYPE_TEXT, f"the loop has not turned for {lag_s:.1f} s\n".encode()
    if path == "/readyz" and forwarder.is_stopping:
        return 503, TYPE_TEXT, b"stopping\n"
    return 200, TYPE_TEXT, b"ok\n"
