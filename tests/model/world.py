"""Broker, gateways and clients, with all that goes between them in queues that the test moves.

Real: log, upstream, ring, hub, connections, protocol. Played: sockets, clocks, libzmq. The feed keeps
the order of what it delivers, may drop at a high-water mark (and the broker counts that, as its
XPUB tells it), and after a break sends the filters again in an order of its own. The control port
answers in any order, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker import control
from broker.log import Durability
from broker.retention import Keep
from broker.wire import DROPS_MODULO, Position
from tests.model.broker import Broker, system_stamp, with_drops
from tests.model.client import Client
from tests.model.gateway import Gateway, Socket
from tests.model.node import Node


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
                    node.send((topic, with_drops(stamp, self.broker.drops), payload))
        if before is not None:
            self.kill_broker(before)  # forwarded, not committed

    def beat(self, drop_at: int | None = None) -> None:
        payload = control.encode(self.broker.head())
        for place, node in enumerate(self.nodes):
            if place != drop_at:
                node.send((b"$broker/beat", system_stamp(self.broker.drops), payload))

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
            # What still stands in the hole is not counted, and does not come where only the newest is wanted.
            least = len(due - had) if hole.is_of_all else 0
            if not least <= hole.lost <= len(due - stood):
                found.append(f"{hole}: of {sorted(due)} it had {sorted(hole.had)}, and now {sorted(had)}")
        return found

    def _newest(self) -> dict[str, Position]:
        """Of each topic, whatever became of its log."""
        return {topic: position for position, topic in self.broker.ledger}

    def close(self) -> None:
        self.broker.log.abandon()
