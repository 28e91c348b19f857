"""The files that browsers load: our own as they stand in web/public, third-party ones by web/vendor.json."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from whitenoise import WhiteNoise

log = logging.getLogger(__name__)

VERSIONED = "/lib/"
WEB = Path(__file__).resolve().parent.parent / "web"


def pages(application: Any, web: Path = WEB) -> Any:
    """A WSGI application that serves the files of `web`; the rest is `application`'s.

    Our own files are looked at anew for each request, so that what is edited or added is right at
    once; browsers ask each time and are mostly answered 304. Those of vendor.json are found once,
    now: most have their version in the URL and are kept for good.
    """
    vendor = WhiteNoise(
        application,
        max_age=0,
        allow_all_origins=False,
        immutable_file_test=lambda _path, url: url.startswith(VERSIONED),
    )
    for url, name in json.loads((web / "vendor.json").read_text()).items():
        path = web / "node_modules" / name
        if path.is_file():
            vendor.add_file_to_dictionary(url, str(path))
        else:
            log.error("page file missing url=%s path=%s: run `npm ci` in %s", url, path, web)

    def otherwise(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # Browsers ask for it where a page names no icon, and complain of a 404.
        if environ.get("PATH_INFO") == "/favicon.ico":
            environ = {**environ, "PATH_INFO": "/favicon.svg"}
            found: Iterable[bytes] = own(environ, start_response)
        else:
            found = vendor(environ, start_response)
        return found

    own = WhiteNoise(
        otherwise,
        root=web / "public",
        prefix="/",
        index_file=True,
        max_age=0,
        allow_all_origins=False,
        autorefresh=True,
        add_headers_function=_add_tag,
    )
    return own


def _add_tag(headers: Headers, path: str, _url: str) -> None:
    """An ETag by the file's exact time: whitenoise's is by the second, in which a file may change twice."""
    try:
        found = os.stat(path)
    except OSError:
        return  # it went this moment
    headers["ETag"] = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
