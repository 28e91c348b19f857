"""Broker, gateways and clients, with all that goes between them in queues that the test moves.

Real: log, upstream, ring, hub, connections, protocol. Played: sockets, clocks, libzmq. The feed keeps
the order of what it delivers, may drop at a high-water mark (and the broker counts that, as its
XPUB tells it), and after a break sends the filters again in an order of its own. The control port
answers in any order, or not at all.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from broker import control
from broker.control import Head, ReplayPage
from broker.errors import ControlTimeout
from broker.log import Durability, Log
from broker.retention import Keep
from broker.selector import Selector
from broker.upstream import Upstream
from broker.wire import DROPS_MODULO, DROPS_SHIFT, STAMP, Position, pack_records
from gateway.connection import Connection
from gateway.event import Event
from gateway.hub import Hub
from gateway.log import BrokerLog
from gateway.records import Records
from gateway.ring import Ring
from tests.model.client import Client
from tests.support.flow import PlayedPublishing

LIMITS = {"subscriptions": 100, "history": 100}
Wire = tuple[bytes, bytes, bytes]


class Broker:
    """The log and its forwarder."""

    def __init__(self, folder: Path, durability: Durability, rules: frozenset[int], keep: Keep) -> None:
        self.folder, self.durability, self.rules, self.keep = folder, durability, rules, keep
        self.path = folder / "log.db"
        self.boots = 0
        self.epochs: list[int] = []  # in their order
        self.ledger: list[tuple[Position, str]] = []  # all that was ever accepted
        self.drops = 0
        self.log = self._open()

    def _new_epoch(self) -> int:
        return 100 + (len(self.epochs) if 8 in self.rules else 0)

    def _open(self) -> Log:
        log = Log.open(
            self.path, self.durability, self.keep, boot_id=f"boot{self.boots}", now_s=0.0,
            new_epoch=self._new_epoch, reserve=5 if 10 in self.rules else 0,
        )  # fmt: skip
        if log.epoch not in self.epochs:
            self.epochs.append(log.epoch)
        return log

    def append(self, topics: Sequence[str]) -> list[Wire]:
        batch = [(topic.encode(), b'{"v":1}', 0) for topic in topics]
        events = self.log.append(batch, 1_000_000)
        for topic, stamp, _ in events:
            _, _, _, _, epoch, seq, _, _ = STAMP.unpack(stamp)
            self.ledger.append((Position(epoch, seq), topic.decode()))
        return events

    def head(self) -> Head:
        return self.log.head(self.drops)

    def kill(self) -> None:
        self.log.abandon()
        self.log = self._open()
        self.drops = 0

    def lose_power(self, saved: Path | None) -> None:
        """The machine comes up again with what the disk had at the time of `saved`."""
        self.log.abandon()
        if saved is not None:
            self._restore(saved)
        if 9 in self.rules:
            self.boots += 1
        self.log = self._open()
        self.drops = 0

    def _restore(self, saved: Path) -> None:
        for name in ("log.db-wal", "log.db-shm", "log.db.lock"):
            (self.folder / name).unlink(missing_ok=True)
        for file in saved.iterdir():
            shutil.copyfile(file, self.folder / file.name)

    def roll_back(self, saved: Path) -> None:
        """Killed in the middle of a commit."""
        self.log.abandon()
        self._restore(saved)
        self.log = self._open()
        self.drops = 0

    def save(self) -> Path:
        """A picture of the disk as it is now."""
        saved = self.folder / f"saved{len(list(self.folder.glob('saved*')))}"
        saved.mkdir()
        for name in ("log.db", "log.db-wal"):
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, saved / name)
        return saved

    def maintain(self, now_s: float) -> None:
        while self.log.maintain(now_s):
            pass
        if 11 not in self.rules:
            self.log._index.forgotten = 0


class Unruly(Upstream[Event]):
    """The upstream without one of its rules."""

    def __init__(self, downstream: Any, link: Any, rules: frozenset[int]) -> None:
        super().__init__(downstream, link)
        self._rules = rules

    def _beat(self, at: Head) -> None:
        if 1 in self._rules:
            super()._beat(at)

    def follow(self, prefix: str) -> bool:
        in_force = super().follow(prefix)
        if 2 not in self._rules and self.epoch and not in_force:
            self._fresh.pop(prefix, None)
            self._follows[prefix].since = self.seen
            self._down.in_force([prefix])
            return True
        return in_force

    def on_connected(self, now_s: float) -> None:
        if 3 in self._rules or self.epoch == 0:
            super().on_connected(now_s)

    def on_beat(self, at: Head, now_s: float) -> None:
        if 3 not in self._rules:
            self._beat_s = now_s  # a missed beat would bring the barrier that this rule is about
        super().on_beat(at, now_s)

    def _event(self, event: Event) -> None:
        if 4 not in self._rules and self.epoch == event.epoch and event.seq > self.seen:
            if self._last_on(event.topic)[0] is not None:
                self._offer(event)  # runs on past the hole; what fills it later comes as a duplicate
            return
        if 5 not in self._rules:
            self._drops = event.drops  # the broker's count of drops would find the hole first
        super()._event(event)

    def _lacks(self, event: Event) -> bool | None:
        if 5 not in self._rules:
            return None if self._last_on(event.topic)[0] is None else event.prev > self.seen
        return super()._lacks(event)


class Candid(Hub):
    """The hub that asks its ring about what it never followed."""

    def covers(self, interest: Any) -> int | None:
        return 0


class Socket(Connection):
    """A connection to a client that takes `room` bytes until it reads."""

    __slots__ = ("client", "is_open", "number", "room", "sent")

    def __init__(self, hub: Hub, client: Client, room: int, number: int) -> None:
        super().__init__(hub, client.form)
        self.number = number
        self.client, self.room, self.is_open = client, room, True
        self.sent = b""

    def __hash__(self) -> int:
        return self.number  # so that sets have the same order in each run

    def write(self, data: bytes | memoryview) -> int:
        taken = min(len(data), self.room)
        self.sent += bytes(data[:taken])
        self.room -= taken
        return taken

    def await_room(self) -> None:
        pass  # the world pumps whoever read

    def read(self, room: int) -> None:
        """The client takes what was sent, and makes room for more."""
        sent, self.sent = self.sent, b""
        self.client.receive(sent)
        self.room = room
        self.pump()


class Node(ABC):
    """Whoever has a feed and a control connection to the broker."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.filters: list[bytes] = [b"$broker/beat"]
        self.in_force: list[bytes] = []  # at the broker
        self.commands: deque[tuple[bool, bytes]] = deque()  # subscriptions on their way to the broker
        self.feed: deque[Wire] = deque()
        self.control: deque[tuple[Any, Any]] = deque()  # requests on their way, with what takes the answer
        self.answers: deque[Callable[[], None]] = deque()
        self._barrier = b""
        self._is_connected = False
        self._knows_connected = True

    # upstream.Link

    def set_filter(self, prefix: str, is_on: bool) -> None:
        self._command(is_on, prefix.encode())

    def barrier(self, number: int) -> None:
        if self._barrier:
            self._command(False, self._barrier)
        self._barrier = b"$sync/%b/%d" % (self.name.encode(), number)
        self._command(True, self._barrier)

    # What it makes of it

    @abstractmethod
    def events_of(self, records: bytes) -> Any: ...
    @abstractmethod
    def on_connected(self, now_s: float) -> None: ...
    @abstractmethod
    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None: ...
    @abstractmethod
    def on_marker(self, number: int, at: Head, now_s: float) -> None: ...
    @abstractmethod
    def on_beat(self, at: Head, now_s: float) -> None: ...
    @abstractmethod
    def turn(self) -> None:
        """A step of its own."""

    @abstractmethod
    def tick(self) -> None: ...
    def read_all(self) -> None:  # noqa: B027 - only a program reads by itself
        """What it has for whoever is in it."""

    # Moves of the world

    def connect(self) -> None:
        """libzmq connects and sends all filters again, in its own order."""
        self._is_connected, self._knows_connected = True, False
        self.commands.clear()
        self.in_force = []
        for topic in sorted(self.filters, reverse=self.world.reverse_filters):
            self.commands.append((True, topic))

    def disconnect(self) -> None:
        """The feed breaks: what was on its way is gone, and the broker forgets the filters."""
        self._is_connected = False
        self.feed.clear()
        self.commands.clear()
        self.in_force = []

    def carry_command(self) -> None:
        if not self.commands:
            return
        is_on, topic = self.commands.popleft()
        if not is_on:
            if topic in self.in_force:
                self.in_force.remove(topic)
            return
        is_new = topic not in self.in_force
        self.in_force.append(topic)
        if is_new and topic.startswith(b"$sync/"):
            broker = self.world.broker
            self.send((topic, _stamp(broker.drops), control.encode(broker.head())))

    def send(self, message: Wire) -> bool:
        """From the broker: False if nobody here wants it."""
        if not (self._is_connected and any(message[0].startswith(topic) for topic in self.in_force)):
            return False
        self.feed.append(message)
        return True

    def deliver(self) -> None:
        """One message of the feed arrives."""
        if self._is_connected and not self._knows_connected:
            self._knows_connected = True
            self.on_connected(self.world.now_s)
        if not self.feed:
            return
        topic, stamp, payload = self.feed.popleft()
        if topic == b"$broker/beat":
            self.on_beat(_head(payload), self.world.now_s)
        elif topic.startswith(b"$sync/"):
            self.on_marker(int(topic.rpartition(b"/")[2]), _head(payload), self.world.now_s)
        else:
            self.on_event(topic, stamp, payload)

    def carry_request(self, place: int) -> None:
        """A request reaches the broker, which answers at once; the answer sets off."""
        if not self.control:
            return
        self.control.rotate(-(place % len(self.control)))
        request, done = self.control.popleft()
        page, records = _answer(self.world.broker, request)
        self.answers.append(partial(done, page, self.events_of(records)))

    def carry_answer(self, place: int) -> None:
        if self.answers:
            self.answers.rotate(-(place % len(self.answers)))
            self.answers.popleft()()

    def lose_request(self, place: int) -> None:
        """One that the upstream asked gets lost on its way."""
        lost = [item for item in self.control if not _is_of_hub(item[0])]
        if lost:
            self.control.remove(lost[place % len(lost)])

    def lose_requests(self) -> None:
        """All are lost. The link tells who reads the log so, in time; the upstream asks again by itself."""
        for request, done in self.control:
            if _is_of_hub(request):
                error = ControlTimeout("the broker", 1.0)
                self.answers.append(partial(done, error, self.events_of(b"")))
        self.control.clear()

    def _command(self, is_on: bool, topic: bytes) -> None:
        if is_on:
            self.filters.append(topic)
        elif topic in self.filters:
            self.filters.remove(topic)
        if self._is_connected:
            self.commands.append((is_on, topic))

    @property
    def is_quiet(self) -> bool:
        return not (self.commands or self.feed or self.control or self.answers or not self._knows_connected)


