"""Run a gateway: `python -m gateway [--number N]`."""

from gevent import monkey

monkey.patch_all()  # before anything else is imported; nowhere else

import argparse
import logging
import os
import resource
import signal
import sys

import gevent
from setproctitle import setproctitle

from broker.errors import BadSetting, PenstockError
from broker.logs import log_to_stderr, say
from broker.settings import load
from gateway.service import Gateway
from gateway.settings import GatewaySettings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="penstock gateway", description="Relay the feed to browsers.")
    parser.add_argument("--number", type=int, help="of this gateway among those of the host")
    parser.add_argument("--config", help="a TOML file; see docs")
    options = parser.parse_args(argv)
    log_to_stderr()
    try:
        flags = {"number": options.number}
        settings = load(GatewaySettings, "gateway", env=os.environ, path=options.config, overrides=flags)
        setproctitle(f"penstock gateway[{settings.number:02d}]")
        _raise_descriptor_limit()
        gateway = Gateway(settings)
    except PenstockError as error:
        print(f"penstock gateway: {error}", file=sys.stderr)
        return 78 if isinstance(error, BadSetting) else 1
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, gateway.stop)
    gateway.start()
    shared, own, admin = (f"http://{host}:{port}" for host, port in gateway.addresses)
    say(f"ready gateway[{settings.number:02d}] {shared} own={own} admin={admin} feed={settings.feed}")
    return gateway.run()


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.getLogger("gateway").info("descriptors=%d", hard)


if __name__ == "__main__":
    sys.exit(main())
