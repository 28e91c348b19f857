"""The files that browsers load: our own as they stand in web/public, third-party ones by web/vendor.json."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from whitenoise import WhiteNoise

log = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parent.parent / "web"


def pages(application: Any, web: Path = WEB) -> Any:
    """A WSGI application that serves the files of `web`, found once, now; the rest is `application`'s.

    Our own files are asked for again each time and mostly answered 304; those of vendor.json have
    their version in the URL and are kept for good.
    """
    vendor = json.loads((web / "vendor.json").read_text())
    files = WhiteNoise(
        application,
        root=web / "public",
        prefix="/",
        index_file=True,
        max_age=0,
        allow_all_origins=False,
        immutable_file_test=lambda _path, url: url in vendor,
    )
    for url, name in vendor.items():
        path = web / "node_modules" / name
        if path.is_file():
            files.add_file_to_dictionary(url, str(path))
        else:
            log.error("page file missing url=%s path=%s: run `npm ci` in %s", url, path, web)
    return files
