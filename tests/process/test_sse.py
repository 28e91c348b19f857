"""Event streams over real HTTP: resumed anywhere, after anything, and as npm's `eventsource` reads them."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.wire import Position
from gateway.stream import RECONNECT_LEAST_S
from tests.support.log import logged
from tests.support.processes import REPO, Broker, Gateway, environment
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push, stream
from tests.support.sse import AWKWARD, Block, event_stream, event_streams_js
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client, Subscription, places

KEEP = 100_000  # far more than is published: what is missing then is a loss, and no retention
FOREIGN = "00000000deadbeef.7"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker"), keep_events=KEEP) as service:
        yield service


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), broker) as service:
        yield service


def place(found: Block) -> tuple[str, int, int]:
    return found.told["topic"], found.told["seq"], found.told["nth"]


def is_past(found: Block) -> bool:
    return found.name == "message" and "history" in found.told


def test_the_head_of_an_answer(gateway: Gateway) -> None:
    with event_stream(gateway.address["url"], "head") as opened:
        assert opened.answer.status == 200
        assert dict(opened.answer.getheaders()) == {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "Connection": "close",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Origin",
        }


def test_history_comes_before_what_comes_live(broker: Broker, gateway: Gateway) -> None:
    push(broker.address["push"], numbered("past/a", range(5)) + numbered("past/b", range(5)))
    with event_stream(gateway.address["url"], "past/a", "past/*", history=2) as opened:
        *past, reply = opened.take(5)
        assert [(found.told["topic"], found.told["data"]["n"], found.id) for found in past] == [
            ("past/a", 3, None),
            ("past/a", 4, None),
            ("past/b", 3, None),
            ("past/b", 4, None),
        ]
        assert (reply.name, reply.id) == ("reply", reply.told["ok"]["position"])
        assert reply.told["ok"]["recovered"] is True
        push(broker.address["push"], numbered("past/b", [5]))
        (live,) = opened.take(1)
        assert live.told["data"] == {"n": 5}
        assert live.id == str(Position(Position.parse(opened.last_id).epoch, live.told["seq"]))


@pytest.fixture
def other(tmp_path: Path, broker: Broker) -> Iterator[Gateway]:
    with running_gateway(tmp_path, broker, number=1) as service:
        yield service


def test_a_position_of_a_websocket_goes_on_as_an_event_stream_elsewhere_and_back(
    broker: Broker, gateway: Gateway, other: Gateway
) -> None:
    here, there = gateway.address["own"], other.address["own"]
    with stream(broker.address["ingest"], "two/a", "two/b"), Client() as client:
        client.connect(here)
        followed: Subscription = client.subscribe("two/*")
        for _ in range(2):
            client.read_more(followed, 100)
            client.close()
            had = places(followed.events)
            with event_stream(there, "two/*", since=str(client.position)) as opened:
                blocks = opened.take(101)
            assert {found.name for found in blocks} == {"message", "reply"}
            assert not any(map(is_past, blocks))
            had += [place(found) for found in blocks if found.name == "message"]
            with Client() as back:
                back.connect(here)
                again = back.subscribe("two/*", since=opened.last_id)
                assert again.ok is not None
                assert again.ok["recovered"] is True
                back.read_events(again, 50)
                assert back.gaps == []
            had += places(again.events)
            kept = [event.place for event in logged(broker.address["control"], "two/*", had[0][1] - 1)]
            assert had == kept[: len(had)]
            client.connect(here)  # for the second round


def test_a_stream_whose_gateway_is_killed_goes_on_at_another(
    broker: Broker, gateway: Gateway, other: Gateway
) -> None:
    had: list[tuple[str, int, int]] = []
    last_id = ""
    with stream(broker.address["ingest"], "kill/a", "kill/b"):
        for dies in (other, gateway, other):
            with event_stream(dies.address["own"], "kill/a", "kill/b", last_event_id=last_id) as opened:
                blocks = opened.take(100)
                dies.kill()
                # What was on its way when it died.
                blocks += list(opened.told())
                dies.start()
            # Perhaps in the middle of what it was catching up with, before the reply.
            assert {found.name for found in blocks} <= {"message", "reply"}
            had += [place(found) for found in blocks if found.name == "message"]
            last_id = opened.last_id
    kept = [event.place for event in logged(broker.address["control"], "kill/*", had[0][1] - 1)]
    assert had == kept[: len(had)]


def test_one_that_does_not_read_gets_everything_when_it_does(broker: Broker, gateway: Gateway) -> None:
    count, size = 3_000, 2_000  # 6 MB: far more than the kernel holds for it
    filler = "x" * size
    with (
        event_stream(gateway.address["url"], "slow") as slow,
        event_stream(gateway.address["url"], "slow") as quick,
    ):
        for opened in (slow, quick):
            opened.take(1)
        push(
            broker.address["push"],
            [[b"slow", json.dumps({"n": number, "filler": filler}).encode()] for number in range(count)],
        )
        assert [found.told["data"]["n"] for found in quick.take(count)] == list(range(count))
        with urllib.request.urlopen(f"{gateway.address['url']}/api/status", timeout=10) as answer:
            assert json.load(answer)["gateway"]["slow"] > 0
        # It is the ring that kept these for it, and the log.
        assert [found.told["data"]["n"] for found in slow.take(count)] == list(range(count))


def newest(broker: Broker, topic: str) -> Any:
    """What the log has of it last."""
    return next(
        (json.loads(each.payload) for each in reversed(logged(broker.address["control"], topic))), None
    )


@pytest.mark.parametrize(
    ("last_event_id", "cause"),
    [
        pytest.param("no position at all", "epoch", id="somebody else's"),
        pytest.param(FOREIGN, "epoch", id="of another log"),
        pytest.param("here.999999999", "future", id="beyond the end"),
        pytest.param("here.18446744073709551615", "future", id="far beyond the end"),
    ],
)
def test_a_forged_id_is_told_as_a_gap(
    broker: Broker, gateway: Gateway, last_event_id: str, cause: str
) -> None:
    push(broker.address["push"], numbered("forged", [1]))
    wait_for(lambda: newest(broker, "forged") == {"n": 1}, what="it is in the log")
    with event_stream(gateway.address["url"], "forged") as opened:
        opened.take(1)
        here = opened.last_id.partition(".")[0]
    with event_stream(
        gateway.address["url"], "forged", last_event_id=last_event_id.replace("here", here)
    ) as opened:
        assert opened.answer.status == 200
        told = []
        for found in opened.told():
            told.append(found)
            if found.name == "reply":
                break
        gap, reply = told[0], told[-1]
        assert (gap.name, gap.id, gap.told["gap"]["cause"]) == ("gap", None, cause)
        assert reply.told["ok"]["recovered"] is False
        # From here on the browser has a position that is one.
        push(broker.address["push"], numbered("forged", [2]))
        assert [found.told["data"] for found in opened.take(1)] == [{"n": 2}]


@pytest.mark.parametrize(
    ("topics", "asked", "status", "code"),
    [
        pytest.param([], {}, 400, "bad_parameter", id="no topic"),
        pytest.param(["a**"], {}, 400, "bad_pattern", id="no pattern"),
        pytest.param(["$broker/beat"], {}, 403, "forbidden", id="the system's own"),
        pytest.param(["a"], {"history": 2_001}, 400, "bad_parameter", id="too much history"),
        pytest.param(["a"], {"since": "yesterday"}, 400, "bad_parameter", id="since no position"),
    ],
)
def test_what_is_refused_is_named(
    gateway: Gateway, topics: list[str], asked: dict[str, Any], status: int, code: str
) -> None:
    with event_stream(gateway.address["url"], *topics, **asked) as opened:
        assert opened.answer.status == status
        assert json.load(opened.answer)["error"]["code"] == code


def test_pages_of_listed_origins_are_let_in_and_no_others(tmp_path: Path, broker: Broker) -> None:
    listed, evil = "https://page.example", "https://evil.example"
    with running_gateway(tmp_path, broker, number=2, origins=json.dumps([listed])) as gateway:
        with event_stream(gateway.address["url"], "a", headers={"Origin": listed}) as opened:
            assert opened.answer.status == 200
            assert opened.answer.getheader("Access-Control-Allow-Origin") == listed
        with event_stream(gateway.address["url"], "a", headers={"Origin": evil}) as opened:
            assert opened.answer.status == 403
            assert opened.answer.getheader("Access-Control-Allow-Origin") is None


def test_a_gateway_that_stops_says_so_and_ends_the_stream(tmp_path: Path, broker: Broker) -> None:
    with (
        running_gateway(tmp_path, broker, number=2) as gateway,
        event_stream(gateway.address["url"], "a") as opened,
    ):
        # A gateway that has just begun may tell first that it hears no broker yet.
        while next(opened.told()).name != "reply":
            pass
        gateway.stop()
        rest = list(iter(opened.read, None))
    assert rest[0].retry is not None
    (told,) = [found.told["notice"] for found in rest[1:]]
    assert told["code"] == "draining"
    assert rest[0].retry == pytest.approx(1000 * (RECONNECT_LEAST_S + told["come_back_s"]), abs=51)


def test_npm_eventsource_reads_awkward_payloads_as_we_do(
    tmp_path: Path, broker: Broker, gateway: Gateway
) -> None:
    push(broker.address["push"], [[b"npm", payload] for payload in AWKWARD])
    url = f"{gateway.address['url']}/sse?topic=npm&history={len(AWKWARD)}"
    packages = REPO / "web" / "node_modules"
    assert (packages / "eventsource").is_dir(), "run `npm ci` in web/ first"
    (tmp_path / "node_modules").symlink_to(packages)
    read = event_streams_js(url, len(AWKWARD))
    (tmp_path / "read.mjs").write_text(
        f"import {{ EventSource }} from 'eventsource'\nconsole.log(JSON.stringify(await {read}))\n"
    )
    done = subprocess.run(
        ["node", "read.mjs"],
        cwd=tmp_path,
        env=environment({}),
        timeout=DEADLINE_S,
        check=True,
        stdout=subprocess.PIPE,
    )
    found: list[list[Any]] = json.loads(done.stdout)
    with event_stream(gateway.address["url"], "npm", history=len(AWKWARD)) as opened:
        ours = [[found.name, found.id or "", found.told] for found in opened.take(len(AWKWARD) + 1)]
    assert [[name, last_id, json.loads(data)] for name, last_id, data in found] == ours
