"""The bench measures what it says: small loads over real processes, and losses that it must notice."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from deploy.load import loads
from deploy.load.browsers import Connect, Done
from deploy.load.errors import Failed
from deploy.load.figure import Figure
from deploy.load.loads import Found, Opening
from deploy.load.names import CONFIRMED, CPU, CPU_CONNECT, CPU_WITH_BROKER, DELIVERED, MEMORY
from deploy.load.payload import PAYLOAD_BYTES, ending, payload, spread, stamped
from deploy.load.program import program
from deploy.load.server import Processes
from deploy.load.stage import Rounds, staged
from deploy.load.stream import Publish, Published
from gateway.frames import text_frame
from tests.bench import __main__ as bench
from tests.bench import topics
from tests.bench.comparison import Run, Target, compare, summary, table
from tests.bench.confirmed_producer import Confirm, Confirmed
from tests.bench.forms import forms
from tests.bench.ours import (
    RAW_NAME,
    SOCKET_IO_NAME,
    penstock,
    penstock_raw,
    penstock_socket_io,
    python_floor,
)
from tests.bench.peers.jetstream_producer import Occurrences
from tests.bench.peers.peer import LeftOut
from tests.bench.polling import CPU_POLL, polling
from tests.bench.replay import OLD, TOPICS, measure, replay
from tests.bench.replay_reader import Messages
from tests.bench.tables import tables
from tests.bench.targets import P99_MEANWHILE, REPLAYED
from tests.bench.topics_crowd import Follow
from tests.support import processes
from tests.support.log import status
from tests.support.processes import REPO, environment

PORTION = payload(1, 10) + b"}\x81\x7e\x00\x99" + payload(2, 20)
SAID = "saturates at 100/s (1 of 2 clients lack the last event)"


def test_a_payload_has_the_size_that_the_figures_name() -> None:
    assert len(payload(1, 1)) == len(payload(999_999_999, 10**18)) == PAYLOAD_BYTES
    assert payload(7, 1).endswith(ending(7))


@pytest.mark.parametrize("cut", [0, 1, 100, 128, 130, 200, len(PORTION)])
def test_events_are_found_wherever_a_read_cuts_them(cut: int) -> None:
    first, rest = stamped(PORTION[:cut])
    then, _ = stamped(rest + PORTION[cut:])
    assert first + then == [(1, 10), (2, 20)]


@pytest.mark.parametrize("opening", [penstock, penstock_raw, penstock_socket_io])
def test_a_load_counts_a_delivery_for_each_event_and_client(opening: Opening) -> None:
    with opening() as server, staged(server, "t", clients=3) as stage:
        load = stage.load(50, rate=1_000)
    assert load.deliveries == 150
    assert load.is_whole
    assert (load.received.complete, load.received.missed, load.received.lost) == (3, 0, 0)
    assert load.received.p99_ms >= load.received.p50_ms > 0
    assert load.sends and load.sends <= load.deliveries


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        pytest.param([1, 2, 3], "", id="all came"),
        pytest.param([1, 2], "2 of 2 clients lack the last event", id="the last one did not"),
        pytest.param([1, 3], "2 events missing or out of order", id="one in the middle did not"),
        pytest.param([1, 2, 2, 3], "2 events missing or out of order", id="one came twice"),
    ],
)
def test_a_load_notices_what_is_not_as_it_should_be(
    numbers: list[int], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.load.stage.PATIENCE_S", 0.5)
    with python_floor() as server:

        def publish(request: Publish) -> Published:
            """Those numbers instead, after the warm-up."""
            if request.first == 1:
                return server.publish(request)
            for number in numbers:
                one = Publish(request.topic, request.first + number - 1, 1, request.rate)
                published = server.publish(one)
            return Published(request.count, request.count / request.rate, published.ended_ns)

        with staged(replace(server, publish=publish), "t", clients=2) as stage:
            load = stage.load(3, rate=1_000)
    assert load.is_whole == (not found)
    assert found in load.maybe_why()


@pytest.mark.parametrize(
    ("lag_max_s", "sustained"),
    [pytest.param(60.0, 2, id="sustained"), pytest.param(-60.0, 0, id="saturated")],
)
def test_what_is_delivered_at_most_is_told_at_last(
    lag_max_s: float, sustained: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.load.stage.RATE_AT_LEAST", 0.0)  # the machine may be busy
    monkeypatch.setattr("deploy.load.stage.LAG_MAX_S", lag_max_s)
    *found, most = loads.fanout(python_floor, "t", [20, 40], Rounds(1, 0.5), clients=3)
    delivered = [each.value or 0 for figures in found for each in figures if each.name == DELIVERED]
    assert len(delivered) == sustained
    assert {(each.bench, each.load) for each in most} == {("most", "3 clients, at most")}
    at_most, by_a_core = (each.value or 0 for each in most)
    assert by_a_core >= at_most >= max(delivered, default=1)


@pytest.mark.parametrize(("lag_max_s", "said"), [(60.0, ""), (-60.0, "saturates at")])
def test_forms_are_measured_beside_each_other(
    lag_max_s: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.load.stage.RATE_AT_LEAST", 0.0)
    monkeypatch.setattr("deploy.load.stage.LAG_MAX_S", lag_max_s)
    figures = list(itertools.chain(*forms("t", [50, 60], Rounds(3, 0.2), clients=3)))
    of_each = {name: [each for each in figures if each.server == name] for name in (RAW_NAME, SOCKET_IO_NAME)}
    for found in of_each.values():
        costs = [each for each in found if each.name == CPU]
        assert [each.load for each in costs] == ["3 clients, 50/s", "3 clients, 60/s"]
        assert all(each.why.startswith(said) and bool(each.value) == (not said) for each in costs)
        assert [each.bench for each in found][-2:] == ["most", "most"]
    assert len(figures) == sum(map(len, of_each.values()))


def test_clients_that_poll_are_measured() -> None:
    between, waiting = polling(connections=3)
    assert [each.name for each in between] == [MEMORY, CPU_CONNECT]
    assert between[1].value and waiting[1].value and waiting[1].name == CPU_POLL


def test_of_many_topics_each_client_must_get_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty topics here, of which every client follows ten: each event is for about half of them."""
    monkeypatch.setattr("tests.bench.topics.TOPICS", 20)
    monkeypatch.setattr("tests.bench.topics.RATE", 200)
    monkeypatch.setattr("tests.bench.topics.LAG_MAX_S", 60.0)
    with penstock() as server, program("tests.bench.topics_crowd") as browsers:

        def all_but_the_last(request: Publish) -> Published:
            return server.publish(msgspec.structs.replace(request, count=request.count - 1))

        browsers.ask(Connect(server.host, server.port, 40, server.dialect, "t"), Done)
        browsers.ask(Follow("t", topics=20, each=10), Done)
        stage = topics.Stage(server, Processes(()), browsers, "t")
        assert stage.load(count=40, changes=10).maybe_why() == ""
        monkeypatch.setattr("tests.bench.topics.PATIENCE_S", 0.0)
        stage = topics.Stage(replace(server, publish=all_but_the_last), Processes(()), browsers, "t")
        said = stage.load(count=40, changes=10).maybe_why()
    assert re.fullmatch(r"0 connections were closed, [1-9]\d* lack events", said)


