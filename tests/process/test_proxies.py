"""The proxies' configurations as they are shipped: real nginx and HAProxy before gateways of two hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from websockets.sync.client import connect

from deploy.parent import end_with_parent
from gateway.socketio.sids import new_sid, owner_of
from tests.support.ports import is_listening, reserved_ports
from tests.support.processes import REPO, Broker, Gateway, Service
from tests.support.processes import broker as running_broker
from tests.support.processes import gateway as running_gateway
from tests.support.sending import numbered, push
from tests.support.sse import event_stream
from tests.support.waiting import DEADLINE_S, wait_for
from tests.support.websocket import Client

UNPACKED = REPO / ".venv" / "proxies"
HOSTS = {"a": "192.0.2.1:8000", "b": "192.0.2.2:8000"}  # as the configurations have them


class Behind(NamedTuple):
    """A set of two hosts behind a proxy."""

    url: str
    broker: Broker
    gateways: dict[str, Gateway]  # by their ids


def program(name: str) -> str:
    found = shutil.which(name, path=UNPACKED / "usr" / "sbin") or shutil.which(name)
    if found is None:
        # It is made in one piece, or not at all.
        assert not UNPACKED.exists(), f"{UNPACKED} has no {name}: remove it, then `make proxies`"
        # Nothing played could stand for it: what is asked is how the real one takes these configurations.
        pytest.skip(f"{name} is not here: `make test` fetches it, where there is apt-get and a network")
    return found


def nginx(folder: Path, config: str, port: int) -> list[str]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    text = config.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("http {", f"http {{ {places}", 1)
    (folder / "nginx.conf").write_text(text.replace("65536", "1024"))
    # Else the workers would not reach the folder.
    user = "user root; " if os.geteuid() == 0 else ""
    more = f"{user}daemon off; pid {folder}/nginx.pid;"
    return [program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", more]


def haproxy(folder: Path, config: str, port: int) -> list[str]:
    file = folder / "haproxy.cfg"
    file.write_text(config.replace("bind :80", f"bind 127.0.0.1:{port}").replace("100000", "1000"))
    return [program("haproxy"), "-db", "-f", str(file)]


@contextmanager
def proxying(args: list[str], folder: Path, port: int) -> Iterator[None]:
    said = folder / "proxy.log"
    libraries = [str(path) for path in (UNPACKED / "usr" / "lib").glob("*-linux-gnu")]
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")])}
    with said.open("wb") as out:
        made = subprocess.Popen(
            args, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, preexec_fn=end_with_parent
        )
    with made:
        try:
            wait_for(
                lambda: made.poll() is not None or is_listening(port),
                what=lambda: f"{args[0]}: {said.read_text()}",
            )
            assert made.poll() is None, said.read_text()
            yield
        finally:
            made.terminate()
            made.wait()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, dict[str, Gateway]]]:
    """Two gateways a host."""
    folder = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(folder))
        gateways: dict[str, Gateway] = {}
        for host in HOSTS:
            port = "0"
            for number in (0, 1):
                made = running_gateway(folder, broker, number, host_id=host, port=port)
                gateways[f"{host}0{number}"] = started = stack.enter_context(made)
                port = started.address["url"].rsplit(":", 1)[1]
        yield broker, gateways
        for each in gateways.values():
            each.kill()  # sessions that are still open have eight seconds


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((nginx, "nginx.conf"), id="nginx"),
        pytest.param((haproxy, "haproxy.cfg"), id="haproxy"),
    ],
)
def behind(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    hosts: tuple[Broker, dict[str, Gateway]],
) -> Iterator[Behind]:
    arguments: Callable[[Path, str, int], list[str]]
    arguments, name = request.param
    broker, gateways = hosts
    folder = tmp_path_factory.mktemp("proxy")
    text = (REPO / "deploy" / name).read_text()
    for host, address in HOSTS.items():
        text = text.replace(address, gateways[f"{host}00"].address["url"].removeprefix("http://"))
    with reserved_ports(1) as (port,), proxying(arguments(folder, text, port), folder, port):
        yield Behind(f"http://127.0.0.1:{port}", broker, gateways)


def ask(behind: Behind, query: str, body: bytes | None = None) -> tuple[int, str]:
    """Over a connection of its own."""
    request = urllib.request.Request(f"{behind.url}/socket.io/?EIO=4&transport={query}", body)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def opened(behind: Behind) -> str:
    """The sid of a new session."""
    status, told = ask(behind, "polling")
    assert status == 200, told
    return str(json.loads(told[1:])["sid"])


def total(gateway: Service, name: str) -> float:
    with urllib.request.urlopen(gateway.address["admin"] + "/metrics", timeout=DEADLINE_S) as answer:
        found = re.search(rf"^penstock_{name}_total (\S+)", answer.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def test_sessions_of_all_gateways_are_polled(behind: Behind) -> None:
    sids: dict[str, str] = {}

    def has_one_of_each() -> bool:
        sid = opened(behind)
        sids[owner_of(sid) or sid] = sid
        return sids.keys() == behind.gateways.keys()

    wait_for(has_one_of_each, what=lambda: f"a session on each gateway, not only {sorted(sids)}")
    for sid in sids.values():
        assert ask(behind, f"polling&sid={sid}", b"40") == (200, "ok")
        assert ask(behind, f"polling&sid={sid}")[1].startswith("40{")

    def polled_everywhere() -> bool:
        # Which gateway of its host gets a connection is up to the kernel.
        for sid in sids.values():
            assert ask(behind, f"polling&sid={sid}", b"3") == (200, "ok")
        return all(total(each, "taken_over") for each in behind.gateways.values())

    wait_for(polled_everywhere, what="one handed over to each gateway")


def test_a_session_becomes_a_websocket(behind: Behind) -> None:
    sid = opened(behind)
    url = behind.url.replace("http", "ws") + f"/socket.io/?EIO=4&transport=websocket&sid={sid}"
    with connect(url, proxy=None) as socket:
        socket.send("2probe")
        assert socket.recv(DEADLINE_S) == "3probe"


def test_a_session_that_nobody_has_is_unknown(behind: Behind) -> None:
    for sid in (new_sid("a55"), new_sid("b00"), new_sid("c00"), "made-up"):
        status, told = ask(behind, f"polling&sid={sid}")
        assert (status, json.loads(told)) == (400, {"code": 1, "message": "Session ID unknown"})


def test_websockets_and_event_streams_go_anywhere(behind: Behind) -> None:
    with Client() as client, event_stream(behind.url, "through/a", history=10) as stream:
        client.connect(behind.url)
        subscription = client.subscribe("through/a")
        push(behind.broker.address["push"], numbered("through/a", range(3)))
        client.read_events(subscription, 3)
        # Held back by the proxy, they would not come while the stream is open.
        seen: list[int] = []
        for block in stream.told():
            if "data" in block.told:
                seen.append(block.told["data"]["n"])
            if seen[-1:] == [2]:
                break
    assert seen[-3:] == [0, 1, 2]


def test_the_page_comes_through(behind: Behind) -> None:
    with urllib.request.urlopen(behind.url, timeout=DEADLINE_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
