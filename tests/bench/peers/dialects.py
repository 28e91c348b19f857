"""How browsers speak to the servers of this folder, where several are spoken to alike. Pure."""

from __future__ import annotations

from deploy.load.dialect import Dialect, Step, upgrade

# "+topic" and "-topic", answered by "ok"; what is published comes as it is.
PLAIN = Dialect(
    request=upgrade("/"),
    greeting=(Step("", "\r\n\r\n"),),
    subscribe=Step("+{topic}", "ok"),
    unsubscribe=Step("-{topic}", "ok"),
)

# Socket.IO v5 over Engine.IO v4; 420 is an event that wants the acknowledgement 430.
SOCKET_IO = Dialect(
    request=upgrade("/socket.io/?EIO=4&transport=websocket"),
    greeting=(Step("", '0{"sid"'), Step("40", '40{"sid"')),
    subscribe=Step('420["subscribe","{topic}"]', "430["),
    unsubscribe=Step('420["unsubscribe","{topic}"]', "430["),
)
