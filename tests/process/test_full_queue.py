"""A queue of what came in is full, and its link is cut: libzmq 4.3.5 must not end the process for it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support.log import status
from tests.support.processes import Broker, environment
from tests.support.processes import broker as running_broker
from tests.support.sending import push
from tests.support.waiting import DEADLINE_S, wait_for

# Longer than the second after which a heartbeat would be due, were there one.
HEARTBEAT_S = 2.5

# The socket of a gateway, or of a Subscriber, that takes nothing for a while; its queue is soon full.
READER = """
import sys, zmq
from broker.dial import prepare
feed = zmq.Context().socket(zmq.SUB)
feed.set(zmq.RCVHWM, 1_000)
prepare(feed)
feed.subscribe(b"load")
feed.connect(sys.argv[1])
sys.stdin.readline()
while feed.recv_multipart()[2] != b"last":
    pass
print("heard", flush=True)
"""


def fill(broker: Broker, count: int) -> None:
    logged = status(broker.address["control"]).logged
    push(broker.address["push"], [[b"load", bytes(200)]] * count)
    wait_for(lambda: status(broker.address["control"]).logged == logged + count, what="all are logged")


def test_a_subscriber_outlives_its_broker(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path) as broker,
        subprocess.Popen(
            [sys.executable, "-c", READER, broker.address["feed"]],
            env=environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as reader,
    ):
        assert reader.stdin and reader.stdout
        try:
            wait_for(lambda: status(broker.address["control"]).subscribed, what="the subscription")
            fill(broker, 60_000)
            broker.kill()
            due_s = time.monotonic() + HEARTBEAT_S
            wait_for(lambda: time.monotonic() > due_s, what="a heartbeat's time")
            broker.start()
            reader.stdin.write(b"\n")
            reader.stdin.flush()
            wait_for(lambda: status(broker.address["control"]).subscribed, what="it is back")
            push(broker.address["push"], [[b"load", b"last"]])
            assert reader.communicate(timeout=DEADLINE_S)[0] == b"heard\n"
        finally:
            reader.kill()
