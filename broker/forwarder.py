"""The broker's loop: drain what has arrived, commit it, forward it, answer, repeat. One thread."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from math import ceil

import zmq
from zmq.backend import Socket as Backend

from broker import control
from broker.answers import Answers
from broker.control import Head, StatusPage
from broker.demand import Barrier, Change, Demand
from broker.feed import Feed
from broker.ingest import FRAMES_MAX, Intake
from broker.log import Durability, Log
from broker.pace import Pace
from broker.sockets import Sockets
from broker.wire import BEAT_S, BEAT_TOPIC, DEMAND_TOPIC, pack_stamp

log = logging.getLogger(__name__)

# One turn of the loop: at most so many messages of each ingest port, about so many bytes of payload,
# so many subscription messages, and so long with control requests.
TURN_MESSAGES = 1_000
TURN_BYTES = 4 << 20
TURN_SUBSCRIPTIONS = 1_000
TURN_CONTROL_S = 0.010
IDLE_S = 0.25  # the longest wait, so that a look at `alive_s` tells whether the loop turns
MAINTAIN_S = 0.1
MAINTAIN_SHARE = 10  # retention gets a tenth of the time, as long as that is enough
DRAIN_S = 1.0
QUIET_MS = 50

_NOBLOCK = int(zmq.NOBLOCK)
_RCVMORE = int(zmq.RCVMORE)


class Forwarder:
    """Moves events from the ingest ports through the log to the feed; `run` until `stop`."""

    def __init__(
        self, sockets: Sockets, log: Log, durability: Durability, payload_max_bytes: int, wake_fd: int = -1
    ) -> None:
        """`wake_fd`: becomes readable when `stop` was called from a signal handler; -1 for none."""
        self._sockets, self._log, self._durability = sockets, log, durability
        self._intake = Intake(log.known, payload_max_bytes)
        self._feed = Feed(sockets.feed)
        self._demand = Demand()
        self._answers = Answers(log, self.head, self._demand.prefixes, self._status)
        self._logged = self._unanswered = 0
        self._started_s = self.alive_s = time.monotonic()
        self._next_beat_s = self._next_maintain_s = 0.0
        self._pace = Pace()
        self._reported: Counter[str] = Counter()
        self._is_stopping = False
        self._poller = zmq.Poller()
        for socket in (sockets.ingest, sockets.push, sockets.control, sockets.feed):
            self._poller.register(socket, zmq.POLLIN)
        if wake_fd >= 0:
            self._poller.register(wake_fd, zmq.POLLIN)
        self.status = self._status()  # as of the newest beat, for other threads

    def stop(self) -> None:
        """The loop takes in what has arrived and ends. May be called from a signal handler."""
        self._is_stopping = True

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def run(self) -> None:
        while not self._is_stopping:
            self._turn(self._wait_s())
        # What has arrived is taken in: until nothing comes for a moment, or a stream does not end.
        ports = self._sockets.push, self._sockets.ingest
        arrivals = zmq.Poller()
        for socket in ports:
            arrivals.register(socket, zmq.POLLIN)
        until_s = time.monotonic() + DRAIN_S
        while time.monotonic() < until_s and arrivals.poll(QUIET_MS):
            self._take_in(ports)
        self._beat()

    def _wait_s(self) -> float:
        wait_s = min(self._next_beat_s, self._next_maintain_s) - time.monotonic()
        return max(0.0, min(IDLE_S, wait_s))

    def _turn(self, wait_s: float) -> None:
        ready = dict(self._poller.poll(ceil(wait_s * 1000)))
        self.alive_s = time.monotonic()
        arrived = [socket for socket in (self._sockets.push, self._sockets.ingest) if socket in ready]
        if arrived:
            if wait_s := self._pace.wait_s(self.alive_s):
                time.sleep(wait_s)
            self._take_in(arrived)
        # After the forwarding: a marker tells that everything up to the head is on its way.
        if self._sockets.feed in ready:
            self._take_subscriptions()
        if self._sockets.control in ready:
            self._answer_requests()
        now_s = time.monotonic()
        if now_s >= self._next_beat_s:
            self._beat()
        if now_s >= self._next_maintain_s:
            self._maintain(now_s)

    def _take_in(self, arrived: Sequence[zmq.Socket[bytes]]) -> None:
        """Drain, append, forward."""
        received, started_s = self._intake.received, time.monotonic()
        for socket in arrived:
            self._drain(socket)
        if batch := self._intake.empty():
            events = self._log.append(batch, time.time_ns() // 1000)
            self._logged += len(events) if self._log.trouble is None else 0
            self._intake.dropped["log_full"] += len(batch) - len(events)
            send = self._feed.send
            for topic, stamp, payload in events:
                send(topic, stamp, payload)
        self._pace.note(started_s, time.monotonic(), self._intake.received - received)

    def _drain(self, socket: zmq.Socket[bytes]) -> None:
        # Frame by frame: recv_multipart takes twice as long, and has no bound for a hostile peer.
        recv, get, take = partial(Backend.recv, socket), partial(Backend.get, socket), self._intake.take
        try:
            for _ in range(TURN_MESSAGES):
                frames = [recv(_NOBLOCK)]
                while get(_RCVMORE):
                    frame = recv(_NOBLOCK)
                    if len(frames) <= FRAMES_MAX:
                        frames.append(frame)
                take(frames)
                if self._intake.size > TURN_BYTES:
                    return
        except zmq.Again:
            return

    def _take_subscriptions(self) -> None:
        for _ in range(TURN_SUBSCRIPTIONS):
            try:
                frames = _receive_some(self._sockets.feed, 1)
            except zmq.Again:
                return
            match self._demand.take(frames):
                case Barrier(topic):
                    self._publish(topic, control.encode(self.head()), self._log.head().head)
                case Change(prefix, wanted):
                    change = {"prefix": prefix.decode(errors="backslashreplace"), "wanted": wanted}
                    self._publish(DEMAND_TOPIC, control.encode(change), 0)

    def _answer_requests(self) -> None:
        until_s = time.monotonic() + TURN_CONTROL_S
        while time.monotonic() < until_s:
            try:
                sender, *request = _receive_some(self._sockets.control, 2)
            except zmq.Again:
                return
            # A request is one frame; of anything else the empty text is refused.
            answer = self._answers.answer(request[0] if len(request) == 1 else b"")
            try:
                self._sockets.control.send_multipart([sender, *answer], zmq.NOBLOCK)
            except zmq.ZMQError:
                # It has gone, or does not read its answers: it asks again if it still wants to know.
                self._unanswered += 1

    def _publish(self, topic: bytes, body: bytes, seq: int) -> None:
        """A message of the system's own: no event, in no log."""
        stamp = pack_stamp(0, 0, self._log.epoch, seq, 0, time.time_ns() // 1000)
        self._feed.send(topic, stamp, body)

    def _beat(self) -> None:
        self._next_beat_s = time.monotonic() + BEAT_S
        self._publish(BEAT_TOPIC, control.encode(self.head()), 0)
        self.status = self._status()
        trouble = Counter[str](self._intake.dropped)
        trouble.update(
            feed_high_water=self._feed.drops,
            no_subscription=self._demand.ignored,
            unanswered=self._unanswered,
        )
        for reason, count in (trouble - self._reported).items():
            log.warning("dropped reason=%s count=%d", reason, count)
        self._reported = trouble

    def _maintain(self, now_s: float) -> None:
        more = self._log.maintain(now_s)
        took_s = time.monotonic() - now_s
        # Under load retention has a share of the time; with nothing to do it looks again now and then.
        pause_s = max(took_s * (MAINTAIN_SHARE - 1), 0.001) if more else MAINTAIN_S
        if more and self._log.is_overfull:
            pause_s = 0.0
        self._next_maintain_s = now_s + took_s + pause_s

    def head(self) -> Head:
        return self._log.head(self._feed.drops)

    def _status(self) -> StatusPage:
        return StatusPage(
            at=self.head(),
            version=_version(),
            durability=self._durability,
            uptime_s=round(time.monotonic() - self._started_s, 3),
            received=self._intake.received,
            logged=self._logged,
            dropped={reason: count for reason, count in self._intake.dropped.items() if count},
            topics=self._log.topic_count,
            log_bytes=self._log.size,
            subscribed=len(self._demand),
        )


def _receive_some(socket: zmq.Socket[bytes], wanted: int) -> list[bytes]:
    """One message: its first frames, one more than `wanted` if there are more. Raises zmq.Again."""
    frames = [socket.recv(zmq.NOBLOCK)]
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv(zmq.NOBLOCK)
        if len(frames) <= wanted:
            frames.append(frame)
    return frames


@cache
def _version() -> str:
    """Read once: with no descriptor left there is no file to read."""
    try:
        return version("penstock")
    except PackageNotFoundError:  # run from a checkout
        return "0"
