"""The broker as a process: settings, log, ports, loop, and a clean end on SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import zmq
from setproctitle import setproctitle

from broker.admin import Admin
from broker.errors import BadSetting, PenstockError
from broker.forwarder import Forwarder
from broker.log import Log
from broker.logs import log_to_stderr, say
from broker.retention import Keep, Rule
from broker.settings import BrokerSettings, load
from broker.sockets import bind

EXIT_FAILURE, EXIT_BAD_SETTINGS = 1, 78
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = logging.getLogger("broker")


def main(env: Mapping[str, str] = os.environ) -> int:
    """Runs until a signal ends it; the exit code."""
    setproctitle("penstock broker")
    log_to_stderr()
    try:
        run(load(BrokerSettings, "broker", env=env))
    except PenstockError as error:
        print(f"broker: {error}", file=sys.stderr)
        return EXIT_BAD_SETTINGS if isinstance(error, BadSetting) else EXIT_FAILURE
    return 0


def run(settings: BrokerSettings) -> None:
    """Raises BadSetting, AddressInUse, LogError: at the start, before anything was taken in."""
    raise_descriptor_limit()
    with ExitStack() as stack:
        opened = Log.open(
            settings.log, settings.durability, keep_of(settings), boot_id=boot_id(), now_s=time.monotonic()
        )
        stack.callback(opened.close)
        context = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(context.destroy, linger=0)
        sockets = stack.enter_context(closing(bind(context, settings)))
        ears = [stack.enter_context(end) for end in socket.socketpair()]
        forwarder = Forwarder(
            sockets, opened, settings.durability, settings.payload_max_bytes, ears[0].fileno()
        )
        admin = stack.enter_context(closing(Admin(settings.admin, forwarder)))
        ears[1].setblocking(False)
        signal.set_wakeup_fd(ears[1].fileno())
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: forwarder.stop())
        bound = " ".join(f"{name}={sockets.address(name)}" for name in ("ingest", "push", "control", "feed"))
        place = "memory" if settings.durability == "memory" else settings.log
        say(f"ready broker {bound} admin={admin.address} log={place} durability={settings.durability}")
        forwarder.run()
        log.info("stopping head=%d", opened.head().head)
        signal.set_wakeup_fd(-1)


def keep_of(settings: BrokerSettings) -> Keep:
    rules = tuple(Rule(rule.pattern, rule.events, rule.age_s) for rule in settings.retention)
    return Keep(
        settings.keep_events,
        settings.keep_s,
        settings.keep_bytes,
        settings.forget_s,
        settings.topics_max,
        rules,
    )


def boot_id() -> str:
    """This start of the machine; where the system does not tell, a new one each time: safe, not silent."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return uuid.uuid4().hex


def raise_descriptor_limit() -> None:
    """Every peer is a descriptor; the usual soft limit of 1,024 is far below the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        log.info("descriptors soft=%d hard=%d", soft, hard)


if __name__ == "__main__":
    sys.exit(main())
