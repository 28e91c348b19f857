"""The broker's loop: drain what has arrived, commit it, forward it, confirm, answer, repeat. One thread."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from math import ceil

import zmq
from zmq.backend import Socket as Backend

from broker import control
from broker.answers import Answers, read, refusal
from broker.arrivals import Arrivals
from broker.control import Head, Hello, Publish, StatusPage, Submit
from broker.demand import Barrier, Change, Demand
from broker.feed import Feed
from broker.ingest import Intake
from broker.log import Durability, Log
from broker.more import more_of
from broker.pace import Pace
from broker.publishing import Publishing
from broker.replies import PAUSE_S, Replies
from broker.sockets import Sockets
from broker.wire import BEAT_S, BEAT_TOPIC, DEMAND_TOPIC, pack_stamp

log = logging.getLogger(__name__)

# One turn of the loop: at most so many messages of each ingest port, about so many bytes of payload,
# so many subscription messages, and so long with control requests, or about so many events of theirs.
TURN_MESSAGES = 1_000
TURN_EVENTS = 5_000
TURN_BYTES = 4 << 20
TURN_SUBSCRIPTIONS = 1_000
TURN_CONTROL_S = 0.010
ASKED_MAX = 1_000  # questions that wait for a turn; the others wait in their socket
IDLE_S = 0.25  # the longest wait, so that a look at `alive_s` tells whether the loop turns
MAINTAIN_S = 0.1
MAINTAIN_SHARE = 10  # retention gets a tenth of the time, as long as that is enough
DRAIN_S = 1.0
QUIET_MS = 50

_NOBLOCK = int(zmq.NOBLOCK)


class Forwarder:
    """Moves events from the ingest ports through the log to the feed; `run` until `stop`."""

    def __init__(
        self, sockets: Sockets, log: Log, durability: Durability, payload_max_bytes: int, wake_fd: int = -1
    ) -> None:
        """`wake_fd`: becomes readable when `stop` was called from a signal handler; -1 for none."""
        self._sockets, self._log, self._durability = sockets, log, durability
        # In `memory` the log is empty at each start, and what was published before may well have arrived.
        self._heard = Arrivals(is_first=durability != "memory" and log.head().head == 0)
        self._intake = Intake(log.known, payload_max_bytes, self._heard.note)
        self._feed = Feed(sockets.feed)
        self._demand = Demand()
        self._answers = Answers(log, self.head, self._demand.prefixes, self._status)
        self._publishing = Publishing(log, self.head, payload_max_bytes, _now_us)
        self._asked: deque[tuple[bytes, control.AnyRequest]] = deque()  # with their askers
        self._replies = Replies(partial(sockets.control.send_multipart, flags=zmq.NOBLOCK))
        self._logged = 0
        self._started_s = self.alive_s = time.monotonic()
        self._next_beat_s = self._next_maintain_s = 0.0
        self._pace = Pace()
        self._reported: Counter[str] = Counter()
        self._missing = 0  # reported
        self._is_stopping = False
        self._arrivals = (sockets.push, sockets.ingest, sockets.control)  # where events come
        self._more = {socket: more_of(socket) for socket in (sockets.push, sockets.ingest)}
        self._poller = zmq.Poller()
        for socket in (*self._arrivals, sockets.feed):
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
        # What comes now is for the next broker; under a stream it would not end, and be lost with this one.
        for name in ("push", "ingest"):
            getattr(self._sockets, name).unbind(self._sockets.address(name))
        # What has arrived is taken in: until nothing comes for a moment.
        arrivals = zmq.Poller()
        for socket in self._arrivals:
            arrivals.register(socket, zmq.POLLIN)
        until_s = time.monotonic() + DRAIN_S
        while time.monotonic() < until_s and arrivals.poll(QUIET_MS):
            self._take_in(self._arrivals)
            self._answer_requests()
            self._replies.go_on(time.monotonic())
        self._beat()

    def _wait_s(self) -> float:
        if self._asked:
            return 0.0
        wait_s = min(self._next_beat_s, self._next_maintain_s) - time.monotonic()
        return max(0.0, min(PAUSE_S if self._replies else IDLE_S, wait_s))

    def _turn(self, wait_s: float) -> None:
        ready = dict(self._poller.poll(ceil(wait_s * 1000)))
        self.alive_s = time.monotonic()
        arrived = [socket for socket in self._arrivals if socket in ready]
        if self._replies:
            self._replies.go_on(self.alive_s)
        if arrived:
            if wait_s := self._pace.wait_s(self.alive_s):
                time.sleep(wait_s)
            self._take_in(arrived)
        # After the forwarding: a marker tells that everything up to the head is on its way.
        if self._sockets.feed in ready:
            self._take_subscriptions()
        if self._asked:
            self._answer_requests()
        now_s = time.monotonic()
        if now_s >= self._next_beat_s:
            self._beat()
        if now_s >= self._next_maintain_s:
            self._maintain(now_s)

    def _take_in(self, arrived: Sequence[zmq.Socket[bytes]]) -> None:
        """Drain, append, forward, confirm."""
        received, started_s = self._intake.received, time.monotonic()
        for socket in arrived:
            if socket is self._sockets.control:
                self._hear()
            else:
                self._drain(socket)
        now_us, count = _now_us(), self._intake.received - received
        if batch := self._intake.empty():
            events = self._log.append(batch, now_us)
            self._logged += len(events) if self._log.trouble is None else 0
            self._intake.dropped["log_full"] += len(batch) - len(events)
            self._feed.send_all(events)
        if self._publishing.is_waiting:
            events, answers = self._publishing.commit(now_us)
            count += len(events)
            self._logged += len(events)
            self._feed.send_all(events)
            for asker, answer in answers:
                self._replies.confirm(asker, answer, time.monotonic())
        if count:
            self._pace.note(started_s, time.monotonic(), count)

    def _hear(self) -> None:
        """Take what is asked: what is to be published into the next commit, other questions into a queue."""
        publishing, until_s = self._publishing, time.monotonic() + TURN_CONTROL_S
        while len(self._asked) < ASKED_MAX and time.monotonic() < until_s:
            if publishing.size >= TURN_BYTES or len(publishing) >= TURN_EVENTS:
                return
            try:
                sender, *frames = _receive_some(self._sockets.control, 3)
            except zmq.Again:
                return
            asked = read(frames[0] if len(frames) in (1, 2) else b"")
            if isinstance(asked, bytes):
                self._replies.send(sender, [asked])
            elif isinstance(asked, Publish | Submit):
                publishing.take(sender, asked, frames[1] if len(frames) == 2 else b"")
            elif len(frames) != 1:
                self._replies.send(sender, [refusal(asked.id, "bad_request", "want one frame")])
            elif isinstance(asked, Hello):
                publishing.take(sender, asked, b"")
            else:
                self._asked.append((sender, asked))

    def _drain(self, socket: zmq.Socket[bytes]) -> None:
        # Frame by frame: recv_multipart takes twice as long, and has no bound for a hostile peer.
        with suppress(zmq.Again):
            self._intake.drain(
                partial(Backend.recv, socket, _NOBLOCK), self._more[socket], TURN_MESSAGES, TURN_BYTES
            )

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
        while self._asked and time.monotonic() < until_s:
            sender, asked = self._asked.popleft()
            self._replies.send(sender, self._answers.answer(asked))

    def _publish(self, topic: bytes, body: bytes, seq: int) -> None:
        """A message of the system's own: no event, in no log."""
        stamp = pack_stamp(0, 0, self._log.epoch, seq, 0, _now_us())
        self._feed.send(topic, stamp, body)

    def _beat(self) -> None:
        self._next_beat_s = time.monotonic() + BEAT_S
        self._publish(BEAT_TOPIC, control.encode(self.head()), 0)
        self.status = self._status()
        trouble = Counter[str](self._intake.dropped)
        trouble.update(
            feed_high_water=self._feed.drops,
            no_subscription=self._demand.ignored,
            unanswered=self._replies.dropped,
        )
        for reason, count in (trouble - self._reported).items():
            log.warning("dropped reason=%s count=%d", reason, count)
        self._reported = trouble
        if count := self._heard.missing - self._missing:
            log.warning("missing count=%d newest=%s", count, self._heard.newest)
        self._missing = self._heard.missing

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
            missing=self._heard.missing,
            late=self._heard.late,
            unclear=self._heard.unclear,
            worst=self._heard.worst(),
            unanswered=self._replies.dropped,
            confirmed=self._publishing.confirmed,
            refused=dict(self._publishing.refused),
            trouble=self._log.trouble,
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


def _now_us() -> int:
    return time.time_ns() // 1000


@cache
def _version() -> str:
    """Read once: with no descriptor left there is no file to read."""
    try:
        return version("penstock")
    except PackageNotFoundError:  # run from a checkout
        return "0"
