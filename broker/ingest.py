"""From what producers send to a batch for the log; what is no event is dropped and counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from typing import Literal

from broker.errors import BadTopic
from broker.topics import DEFAULT_TOPIC, SYSTEM, check_topic
from broker.wire import META

FRAMES_MAX = 3
_DEFAULT = DEFAULT_TOPIC.encode()
_SYSTEM = SYSTEM.encode()

Arrived = Callable[[bytes], int]  # of a meta, returns its content type
Receive = Callable[[], bytes]
Reason = Literal["frame_count", "bad_topic", "system_topic", "payload_too_large", "bad_meta", "log_full"]


class Intake:
    """Collects events until `empty` takes them. Not thread-safe."""

    def __init__(self, known: Container[bytes], payload_max_bytes: int, arrived: Arrived) -> None:
        """
        Args:
            known: topics that were checked before.
            arrived: is told the meta of each event, also of those that are dropped here; see Arrivals.
        """
        self._arrived = arrived
        self._known, self._payload_max_bytes = known, payload_max_bytes
        self._batch: list[tuple[bytes, bytes, int]] = []
        self.size = 0  # bytes of payload in the batch
        self.received = 0
        self.dropped: Counter[Reason] = Counter()

    def drain(
        self, receive: Receive, has_more: Callable[[], int], messages_max: int, bytes_max: int
    ) -> None:
        """Take messages as `receive` gives their frames, until it raises; at most so many, and none behind
        the one that brings the batch beyond so many bytes.

        The broker's hottest loop. A message of a topic and a payload, which most are, is taken right here: a
        list and a call for each would be a tenth of the time that it takes in all.
        """
        known, payload_max_bytes, add = self._known, self._payload_max_bytes, self._batch.append
        for _ in range(messages_max):
            frame = receive()
            if has_more():
                payload = receive()
                if not has_more() and frame in known and len(payload) <= payload_max_bytes:
                    self.received += 1
                    self.size += len(payload)
                    add((frame, payload, 0))
                    if self.size > bytes_max:
                        return
                    continue
                frames = [frame, payload]
                while has_more():
                    frame = receive()
                    if len(frames) <= FRAMES_MAX:
                        frames.append(frame)
            else:
                frames = [frame]
            self.take(frames)
            if self.size > bytes_max:
                return

    def take(self, frames: list[bytes]) -> None:
        """One message, `[topic, payload]`, `[topic, payload, meta]` or `[payload]`.

        Of a longer one the first FRAMES_MAX + 1 frames are enough: it is dropped.
        """
        self.received += 1
        content = 0
        if len(frames) == 2:
            topic, payload = frames
        elif len(frames) == 3:
            topic, payload, meta = frames
            if len(meta) != META.size:
                self.dropped["bad_meta"] += 1
                return
            if (content := self._arrived(meta)) > 3:
                content = 0
        elif len(frames) == 1:
            topic, payload = _DEFAULT, frames[0]
        else:
            self.dropped["frame_count"] += 1
            return
        if topic not in self._known and (reason := maybe_fault(topic)):
            self.dropped[reason] += 1
            return
        if len(payload) > self._payload_max_bytes:
            self.dropped["payload_too_large"] += 1
            return
        self.size += len(payload)
        self._batch.append((topic, payload, content))

    def empty(self) -> list[tuple[bytes, bytes, int]]:
        """The batch; the next one begins."""
        batch, self._batch, self.size = self._batch, [], 0
        return batch


def maybe_fault(topic: bytes) -> Reason | None:
    """Why nobody outside may publish there; None for a sound topic."""
    if topic.startswith(_SYSTEM):
        return "system_topic"
    try:
        check_topic(topic)
    except BadTopic:
        return "bad_topic"
    return None
