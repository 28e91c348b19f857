"""A client of Socket.IO that subscribes and publishes: what it may do on `/ws`, by events.

It is welcomed in the namespace `/`, and every word of where it is bears an offset, with which it goes on
after a break, on any gateway (see `recovery`). Whether it lacks nothing then is known before it is told
so; who would lack something is told that it is new, and by itself subscribes anew.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from broker.gap import Gap
from broker.wire import Position
from gateway.behind import Behind
from gateway.cut import Cut
from gateway.past import Found
from gateway.protocol import Command, Subscribe, notice
from gateway.socketio import packets
from gateway.socketio.events import asked
from gateway.socketio.feeds import WAIT_LOOKS
from gateway.socketio.forms import PacketForm
from gateway.socketio.packets import Event
from gateway.socketio.recovery import maybe_place
from gateway.socketio.restore import Restore, of_set
from gateway.socketio.session import ROOT
from gateway.socketio.sids import new_sid
from gateway.socketio.socket_client import SocketClient

if TYPE_CHECKING:
    from gateway.interest import Interest, Wants
    from gateway.socketio.clients import Clients
    from gateway.socketio.feeds import Feeds

MISSED = "what was to be sent again is gone meanwhile"


class FeedClient(SocketClient):
    """See `SocketClient`."""

    __slots__ = ("_coming", "_feeds", "_opening", "pid")

    def __init__(
        self,
        clients: Clients,
        feeds: Feeds,
        form: PacketForm,
        sid: str,
        fd: int | None,
        opening: Command | None,
    ) -> None:
        """`opening`: what its URL asks for."""
        super().__init__(clients, form, sid, fd)
        self._feeds, self._opening = feeds, opening
        self.pid: str | None = None
        self._coming: object = None  # while it is not known whether it goes on or begins

    # It comes

    def joined(self, namespace: str, auth: dict[str, Any]) -> None:
        pid, offset = auth.get("pid"), auth.get("offset")
        place = maybe_place(offset) if isinstance(offset, str) else None
        coming = self._coming = object()

        def come() -> None:
            if self._coming is not coming:
                return
            if isinstance(pid, str) and place and self._feeds.is_of(pid, place[0]):
                self._come_back(pid, *place)
            else:
                self._begin_anew()

        # A gateway that has just begun knows nobody: who would go on waits until it does.
        looks = math.inf if isinstance(pid, str) and place else WAIT_LOOKS
        self._feeds.await_key(self, self.hub.epoch, come, looks)

    def _come_back(self, pid: str, position: Position, name: str) -> None:
        self._feeds.replace(pid, self)
        self.pid = pid
        coming = self._coming

        def found(wants: Wants | None) -> None:
            if self._coming is not coming:
                return
            if wants is None or position.epoch != self.hub.epoch:
                self._begin_anew()
            else:
                self._stand(behind := self._work(), self.hub.position, self.hub.position)
                behind.cut = Restore(self.hub, of_set(wants, position), self.pump)
                self.pump()

        self._feeds.sets.find(name, found)

    def late_to_join(self) -> None:
        if not self.is_in(ROOT):
            super().late_to_join()
        elif self._coming is not None:
            if self.behind is not None and self.behind.cut is not None:
                self._forget_cut(self.behind, self.behind.cut)
            self._begin_anew()

    def _begin_anew(self) -> None:
        """As one that nothing is known of."""
        position = self.hub.position
        self._feeds.forget(self)
        self.pid = self._feeds.new_pid(self, position)
        self._greet()
        behind = self._work()
        self._stand(behind, position, position)
        opening = self._opening
        # No offset says that it has nothing while its URL says that it wants something.
        if position.epoch and not isinstance(opening, Subscribe):
            behind.told.append(self.form.at(position))
        if opening is not None:
            behind.commands.appendleft(opening)
        self.pump()

    def _greet(self) -> None:
        self._coming = None
        data = {"sid": new_sid(self._clients.gateway_id)}
        if self.pid is not None:
            data["pid"] = self.pid
        told = self._work().told
        told.append(self.made([packets.connect(ROOT, data)]))
        if self.hub.is_stale:
            told.append(self.form.told_notice(notice("stale", stale=True)))
        self._clients.note_greeted(self)

    @property
    def is_greeted(self) -> bool:
        """It is in the namespace, and has been told so."""
        return self.is_in(ROOT) and self._coming is None

    def _be_over(self) -> None:
        self._coming = None  # what is still to be answered finds nobody
        super()._be_over()

    # What it says

    def said(self, event: Event) -> None:
        command = asked(event, self.hub.limits["history"])
        self._work().commands.append(command)
        self.pump()

    def left(self, namespace: str) -> None:
        """Its subscriptions end with that."""
        self._coming = None
        rest = self._rest_of_frame()
        self.hub.remove(self)
        self.interest = self.hub.interest(frozenset())
        self.form = self.form.of(self.interest)
        if rest:
            self._work().unsent = memoryview(rest)
        self.hub.add(self)
        self._feeds.forget(self)

    # What it is told

    def notify(self, told: bytes) -> None:
        if self.is_greeted:
            super().notify(told)

    def notice_frame(self, told: bytes) -> bytes:
        return self.carrier.frame([self.form.told_notice(told)]) if self.is_greeted else b""

    def _answer(self, behind: Behind, cut: Cut) -> bytes | None:
        if not isinstance(cut, Restore):
            return super()._answer(behind, cut)
        return self._send_missed(behind, cut) if cut.is_decided else self._decide(behind, cut)

    def _decide(self, behind: Behind, cut: Restore) -> bytes | None:
        """Whether it goes on or begins anew."""
        is_whole = cut.look()
        if is_whole is None:
            return None
        if is_whole:
            self.form = self.form.of(self.told_interest)
            self._greet()
        else:
            self._forget_cut(behind, cut)
            self._begin_anew()
        return b""

    def _send_missed(self, behind: Behind, cut: Restore) -> bytes | None:
        answer = super()._answer(behind, cut) if cut.is_recovered else None
        if not cut.is_recovered:
            # It has been told that it lacks nothing. No word more; when it comes back it will hear better.
            self.hub.later(self._part_for_a_hole)
            return None
        if behind.cut is None and self.interest.is_mixed:
            assert cut.at
            self._owe_newest(behind, cut.at)
        return answer

    def _owe_newest(self, behind: Behind, at: Position) -> None:
        """Its offset says what it has of the topics that it wants in full. Of the others it may lack what was
        kept back for it when it broke off, so it gets the newest of each.
        """
        self._stand(behind, at, Position(at.epoch, 0))
        assert behind.newest
        behind.newest.pass_over_forgotten(at.seq)

    @property
    def told_interest(self) -> Interest:
        cut = self.behind.cut if self.behind is not None else None
        if isinstance(cut, Restore) and cut.is_decided:
            return self.hub.interest(cut.wanted.wants)  # which it has when its past is read
        return super().told_interest

    def _forget_cut(self, behind: Behind, cut: Cut) -> None:
        behind.cut = None
        for wanted in cut.claimed:
            self.hub.needs.release(wanted)
        for wanted in cut.wanted.patterns:
            self.hub.needs.forget(wanted, self)

    def _encode_past(self, page: Found, wanted: Subscribe) -> bytes:
        form = self.form
        if self.behind is not None and isinstance(self.behind.cut, Restore):
            return form.finish(form.objects(page))
        objects = []
        for item in page:
            if isinstance(item, Gap):
                self._note_gap(item)
                objects.append(form.past_gap(item))
            else:
                objects.append(form.past(item, wanted.id))
        return form.finish(objects)

    def _part_for_a_hole(self) -> None:
        self.end(reason=MISSED)

    def _set_interest(self, behind: Behind, position: Any, wants: Wants) -> None:
        super()._set_interest(behind, position, wants)
        self._feeds.sets.keep(self.interest)
