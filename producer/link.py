"""The link of a socket to the broker: where it leads, and whether it has ever stood."""

from __future__ import annotations

import zmq

from broker.errors import BadSetting

# Where the broker listens unless configured.
INGEST = "tcp://127.0.0.1:5555"
PUSH = "tcp://127.0.0.1:5558"
CONTROL = "tcp://127.0.0.1:5557"
FEED = "tcp://127.0.0.1:5556"


def connect(each: zmq.Socket[bytes], address: str, like: str) -> None:
    """Raises BadSetting: not an address; `like` is one."""
    try:
        each.connect(address)
    except zmq.ZMQError as error:
        raise BadSetting(f"{address!r} is no address like {like} ({error})") from None


class Link:
    """Whether it has ever stood; libzmq tells nobody who does not ask.

    Of a socket that has not connected yet, until `close`, which must come before the socket's own.
    """

    def __init__(self, watched: zmq.Socket[bytes]) -> None:
        self._watched = watched
        self._monitor = watched.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        self._has_stood = False

    def fileno(self) -> int:
        """Readable when `has_stood` may have changed: ask it before waiting, and after."""
        return int(self._monitor.fileno())

    @property
    def has_stood(self) -> bool:
        if not self._has_stood and not self._monitor.closed and self._monitor.poll(0):
            self._has_stood = True  # the only event that is watched for
        return self._has_stood

    def close(self) -> None:
        """May be called twice. `has_stood` keeps its last answer."""
        if self._monitor.closed:
            return
        self._has_stood = self.has_stood
        self._watched.disable_monitor()
        self._monitor.close(linger=0)
