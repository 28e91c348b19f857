"""Publishing with confirmation: each event is asked for until the broker says where it is in the log."""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Callable
from threading import Condition, RLock, Thread
from typing import cast

from broker.errors import NotConfirmed, PublishTimeout
from broker.wire import EVENT
from producer.confirmation import Confirmation
from producer.courier import Courier
from producer.window import Batch, Window

log = logging.getLogger(__name__)

_pack = EVENT.pack

OnConfirm = Callable[[Confirmation], object]


class Confirmed:
    """Takes events as long as it has room, and hands them to the thread that has the link."""

    def __init__(
        self,
        address: str,
        producer: str,
        wait_s: float | None,
        high_water: int,
        *,
        passing: bool,
        numbered: bool,
    ) -> None:
        """`passing`: nobody will come again with this id. Raises BadSetting: not an address."""
        self.address, self._wait_s = address, wait_s
        # The lock is taken for each event, and by itself in half the time. One that may be taken again:
        # what is collected while a thread has it may be this.
        self._lock = RLock()
        self._changed = Condition(self._lock)
        instance = secrets.token_hex(8)
        self._window = Window(producer, high_water, instance=instance, passing=passing, numbered=numbered)
        self._is_closing = False
        self._all_confirmed: bool | None = None  # None until it is closed
        self._reported = 0  # events refused for good that `flush` has told of
        self._process = os.getpid()
        self._courier = Courier(address, self._window, self._changed, self._tell)

    @property
    def taken(self) -> int:
        return self._window.taken

    @property
    def dropped(self) -> int:
        return self._window.dropped

    @property
    def lost(self) -> int:
        return self._window.lost

    @property
    def unconfirmed(self) -> int:
        return self._window.held + self._window.given_up

    @property
    def trouble(self) -> str:
        return str(self._window.failure or self._window.why)

    def send(self, name: bytes, payload: bytes, content: int, on_confirm: OnConfirm | None) -> Confirmation:
        """Raises PublishTimeout, Fenced, LogLost: it was not taken."""
        part = _pack(len(name), len(payload), content) + name + payload
        window = self._window
        with self._lock:
            if window.is_full or self._is_closing:
                self._wait_for_room()
            batch, place = window.put(part, on_confirm)
            # What is due changes with the first event of a batch only.
            if not place and self._courier.is_asleep and window.is_due:
                self._courier.wake()
        return Confirmation(batch, place, self._wait)

    def _wait_for_room(self) -> None:
        window = self._window

        def may_go_on() -> bool:
            return window.has_room or window.failure is not None or self._is_closing

        # A callback that waited for room would wait for itself.
        wait_s = 0.0 if self._courier.is_current else self._wait_s
        self._changed.wait_for(may_go_on, wait_s)
        if self._is_closing:
            raise RuntimeError("publish on a closed Publisher")
        if window.failure:
            raise window.failure
        if window.is_full:
            raise PublishTimeout(self.address, wait_s or 0)

    def last(self) -> int:
        """How many events of this producer are in the log; waits for the broker to say so."""
        window = self._window
        with self._changed:
            self._await(lambda: window.last is not None, self._wait_s)
            if window.last is None:
                if self._all_confirmed is not None:
                    raise RuntimeError("`last` on a closed Publisher")
                raise PublishTimeout(
                    self.address, self._wait_s or 0, f"the broker at {self.address}: {window.why}"
                )
            return window.last

    def flush(self, timeout_s: float | None) -> None:
        window = self._window
        with self._changed:
            upto = window.taken
            self._await(lambda: window.taken - window.held >= upto, timeout_s)
            if (count := upto - (window.taken - window.held)) > 0:
                raise NotConfirmed(self.address, timeout_s or 0, count, window.why)
            if window.refusal and self._reported < window.dropped:
                self._reported = window.dropped
                raise window.refusal

    def close(self, timeout_s: float, *, warns: bool = True) -> bool:
        """Whether all was confirmed within `timeout_s`, which may be `inf`. May be called again.

        `warns`: also in the log, if not.
        """
        if os.getpid() != self._process:
            return False  # the thread that has the link is in the parent
        if self._courier.is_current:
            # In a callback, or the collector came by: what is to be waited for comes in this thread.
            kept = {"warns": warns}
            Thread(target=self.close, args=(timeout_s,), kwargs=kept, name="penstock publisher's end").start()
            return False
        window = self._window
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._all_confirmed is None:
                within_s = None if timeout_s == math.inf else timeout_s
                self._changed.wait_for(lambda: not window.held or window.failure is not None, within_s)
                self._all_confirmed = not (window.held or window.failure or window.dropped)
                if window.held:
                    window.fail(NotConfirmed(self.address, timeout_s, window.held, window.why))
                if warns and not self._all_confirmed:
                    why = window.failure or window.refusal
                    count = self.unconfirmed + window.dropped
                    log.warning("not confirmed control=%s events=%d why=%s", self.address, count, why)
                self._changed.notify_all()
        self._courier.stop()
        return self._all_confirmed

    def _await(self, fact: Callable[[], bool], timeout_s: float | None) -> None:
        """With the lock, until it is so or the time is over. Raises what nothing can come after."""
        if self._courier.is_current:
            raise RuntimeError("a callback must not wait for what only comes after it")
        window = self._window

        def is_over() -> bool:
            return window.failure is not None or self._all_confirmed is not None or fact()

        self._changed.wait_for(is_over, timeout_s)
        if window.failure:
            raise window.failure

    def _wait(self, batch: Batch, place: int, timeout_s: float | None) -> None:
        """For Confirmation."""
        if batch.is_settled(place):
            return
        if self._courier.is_current:
            raise RuntimeError("a callback must not wait for what only comes after it")
        with self._changed:
            if not self._changed.wait_for(lambda: batch.is_settled(place), timeout_s):
                raise NotConfirmed(self.address, timeout_s or 0, 1, self._window.why)

    def _tell(self, batch: Batch, place: int, note: object) -> None:
        try:
            cast(OnConfirm, note)(Confirmation(batch, place, self._wait))
        except Exception:
            # It must not end the thread, or nothing is confirmed any more.
            log.exception("on_confirm failed")
