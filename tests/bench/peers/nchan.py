"""Nchan, in an nginx with one worker: channels kept in memory, published to by POST on a kept connection."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deploy.load.dialect import Dialect, Step, upgrade
from deploy.load.server import Processes, Server
from tests.bench.peers.peer import DEBIAN, LeftOut, command, producer, running
from tests.support.ports import reserved_ports
from tests.support.waiting import wait_for

MODULE = "usr/lib/nginx/modules/ngx_nchan_module.so"
DIALECT = Dialect(request=upgrade("/sub/{topic}"), greeting=(Step("", "\r\n\r\n"),))

CONFIG = """
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
load_module {module};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 32768; }}
http {{
    access_log off;
    {temporary}
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    nchan_shared_memory_size 256M;
    nchan_message_buffer_length 10000;
    nchan_message_timeout 10s;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location ~ ^/pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; }}
        location ~ ^/sub/(.+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""


@contextmanager
def nchan() -> Iterator[Server]:
    program = command("nginx")
    module = next((each for root in (DEBIAN, Path("/")) if (each := root / MODULE).exists()), None)
    if module is None:
        raise LeftOut("nginx has no Nchan: make peers")
    with reserved_ports(1) as (port,), tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        text = CONFIG.format(
            user="user root;" if os.geteuid() == 0 else "",  # else the worker cannot reach the folder
            module=module,
            folder=folder,
            temporary=" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
            port=port,
        )
        config = Path(folder, "nginx.conf")
        config.write_text(text)
        args = [program, "-e", "stderr", "-p", folder, "-c", str(config)]
        with running("nginx", args, Path(folder), port) as pid, producer("http", port) as publish:
            master = psutil.Process(pid)
            workers = wait_for(master.children, what="nginx's worker")
            pids = (pid, *(worker.pid for worker in workers))
            yield Server("nchan", port, DIALECT, publish, Processes(pids))