@pytest.mark.parametrize("count", [1, 20, 10_000])
def test_events_spread_evenly_over_topics(count: int) -> None:
    each = Counter(spread(number, count) for number in range(1, 10 * count + 1))
    assert each.keys() == set(range(count))
    assert max(each.values()) <= 20


FRAMES = (
    text_frame(b'{"welcome":{}}') + text_frame(b'{"a":1}\n{"b":2}\n{"c":3}') + text_frame(b"x" * 70_000)
    + text_frame(b"\n".join([b'{"d":4}'] * 100)) + text_frame(b'{"reply":1}')
)  # fmt: skip


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1_000, 65_536, len(FRAMES)])
def test_objects_are_counted_wherever_a_read_cuts_them(step: int) -> None:
    messages = Messages()
    short = []
    for at in range(0, len(FRAMES), step):
        messages.feed(bytearray(FRAMES[at : at + step]) + b"\n\n", len(FRAMES[at : at + step]))
        short.append(messages.maybe_short)
    assert (messages.objects, messages.size) == (1 + 3 + 1 + 100 + 1, len(FRAMES))
    assert messages.maybe_short == b'{"reply":1}'
    assert step > 7 or b'{"welcome":{}}' in short


@pytest.mark.parametrize("step", [1, 2, 5, 6, 7, 100])
def test_a_word_is_counted_wherever_a_read_cuts_it(step: int) -> None:
    data, found = b'{"seq":1}{"seq":2}"seq{"seq":"seq":' * 3, Occurrences(b'"seq":')
    for at in range(0, len(data), step):
        found.feed(data[at : at + step])
    assert found.count == data.count(b'"seq":') == 12


