"""python-socketio: `serve_python_socketio.py PORT LINES_PORT`. A topic is a room; under gevent."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json
import logging
import sys
from typing import Any

import socketio
from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer
from geventwebsocket.handler import WebSocketHandler

server = socketio.Server(
    async_mode="gevent",
    transports=["websocket"],
    http_compression=False,
    ping_interval=600,  # the crowd answers none
)


def subscribe(sid: str, topic: str) -> tuple[()]:
    server.enter_room(sid, topic)
    return ()


def unsubscribe(sid: str, topic: str) -> tuple[()]:
    server.leave_room(sid, topic)
    return ()


def publish(link: Any, _: object) -> None:
    for line in link.makefile("rb"):
        topic, _, event = line.partition(b" ")
        server.emit("event", json.loads(event), room=topic.decode())


server.on("subscribe", subscribe)
server.on("unsubscribe", unsubscribe)
logging.getLogger("geventwebsocket").disabled = True
port, lines = map(int, sys.argv[1:])
StreamServer(("127.0.0.1", lines), publish).start()
application = socketio.WSGIApp(server)
listener = ("127.0.0.1", port)
WSGIServer(listener, application, log=None, backlog=1024, handler_class=WebSocketHandler).serve_forever()
