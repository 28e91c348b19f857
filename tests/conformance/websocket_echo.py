"""WebSockets at `/` that say back what they hear: `python -m tests.conformance.websocket_echo`."""

from __future__ import annotations

from gateway.edge import EdgeServer
from gateway.frames import Binary, Text, binary_frame, text_frame
from gateway.peer import Peer
from gateway.upgrade import Upgrade
from tests.conformance.serving import Base, frames_form, nothing_here, options, serve

MESSAGE_MAX_BYTES = 64 << 20


class Echo(Peer):
    """Reads no further while there is something to say."""

    __slots__ = ()

    def start(self) -> None:
        self.pump()

    def hear(self, message: Text | Binary) -> None:
        if isinstance(message, Text):
            self.tell(text_frame(message.text.encode()))
        else:
            self.tell(binary_frame(message.data))

    @property
    def is_full(self) -> bool:
        behind = self.behind
        return super().is_full or bool(behind and (behind.unsent is not None or behind.told))


def main() -> None:
    base, form = Base(), frames_form()

    def adopt(fd: int, upgrade: Upgrade, head: bytes, early: bytes) -> None:
        Echo(base.hub, form, fd, base.wheel, MESSAGE_MAX_BYTES).start_with(head, early)

    serve(
        "websocket_echo",
        options().port,
        lambda listener: EdgeServer(listener, nothing_here, adopt=adopt, admit=lambda upgrade: None),
    )


if __name__ == "__main__":
    main()