def test_a_replay_is_measured_and_whatever_it_lacks_is_noticed() -> None:
    found = {each.name: each.value for each in replay(Rounds(1, 0.2), events=3_000)}
    assert found[REPLAYED] and found[P99_MEANWHILE] and found["CPU of the gateway an event"]
    with penstock() as server, staged(server, "live", clients=1) as stage:
        server.publish(Publish(OLD, 1, 10, rate=1_000, topics=TOPICS))
        stage.load(5, rate=1_000)
        with pytest.raises(AssertionError, match="events=10"):
            measure(server, stage, 11, 0.01)


def test_what_is_confirmed_is_in_the_log(tmp_path: Path) -> None:
    with (
        processes.broker(tmp_path) as broker,
        program("tests.bench.confirmed_producer", broker.address["control"]) as producer,
    ):
        confirmed = producer.ask(Confirm(topics=3, seconds=0.2), Confirmed)
        logged = status(broker.address["control"])
    assert confirmed.count and logged.logged == confirmed.count + 1  # with the one by which the link is known
    assert logged.topics == 3


def figure(server: str, value: float | None, *, name: str = CPU, why: str = "") -> Figure:
    return Figure(bench="fanout", load="20/s", server=server, name=name, unit="µs", value=value, why=why)


FOUND = [figure("penstock", 5.0), figure("penstock", 6.0, name=CPU_WITH_BROKER)]
OTHERS = ("nats", "other")
AT_MOST_HALF = Target("fanout", "20/s", CPU, "nats", at_most=0.5)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        pytest.param(
            [*FOUND, figure("nats", 10.0)], "to nats 0.5, 0.6 with the broker's at most 0.5", id="held"
        ),
        pytest.param(
            [*FOUND, figure("nats", 8.0)],
            "to nats 0.625, 0.75 with the broker's at most 0.5 MISSED",
            id="missed",
        ),
        pytest.param([*FOUND, figure("nats", None, why=SAID)], f"to nats no ratio: {SAID}", id="saturated"),
        pytest.param(
            [figure("penstock", None, why=SAID), figure("nats", 8.0)],
            f"to nats no ratio: ours {SAID} MISSED",
            id="ours saturated",
        ),
        pytest.param(FOUND, "to nats no ratio: left out", id="left out"),
        pytest.param([*FOUND, figure("other", 5.0)], "to other 1, 1.2 with the broker's", id="no target"),
    ],
)
def test_ours_is_set_beside_theirs(figures: list[Figure], told: str) -> None:
    left_out = {"nats": "not installed"} if told.endswith("left out") else {}
    compared = list(compare(figures, [AT_MOST_HALF], left_out, own="penstock", others=OTHERS))
    head, said = table(compared)
    assert head.split() == ["fanout", "20/s:", "penstock,", *CPU.split()]
    assert " ".join(said.split()) == told
    assert ("1 MISSED" in summary(compared)) == told.endswith("MISSED")


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        pytest.param(150.0, "to nats 1.5 at least 1", id="held"),
        pytest.param(90.0, "to nats 0.9 at least 1 MISSED", id="missed"),
    ],
)
def test_of_some_things_more_is_better(ours: float, told: str) -> None:
    def rate(server: str, value: float) -> Figure:
        return Figure(bench="confirmed", load="x", server=server, name=CONFIRMED, unit="", value=value)

    target = Target("confirmed", "x", CONFIRMED, "nats", at_least=1)
    figures = [rate("penstock", ours), rate("nats", 100.0)]
    _, said = table(compare(figures, [target], {}, own="penstock", others=OTHERS))
    assert " ".join(said.split()) == told


@pytest.mark.parametrize(
    ("target", "told"),
    [
        pytest.param(Target("fanout", "20/s", CPU, at_most=5), "ours 5 µs at most 5", id="held"),
        pytest.param(Target("fanout", "20/s", CPU, at_most=4), "ours 5 µs at most 4 MISSED", id="too much"),
        pytest.param(
            Target("fanout", "20/s", CPU, at_least=6), "ours 5 µs at least 6 MISSED", id="too little"
        ),
    ],
)
def test_ours_is_set_beside_what_is_wanted(target: Target, told: str) -> None:
    _, said = table(compare(FOUND, [target], {}, own="penstock", others=OTHERS))
    assert " ".join(said.split()) == told


def test_what_a_run_wrote_makes_the_tables_of_the_docs() -> None:
    figures = [*FOUND, figure("nats", None, why=SAID)]
    targets = [AT_MOST_HALF, Target("fanout", "20/s", CPU, at_most=4)]
    compared = list(compare(figures, targets, {}, own="penstock", others=OTHERS))
    lines = list(tables(Run({"cores": "2"}, figures, compared, {"ws": "not installed"})))
    assert {
        "| 20/s | 5 µs | saturates at 100/s |",
        f"| 20/s: {CPU} | saturates at 100/s |",
        f"| 20/s: {CPU} | 5 µs (at most 4, MISSED) |",
        "ws was left out: not installed",
    } <= set(lines)