class Gateway(Node):
    """A gateway with its hub."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        rules = world.rules
        self.later: deque[Callable[[], None]] = deque()
        self.log = BrokerLog(
            self.read_log,
            lambda: None,
            LIMITS["history"],
            epoch=lambda: self.hub.epoch,
            later=self.later.append,
            wait=lambda seconds, call: self.later.append(call),
            clock=lambda: world.now_s,
        )
        hub_class = Hub if 12 in rules else Candid
        self.hub = hub_class(
            Ring(world.ring_bytes), self.log, self.later.append, lambda: world.now_s,
            publishing=PlayedPublishing(), limits=LIMITS, linger_s=3,
        )  # fmt: skip
        self.upstream = Unruly(self.hub, self, rules)
        self.hub.needs.upstream = self.upstream
        self.flushing: Any = None
        self.connect()

    # upstream.Link

    def ask_replay(self, number: int, prefixes: Sequence[str], after: int, upto: int) -> None:
        request = control.Replay(id=1, prefixes=tuple(prefixes), after=after, upto=upto, limit=3)
        self.control.append((request, lambda page, events: self.upstream.on_replay(number, page, events)))

    def ask_tails(self, number: int, prefixes: Sequence[str], after: int) -> None:
        request = control.Tails(id=1, prefixes=tuple(prefixes), after=after)
        self.control.append((request, lambda page, events: self.upstream.on_tails(number, page)))

    def read_log(self, request: Any, done: Any) -> None:
        """For the hub, through the real BrokerLog; in pages small enough for there to be many."""
        limit = request.limit if isinstance(request, control.Last) else 2
        self.control.append((msgspec.structs.replace(request, limit=limit), done))

    def events_of(self, records: bytes) -> Records:
        return Records(records)

    def on_connected(self, now_s: float) -> None:
        self.upstream.on_connected(now_s)

    def on_event(self, topic: bytes, stamp: bytes, payload: bytes) -> None:
        self.upstream.on_event(Event(topic, stamp, payload))

    def on_marker(self, number: int, at: Head, now_s: float) -> None:
        self.upstream.on_marker(number, at, now_s)

    def on_beat(self, at: Head, now_s: float) -> None:
        self.upstream.on_beat(at, now_s)

    def turn(self) -> None:
        """A step of the gateway's loop: callbacks, then a piece of a flush."""
        for _ in range(len(self.later)):
            self.later.popleft()()
        if self.flushing is None and (self.hub.is_dirty or self.hub.seen != self.hub.flushed):
            self.flushing = self.hub.flush()
        if self.flushing is not None:
            try:
                next(self.flushing)
            except StopIteration:
                self.flushing = None

    def tick(self) -> None:
        self.upstream.tick(self.world.now_s)
        self.hub.expire()
        self.log.expire()

    @property
    def is_quiet(self) -> bool:
        return super().is_quiet and not (self.later or self.flushing or self.hub.is_dirty)


