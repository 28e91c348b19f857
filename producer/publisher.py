"""Publish events from any Python process: `Publisher().publish("cpu/load", {"v": 0.42})`.

Plain pyzmq does as well (docs/producers.md). What this adds: names, sizes and data are checked before
anything is sent; each event carries `meta`, with which what never arrived can be counted and the true
latency be told; closing says whether everything went; and `Publisher(confirm=True)` hears of each event
that it is in the log.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from types import TracebackType
from uuid import uuid4

from broker.errors import BadSetting, BadTopic, PayloadTooLarge
from broker.topics import Pattern, check_topic, is_system
from broker.wire import MAX_PAYLOAD_BYTES, Content, producer_hash
from producer.confirmation import Confirmation
from producer.confirmed import Confirmed
from producer.link import CONTROL, FEED, INGEST, PUSH, Link
from producer.payload import encode
from producer.plain import Plain
from producer.watch import Watch

HIGH_WATER = 100_000
CLOSE_S = 5.0
PRODUCER_MAX_CHARS = 255


class Publisher:
    """Events to one broker: a stream, a push, or confirmed.

    `Publisher()` never waits: while the broker is away it holds up to `high_water` events, then drops
    new ones and counts them in `dropped`. `Publisher(wait=True)` drops nothing: `publish` waits until
    there is room. `Publisher(confirm=True)` waits as well, and holds each event until the broker has
    confirmed that it is in the log, over breaks of the link and restarts of the broker: once, in order.

    Threads may share one. After a fork make a new one in the child. Close it, or use it in a `with`;
    one that was forgotten is flushed when it is collected or when the interpreter ends.
    """

    def __init__(
        self,
        ingest: str | None = None,
        *,
        wait: bool = False,
        confirm: bool = False,
        control: str | None = None,
        feed: str | None = None,
        wait_s: float | None = None,
        producer_id: str | None = None,
        numbered: bool = False,
        high_water: int = HIGH_WATER,
        payload_max_bytes: int = MAX_PAYLOAD_BYTES,
        close_s: float = CLOSE_S,
    ) -> None:
        """Connects in the background: nothing here waits for the broker.

        Args:
            ingest: the broker's address for streams, or with `wait` the one for what matters (5558).
            control: with `confirm`, the broker's address (5557). Also asked by `watched`.
            feed: where `watched` hears of subscribers (5556); with it `control` may be given without
                `confirm`.
            wait_s: with `wait` and `confirm`, how long `publish` waits for room; None is for ever.
            producer_id: names this producer. A new one for each Publisher unless given. With `confirm`,
                who comes with an id goes on after what is logged under it, and ends who had it before.
            numbered: with `confirm`, an event's number means something to you (see `last`): where the log
                has lost events or refuses one, everything ends, with LogLost or ControlError, before
                another event gets its number.
            high_water: events held here, while the broker does not take or not confirm them.
            close_s: how long closing may take to hand over what is held.

        Raises:
            BadSetting: not an address, or arguments that do not go together.
        """
        producer = _own_id() if producer_id is None else _checked(producer_id)
        if high_water < 1:
            raise BadSetting(f"high_water is {high_water}, want 1 or more")
        self._transport: Plain | Confirmed
        if confirm:
            if ingest or wait:
                raise BadSetting("confirm=True goes to `control`, and waits: without `ingest` and `wait`")
            if len(producer) > PRODUCER_MAX_CHARS:
                raise BadSetting(
                    f"producer_id has {len(producer)} characters, want {PRODUCER_MAX_CHARS} at most"
                )
            self._transport = Confirmed(
                control or CONTROL,
                producer,
                wait_s,
                high_water,
                passing=producer_id is None,
                numbered=numbered,
            )
        else:
            if numbered or (control and not feed):
                raise BadSetting("`numbered`, and `control` without `feed`, are for confirm=True")
            self._transport = Plain(ingest or (PUSH if wait else INGEST), producer, wait, wait_s, high_water)
        self._send = self._transport.send
        self._producer = producer
        self._feed, self._control = feed, control
        self._watch: Watch | None = None
        self._watch_lock = Lock()
        self._payload_max_bytes = payload_max_bytes
        self._close_s = close_s
        self._forgotten = weakref.finalize(self, self._transport.close, close_s)

    @property
    def ingest(self) -> str:
        """The broker's address."""
        return self._transport.address

    @property
    def producer(self) -> str:
        """Its id as the broker names it where it counts what never arrived: 16 hex digits."""
        return f"{producer_hash(self._producer):016x}"

    @property
    def published(self) -> int:
        """Events taken so far, those in `dropped` included."""
        return self._transport.taken

    @property
    def dropped(self) -> int:
        """Events that were taken and will not arrive: no room in a stream; refused by the broker for good."""
        return self._transport.dropped

    @property
    def unconfirmed(self) -> int:
        """With `confirm`: events taken that are not confirmed, those in `dropped` not included."""
        return self._transport.unconfirmed

    @property
    def lost(self) -> int:
        """With `confirm`: events that were confirmed and that the log has lost since."""
        return self._transport.lost

    @property
    def trouble(self) -> str:
        """With `confirm`: why nothing is confirmed just now; empty if nothing is known to be wrong."""
        return self._confirmed().trouble

    @property
    def last(self) -> int:
        """With `confirm`: how many events of this producer are in the log; the next one has the next number.

        Waits, as `publish` does, until the broker has said so. Raises PublishTimeout, Fenced.
        """
        return self._confirmed().last()

    @property
    def link(self) -> Link:
        """Without `confirm`: to see, or to wait, whether there is a broker at all."""
        if isinstance(self._transport, Confirmed):
            raise RuntimeError("whether there is a broker, `flush` says")
        return self._transport.link

    def publish(
        self,
        topic: str,
        data: object,
        *,
        content: Content | None = None,
        on_confirm: Callable[[Confirmation], object] | None = None,
    ) -> Confirmation:
        """Send one event.

        Args:
            topic: the name (`broker.topics` has the rules), not a pattern, not a `$` one.
            data: bytes are sent as they are and called binary, str is sent as text, anything else as JSON.
            content: what the payload is, where the type of `data` does not tell: `Content.JSON` for
                bytes that are JSON already.
            on_confirm: with `confirm`, called once it is known what has become of the event, in a thread
                that must not be held up.

        Returns what tells that it is confirmed, for a Publisher that confirms.

        Raises:
            BadTopic, BadPayload, PayloadTooLarge: nothing was sent or counted; mend the call.
            PublishTimeout: with `wait_s`, nothing was sent or counted; try again.
            Fenced, LogLost: with `confirm`, this Publisher is at its end.
        """
        name = check_publishable(topic)
        payload, natural = encode(data)
        if len(payload) > self._payload_max_bytes:
            raise PayloadTooLarge(len(payload), self._payload_max_bytes)
        return self._send(name, payload, natural if content is None else content, on_confirm)

    def watched(self, topic: str) -> bool:
        """Whether anybody asks the broker for events of this topic; True also where that is not known.

        The first call starts a thread that hears it from the broker; until it knows, and while the broker
        is away, everything counts as watched. What is not published is in no history, either.

        Raises:
            BadTopic: as `publish`.
            BadSetting: events go to another broker than the usual one, and `feed` or `control` was not given.
        """
        check_publishable(topic)
        return (self._watch or self._watching()).is_watched(topic)

    def on_watched(self, pattern: str, told: Callable[[bool], object]) -> Callable[[], None]:
        """Have `told` called, by a thread of ours, with whether any topic that matches may be watched: soon,
        and when that changes. Returns what ends that.

        Raises:
            BadPattern; BadSetting as `watched`.
        """
        return self._watching().tell(Pattern(pattern), told)

    def flush(self, timeout_s: float | None = None) -> None:
        """With `confirm`: returns when everything published so far is confirmed.

        Raises:
            NotConfirmed: not within `timeout_s`; it says how many are not, and why. They are still held.
            ControlError: an event was refused by the broker for good; the others are confirmed.
            Fenced, LogLost: this Publisher is at its end.
        """
        self._confirmed().flush(timeout_s)

    def close(self, timeout_s: float | None = None, *, warns: bool = True) -> bool:
        """Hand over what is held, within `timeout_s` (`close_s` unless given; or `inf`). May be called again.

        Returns True if every event published has left for the broker, or with `confirm` is confirmed;
        False if some were dropped or the time was too short. Then the log has a warning as well, unless
        without `warns`: for who tells it himself.
        """
        # First: who waits no longer for a close that is under way does not wait again at the end.
        self._forgotten.detach()
        all_went = self._transport.close(self._close_s if timeout_s is None else timeout_s, warns=warns)
        with self._watch_lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        return all_went

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "open" if self._forgotten.alive else "closed"
        return f"Publisher({self.ingest}, {state}, published={self.published}, dropped={self.dropped})"

    def _watching(self) -> Watch:
        with self._watch_lock:
            if not self._forgotten.alive:
                raise RuntimeError("watched on a closed Publisher")
            if self._watch is None:
                if self.ingest not in (INGEST, PUSH, CONTROL) and not (self._feed and self._control):
                    # Who subscribes at the usual place hears nothing of ours.
                    raise BadSetting(f"say with feed= and control= where who watches {self.ingest} is known")
                self._watch = Watch(self._feed or FEED, self._control or CONTROL)
            return self._watch

    def _confirmed(self) -> Confirmed:
        if isinstance(self._transport, Confirmed):
            return self._transport
        raise RuntimeError("nothing is confirmed here: make it a Publisher(confirm=True)")


def _own_id() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{uuid4()}"


def _checked(producer_id: str) -> str:
    """Raises BadSetting: none that can be said, or one for whoever has none."""
    try:
        if producer_id.encode():
            return producer_id
    except UnicodeEncodeError:
        pass
    raise BadSetting(f"producer_id={producer_id!r}: want text, or None for one of its own")


@lru_cache(maxsize=10_000)
def check_publishable(topic: str) -> bytes:
    """The topic's frame. Raises BadTopic. Cached: checking takes longer than sending."""
    check_topic(topic)
    if is_system(topic):
        raise BadTopic(topic, "names that begin with '$' are the system's own")
    return topic.encode()
