"""Networks that carry nothing for a while: a gateway behind one says so, and catches up or tells."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from broker import control
from broker.control import PAGE_EVENTS, DemandPage
from tests.support.lacking import KEEP, assert_exact, assert_has_all, distant, logs
from tests.support.log import ask, logged, status
from tests.support.processes import Broker
from tests.support.processes import broker as running_broker
from tests.support.sending import numbered
from tests.support.waiting import wait_for
from tests.support.websocket import Client

SHORT_KEEP = 10


def test_a_gateway_that_was_cut_off_tells_it_and_catches_up(tmp_path: Path) -> None:
    """Three networks at once: nothing comes down for a moment; nothing goes up, and nothing goes either
    way, until the broker takes the gateway for dead. Nobody closes anything.
    """
    retention = json.dumps([{"pattern": "short/**", "events": SHORT_KEEP}])
    with (
        running_broker(tmp_path, keep_events=KEEP, retention=retention) as broker,
        distant(tmp_path, broker, 0) as down,
        distant(tmp_path, broker, 1) as up,
        distant(tmp_path, broker, 2) as both,
        ExitStack() as open_,
    ):
        clients = [open_.enter_context(Client()) for _ in range(3)]
        for number, (client, (gateway, _, _)) in enumerate(zip(clients, (down, up, both), strict=True)):
            client.connect(gateway.address["url"])
            for pattern in ("load/*", "short/a", f"mark/{number}"):
                client.subscribe(pattern)
        logs(broker, [*numbered("load/a", [0]), *numbered("short/a", [0])])
        for client in clients:
            read_both(client, broker)

        for (_, *links), ways in zip((down, up, both), ({"up": False}, {"down": False}, {}), strict=True):
            for link in links:
                link.block(**ways)
        publish_both(broker)
        # What can come comes: the way down is open there.
        clients[1].read_events(clients[1].subscriptions["load/*"], 201)
        clients[0].read_stale(True)
        clients[2].read_stale(True)
        for link in down[1:]:
            link.heal()
        clients[0].read_stale(False)
        wait_for(lambda: not {"mark/1", "mark/2"} & wanted(broker), what="the broker lets the two go")
        publish_both(broker)
        clients[1].read_stale(True)
        for link in (*up[1:], *both[1:]):
            link.heal()

        logs(broker, [*numbered("load/a", [0]), *numbered("short/a", [0])])
        for client in clients:
            read_both(client, broker)
            assert (client.is_stale, client.close_code) == (False, None)
            assert_has_all(client.subscriptions["load/*"], broker)
            assert_exact(client, client.subscriptions["short/a"], broker)
        # What the first lacked for a moment had waited in the broker's queue; the others were cut out of it.
        assert [{gap["cause"] for gap in client.gaps} for client in clients] == [
            set(),
            {"retention"},
            {"retention"},
        ]


def publish_both(broker: Broker) -> None:
    """Events of a topic that is hardly kept, and of one that is; returns when most of them have gone."""
    newest = status(broker.address["control"]).at.head
    logs(broker, [*numbered("short/a", range(3_000)), *numbered("load/a", range(200))])
    # So few that all that is left comes in one page: of more nobody could say at once how many are gone.
    wait_for(
        lambda: len(logged(broker.address["control"], "**", newest)) < PAGE_EVENTS // 2,
        what="retention was at work",
    )


def read_both(client: Client, broker: Broker) -> None:
    """Until it has the newest of both."""
    newest = {topic: logged(broker.address["control"], topic)[-1].seq for topic in ("load/a", "short/a")}

    def has_come() -> bool:
        had = {
            event.topic: event.seq
            for name in ("load/*", "short/a")
            for event in client.subscriptions[name].events
        }
        return had == newest

    client.read_until(has_come, what=f"{newest}")


def wanted(broker: Broker) -> set[str]:
    """The prefixes that somebody listens to."""
    page, _ = ask(broker.address["control"], control.Demand(id=1), DemandPage)
    return set(page.prefixes)