class World:
    """Everything together, and the check at the end."""

    def __init__(
        self,
        folder: Path,
        *,
        durability: Durability = "process",
        off: int | None = None,
        gateways: int = 2,
        keep: Keep | None = None,
        ring_bytes: int = 3_000,
        reverse_filters: bool = False,
        shuffle: int = 0,
    ) -> None:
        self.rules = frozenset(range(1, 19)) - {off}
        self.now_s = 0.0
        self.ring_bytes, self.reverse_filters, self.shuffle = ring_bytes, reverse_filters, shuffle
        keep = keep or Keep(events=1_000)
        self.broker = Broker(folder, durability, self.rules, keep)
        self.gateways = [Gateway(self, f"g{n}") for n in range(gateways)]
        self.programs: list[Node] = []  # that read events as gateways do
        self.sockets: list[Socket] = []
        self.connects = 0
        self.saved: Path | None = None

    @property
    def nodes(self) -> list[Node]:
        return [*self.gateways, *self.programs]

    # What happens

    def publish(
        self,
        topics: Sequence[str],
        drop_at: int | None = None,
        is_killed: bool = False,
        is_counted: bool = True,
    ) -> None:
        """Events are logged, then forwarded; one gateway's high-water mark may be reached, and the
        broker be killed before it forwards. Of 32 drops that come to be the counter tells nothing."""
        before = self.broker.save() if is_killed and 10 not in self.rules else None
        events = self.broker.append(topics)
        if is_killed and 10 in self.rules:
            self.kill_broker()  # committed, not forwarded
            return
        if drop_at is not None:
            self.broker.drops += 1 if is_counted else DROPS_MODULO
        for place, node in enumerate(self.nodes):
            for topic, stamp, payload in events:
                if place != drop_at:
                    node.send((topic, _with_drops(stamp, self.broker.drops), payload))
        if before is not None:
            self.kill_broker(before)  # forwarded, not committed

    def beat(self, drop_at: int | None = None) -> None:
        payload = control.encode(self.broker.head())
        for place, node in enumerate(self.nodes):
            if place != drop_at:
                node.send((b"$broker/beat", _stamp(self.broker.drops), payload))

    def kill_broker(self, disk: Path | None = None) -> None:
        if disk is not None:
            self.broker.roll_back(disk)
        else:
            self.broker.kill()
        self._reconnect_all()

    def lose_power(self) -> None:
        self.broker.lose_power(self.saved)
        self.saved = None
        self._reconnect_all()

    def _reconnect_all(self) -> None:
        for node in self.nodes:
            node.disconnect()
            node.lose_requests()
            node.connect()

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        for node in self.nodes:
            node.tick()

    def connect(self, client: Client, gateway: int, room: int = 1 << 30) -> Socket:
        self.connects += 1
        number = self.connects ^ self.shuffle
        socket = Socket(self.gateways[gateway % len(self.gateways)].hub, client, room, number)
        self.sockets.append(socket)
        socket.hub.add(socket)
        return socket

    def cut_off(self, socket: Socket) -> None:
        """The connection breaks: what was on its way is gone."""
        if socket.is_open:
            socket.is_open = False
            socket.hub.remove(socket)
            self.sockets.remove(socket)

    def replace_gateway(self, place: int) -> None:
        """kill -9 and restart."""
        place %= len(self.gateways)
        old = self.gateways[place]
        for socket in [socket for socket in self.sockets if socket.hub is old.hub]:
            self.cut_off(socket)
        self.gateways[place] = Gateway(self, old.name + "x")

    def talk(self, socket: Socket) -> None:
        """What the client says arrives."""
        outbox, socket.client.outbox = socket.client.outbox, []
        for said in outbox:
            if isinstance(said, str):
                socket.receive(said)
            else:
                socket.command(said)

    # The end

    def settle(self) -> None:
        """No more faults: everything that is on its way arrives, beats come, everybody reads."""
        for _ in range(12):
            self.beat()
            self._run_dry()
            self.wait(1.0)
            self._run_dry()

    def _run_dry(self) -> None:
        for _ in range(2_000):
            for node in self.nodes:
                node.carry_command()
                node.deliver()
                node.carry_request(0)
                node.carry_answer(0)
                node.turn()
                node.read_all()
            for socket in list(self.sockets):
                self.talk(socket)
                socket.read(1 << 30)
            if all(node.is_quiet for node in self.nodes):
                return
        raise AssertionError("the world does not come to rest")

    def losses(self, client: Client) -> list[str]:
        """What the client lacks and was not told of."""
        found = []
        order = {epoch: place for place, epoch in enumerate(self.broker.epochs)}

        def place(position: Position) -> tuple[int, int]:
            return order[position.epoch], position.seq

        for subscription in client.subscriptions.values():
            if not subscription.is_replied or subscription.start is None:
                found.append(f"{subscription.pattern.text} was never answered")
                continue
            ledger = self.broker.ledger
            if subscription.delivery != "all":
                ledger = [(position, topic) for topic, position in self._newest().items()]
            for position, topic in ledger:
                newest = client.newest.get(topic)
                # What the log has from before an epoch is told again in that one's name.
                is_newest = newest and newest.seq == position.seq and place(newest) >= place(position)
                if subscription.delivery != "all" and is_newest:
                    continue
                if position in subscription.seen or not subscription.pattern.matches(topic):
                    continue
                if place(position) <= place(subscription.start):
                    continue
                if not any(
                    (hole.pattern.matches(topic) or hole.pattern.text in (topic, subscription.pattern.text))
                    and hole.after.epoch in order
                    and place(hole.after) < place(position) < place(hole.before)
                    for hole in client.holes
                ):
                    found.append(f"{subscription.pattern.text} lacks {topic} at {position}")
        return found

    def miscounts(self, client: Client) -> list[str]:
        """Gaps that say how many events are gone, and are wrong."""
        found = []
        for hole in client.holes:
            if hole.lost is None:
                continue
            due = {
                position
                for position, topic in self.broker.ledger
                if topic == hole.pattern.text
                and position.epoch == hole.before.epoch
                and hole.after.seq < position.seq < hole.before.seq
            }
            # What came after the word of it was not gone, unless it was only late. What came before may be.
            had = due & {at for each in client.subscriptions.values() for at in each.seen}
            stood = had - hole.had if hole.cause == "retention" else set()
            if not len(due - had) <= hole.lost <= len(due - stood):
                found.append(f"{hole}: of {sorted(due)} it had {sorted(hole.had)}, and now {sorted(had)}")
        return found

    def _newest(self) -> dict[str, Position]:
        """Of each topic, whatever became of its log."""
        return {topic: position for position, topic in self.broker.ledger}

    def close(self) -> None:
        self.broker.log.abandon()


