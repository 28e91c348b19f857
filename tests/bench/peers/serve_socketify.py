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


def ask(browser: Any, message: str, _: Any) -> None:
    if message.startswith("+"):
        browser.subscribe(message[1:])
    else:
        browser.unsubscribe(message[1:])
    browser.send("ok", OpCode.TEXT)


def publish(_producer: Any, message: str, _: Any) -> None:
    topic, _, event = message.partition(" ")
    app.publish(topic, event, OpCode.TEXT)


app.ws("/", {**SETTINGS, "message": ask})
app.ws("/publish", {**SETTINGS, "message": publish})
app.listen({"port": int(sys.argv[1]), "host": "127.0.0.1"}, lambda _: None)
# Its own loop alone: `app.run()` turns asyncio's beside it, and polls both.
app.loop.uv_loop.run()