def test_each_of_ours_has_targets_and_others_of_its_own() -> None:
    figures = [figure("penstock", 5.0), figure("another", 9.0), figure("nats", 10.0)]
    targets = [
        Target("fanout", "20/s", CPU, "penstock", at_most=1.5, of="another"),
        Target("fanout", "20/s", CPU, at_most=4),
    ]
    lines = list(table(compare(figures, targets, {}, own="another", others=["penstock"])))
    assert [" ".join(each.split()) for each in lines] == [
        f"fanout 20/s: another, {CPU}",
        "to penstock 1.8 at most 1.5 MISSED",
    ]


def test_a_target_of_what_was_not_measured_is_not_spoken_of() -> None:
    elsewhere = Target("idle", "10,000 idle", CPU, at_most=1)
    assert list(compare(FOUND, [elsewhere], {}, own="penstock", others=OTHERS)) == []


def test_who_cannot_be_had_is_left_out_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    def found_by(which: str, server: str, opening: Opening) -> Iterator[Found]:
        if server == "nats":
            raise LeftOut("nats-server is not installed")
        yield [figure(server, 1.0)]

    servers = dict.fromkeys(["penstock", "nats", "socketify"], penstock)
    figures, left_out = bench.measure(["fanout", "latency"], servers, found_by)
    assert [each.server for each in figures] == ["penstock", "socketify"] * 2
    assert left_out == {"nats": "nats-server is not installed"}
    assert "nats is left out: nats-server is not installed" in capsys.readouterr().out


def test_who_has_not_begun_when_the_time_is_over_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def found_by(which: str, server: str, opening: Opening) -> Iterator[Found]:
        yield [figure(server, 1.0)]

    assert bench.measure(["fanout"], {"penstock": penstock}, found_by, time_s=-1.0)[0] == []
    assert "penstock is left out: the time was over" in capsys.readouterr().out


def test_what_goes_wrong_with_ours_is_not_left_out() -> None:
    def found_by(which: str, server: str, opening: Opening) -> Iterator[Found]:
        raise Failed("the gateway ended")
        yield

    with pytest.raises(Failed, match="the gateway ended"):
        bench.measure(["fanout"], {"penstock": penstock}, found_by)


# penstock bench


def measured(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", "bench", *args],
        cwd=REPO,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_set_that_runs_is_measured(tmp_path: Path) -> None:
    with processes.broker(tmp_path) as broker, processes.gateway(tmp_path, broker) as gateway:
        at = ["--url", gateway.address["url"], "--admin", gateway.address["admin"]]
        at += ["--push", broker.address["push"], "--broker-admin", broker.address["admin"]]
        few = ["--clients", "3", "--rate", "50", "--seconds", "0.5", "--connections", "20"]
        found = measured(*at, *few, "--only", "fanout", "--only", "idle", "--json")
    assert found.returncode == 0, found.stderr
    figures = json.loads(found.stdout)["figures"]
    names = {(each["bench"], each["load"], each["name"]) for each in figures}
    assert {("fanout", "3 clients, 50/s", CPU), ("idle", "20 idle, one topic", MEMORY)} <= names
    assert found.stderr.splitlines()[0].split()[:5] == ["fanout", "3", "clients,", "50/s", "penstock"]


def test_a_set_whose_processes_say_nothing_of_themselves_is_measured_from_outside(tmp_path: Path) -> None:
    with processes.broker(tmp_path) as broker, processes.gateway(tmp_path, broker) as gateway:
        at = ["--url", gateway.address["url"], "--push", broker.address["push"]]
        at += ["--admin", "http://127.0.0.1:1", "--broker-admin", "http://127.0.0.1:1"]
        found = measured(*at, "--only", "fanout", "--clients", "3", "--rate", "50", "--seconds", "0.5")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("fanout") and "µs" not in found.stdout


@pytest.mark.parametrize("missing", ["--url", "--push"])
def test_who_is_not_there_is_named(missing: str, tmp_path: Path) -> None:
    with processes.broker(tmp_path) as broker, processes.gateway(tmp_path, broker) as gateway:
        at = {"--url": gateway.address["url"], "--push": broker.address["push"]}
        at[missing] = "tcp://127.0.0.1:1" if missing == "--push" else "http://127.0.0.1:1"
        found = measured(*itertools.chain(*at.items()), "--only", "fanout", "--clients", "1")
    assert found.returncode == 69
    assert found.stderr.startswith("penstock: no ") and missing in found.stderr