def _is_of_hub(request: Any) -> bool:
    return isinstance(request, control.Last) or bool(request.patterns)


def _stamp(drops: int, seq: int = 0, epoch: int = 0) -> bytes:
    return STAMP.pack(1, drops % DROPS_MODULO << DROPS_SHIFT, 0, 0, epoch, seq, 0, 0)


def _with_drops(stamp: bytes, drops: int) -> bytes:
    version, flags, *rest = STAMP.unpack(stamp)
    return STAMP.pack(version, flags | drops % DROPS_MODULO << DROPS_SHIFT, *rest)


def _head(payload: bytes) -> Head:
    return msgspec.json.decode(payload, type=Head)


def _answer(broker: Broker, request: Any) -> tuple[Any, bytes]:
    at, log = broker.head(), broker.log
    if isinstance(request, control.Replay):
        select = Selector(request.patterns, request.prefixes)
        events, through, damaged = log.replay(select, request.after, request.upto, request.limit)
        holes = log.holes(select, request.after, request.upto)
        page = ReplayPage(at=at, through=through, damaged=damaged, holes=holes)
        return page, pack_records(events)
    if isinstance(request, control.Last):
        events, truncated, damaged = log.last(
            Selector(request.patterns), request.count, request.upto, request.limit
        )
        last = control.LastPage(at=at, truncated=truncated, damaged=damaged)
        return last, pack_records(events)
    if isinstance(request, control.Newest):
        events, through, damaged = log.newest(
            Selector(request.patterns), request.after, request.upto, request.limit
        )
        newest = control.NewestPage(at=at, through=through, damaged=damaged)
        return newest, pack_records(events)
    tails, through = log.tails(Selector(request.patterns, request.prefixes), request.after)
    return control.TailsPage(at=at, tails=tails, through=through), b""


__all__ = ["Client", "World"]
