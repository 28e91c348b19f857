"""The live page in the browser of whoever runs the set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from threading import Thread

_OPEN = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"


def open_page(url: str, say: Callable[[str], None]) -> None:
    """Returns at once; `say` is told what is opened and, later and from a thread, if no browser could be."""
    say(f"opening {url} in a browser")
    # Some browsers run in the foreground for as long as they are open: nobody here waits for that.
    Thread(target=_open, args=(url, say), name="browser", daemon=True).start()


def _open(url: str, say: Callable[[str], None]) -> None:
    # A session of its own: Ctrl-C is not for it, a browser for terminals cannot take this one over, and
    # what it has to say is nobody's concern. It stays when the set has ended.
    opened = subprocess.run(
        [sys.executable, "-P", "-c", _OPEN, url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if opened.returncode:
        say(f"no browser could be opened: open {url} yourself, or name one in BROWSER")
