"""uWebSockets under Python: `serve_socketify.py PORT`.

What comes on /publish is published; on /, "+topic" subscribes and "-topic" takes it back.
"""

from __future__ import annotations

import sys
from typing import Any

from socketify import App, CompressOptions, OpCode

SETTINGS = {
    "compression": CompressOptions.DISABLED,
    "idle_timeout": 0,  # no pings: the crowd answers none
    "max_backpressure": 64 << 20,  # what a reader does not take at once is kept, not dropped
    "max_payload_length": 1 << 20,
}

app = App()
waiting: list[str] = []


def ask(browser: Any, message: str, _: Any) -> None:
    if message.startswith("+"):
        browser.subscribe(message[1:])
    else:
        browser.unsubscribe(message[1:])
    browser.send("ok", OpCode.TEXT)


def take(_producer: Any, message: str, _: Any) -> None:
    waiting.append(message)


def publish(_: Any) -> None:
    """Once in each turn of the loop, outside of any handler.

    Within one, the socket it is for holds the buffer that makes one send of many messages: published
    there, the 33rd message of a turn made a send of each of them, at 5 µs.
    """
    for message in waiting:
        topic, _, event = message.partition(" ")
        app.publish(topic, event, OpCode.TEXT)
    waiting.clear()


app.ws("/", {**SETTINGS, "message": ask})
app.ws("/publish", {**SETTINGS, "message": take})
app.listen({"port": int(sys.argv[1]), "host": "127.0.0.1"}, lambda _: None)
# Its own loop alone: `app.run()` turns asyncio's beside it, and polls both.
loop = app.loop.uv_loop
check = loop.create_check(publish, None)
loop.run()
