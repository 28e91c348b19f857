"""Whether a socket's link to the broker has ever stood; libzmq tells nobody who does not ask."""

from __future__ import annotations

import zmq


class Link:
    """Of a socket that has not connected yet, until `close`, which must come before the socket's own."""

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
