"""The proxy between two processes: what passes, what waits, and who is told that a link ended."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.proxy import Proxy, proxied
from tests.support.waiting import wait_for

MUCH = bytes(range(256)) * 4096


@contextmanager
def linked() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, and the two ends of a link through it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        way = stack.enter_context(proxied(f"tcp://127.0.0.1:{listener.getsockname()[1]}"))
        client = stack.enter_context(dial(way))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(20)
        yield way, client, server


def dial(way: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(way.address.rsplit(":", 1)[1])), timeout=20)


def read(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := source.recv(count - len(data))):
        data += piece
    return data


def test_bytes_pass_both_ways_and_are_counted() -> None:
    with linked() as (way, client, server):
        client.sendall(b"up")
        assert read(server, 2) == b"up"
        server.sendall(b"down")
        assert read(client, 4) == b"down"
        wait_for(lambda: way.carried == (2, 4), what="both counted")


@pytest.mark.parametrize("is_up", [pytest.param(True, id="up"), pytest.param(False, id="down")])
def test_a_block_one_way_leaves_the_other_open_and_what_waits_comes_when_it_heals(is_up: bool) -> None:
    with linked() as (way, client, server):
        way.block(up=is_up, down=not is_up)
        blocked, free = (client, server) if is_up else (server, client)
        blocked.sendall(b"held")
        free.sendall(b"free")
        assert read(blocked, 4) == b"free"
        free.setblocking(False)
        with pytest.raises(BlockingIOError):
            free.recv(1)
        free.settimeout(20)
        way.heal()
        assert read(free, 4) == b"held"


def test_a_sender_into_a_block_is_stopped_by_its_own_kernel() -> None:
    with linked() as (way, client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        way.block()
        client.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < len(MUCH) * 64:
                sent += client.send(MUCH)
        way.heal()
        assert len(read(server, sent)) == sent


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda way: way.cut(), id="cut"),
        pytest.param(lambda way: way.close(), id="closed"),
    ],
)
def test_both_ends_of_what_breaks_off_get_a_reset(end: object) -> None:
    with linked() as (way, client, server):
        assert callable(end)
        end(way)
        for each in (client, server):
            with pytest.raises(ConnectionResetError):
                each.recv(1)
        assert way.links == 0


def test_an_end_is_told_to_the_other_side_after_all_that_was_sent() -> None:
    with linked() as (way, client, server):
        client.sendall(MUCH)
        client.shutdown(socket.SHUT_WR)
        assert read(server, len(MUCH) + 1) == MUCH
        server.sendall(b"bye")
        server.close()
        assert read(client, 4) == b"bye"
        wait_for(lambda: way.links == 0, what="the link ended")


def test_a_side_that_broke_off_is_not_noticed_through_a_block() -> None:
    with linked() as (way, client, server):
        way.block(up=True, down=False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        server.sendall(b"anybody")
        for _ in range(2):  # read in one turn, written in the next
            way.block(up=True, down=False)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(1)
        assert way.links == 1
        server.settimeout(20)
        way.heal()
        with pytest.raises(ConnectionResetError):
            server.recv(1)


def test_new_links_are_refused_while_old_ones_go_on() -> None:
    with linked() as (way, client, server):
        way.refuse()
        with pytest.raises(ConnectionRefusedError):
            dial(way)
        client.sendall(b"old")
        assert read(server, 3) == b"old"
        way.refuse(False)
        dial(way).close()


def test_a_link_to_nobody_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with proxied(target) as way, pytest.raises(ConnectionResetError), dial(way) as client:
        client.recv(1)


def test_a_limit_holds_for_all_links_together() -> None:
    with linked() as (way, client, server):
        way.limit(1_000_000, down=True)
        began_s = time.monotonic()
        server.sendall(MUCH[:200_000])
        assert read(client, 200_000) == MUCH[:200_000]
        # Never faster than told; how much slower is the machine's.
        assert time.monotonic() - began_s > 0.15
