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
