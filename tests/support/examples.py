"""The examples of the docs as programs, at the broker and the gateway of a test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import REPO, Broker, Gateway, environment
from tests.support.waiting import wait_for

PACKAGES = REPO / "web" / "node_modules"


def here(code: str, broker: Broker, gateway: Gateway | None = None) -> str:
    """An example, with the addresses of these processes for the usual ones."""
    for port, name in (("5555", "ingest"), ("5556", "feed"), ("5557", "control"), ("5558", "push")):
        code = code.replace(f"tcp://127.0.0.1:{port}", broker.address[name])
    code = code.replace("http://127.0.0.1:9100", broker.address["admin"])
    if gateway is not None:
        code = code.replace("http://127.0.0.1:9101", gateway.address["admin"])
        code = code.replace("127.0.0.1:8000", gateway.address["url"].removeprefix("http://"))
    return code


def with_addresses(code: str, broker: Broker) -> str:
    """An example that uses the usual addresses without naming them, with those of this broker."""
    links = "feed={feed!r}, control={control!r}".format(**broker.address)
    code = re.sub(r'Subscriber\(("[^)]*)\)', rf"Subscriber(\1, {links})", code)
    return code.replace("Publisher()", f"Publisher({broker.address['ingest']!r}, {links})")


@contextmanager
def reading(command: list[str], folder: Path) -> Iterator[Path]:
    """A program that runs while the block lasts; the file that it prints to."""
    out, err = folder / "example.out", folder / "example.err"
    with out.open("wb") as to, err.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment({}), stdin=subprocess.DEVNULL, stdout=to, stderr=errors
        )
    try:
        yield out
    finally:
        process.kill()
        process.wait()
        sys.stderr.write(err.read_text())  # shown with a failure


def wait_printed(out: Path, *wanted: str) -> None:
    wait_for(
        lambda: all(text in out.read_text() for text in wanted),
        what=lambda: f"{wanted} printed, there is\n{out.read_text()}",
    )


def node(code: str, folder: Path) -> list[str]:
    """A command that runs it as a module, in a project that has the page's packages."""
    assert (PACKAGES / "ws").is_dir(), "run `npm ci` in web/ first"
    (folder / "node_modules").symlink_to(PACKAGES)
    (folder / "example.mjs").write_text(code)
    return ["node", "example.mjs"]
