"""The sockets that connections come in by."""

from __future__ import annotations

import errno
import socket

from broker.errors import AddressInUse, BadSetting

BACKLOG = 1024


def listen(host: str, port: int, *, reuse: bool, setting: str) -> socket.socket:
    """A listening socket; port 0 lets the kernel pick.

    Args:
        reuse: share the port with the other gateways of this host.
        setting: where the address came from, for the errors.
    Raises:
        AddressInUse: somebody else listens there.
        BadSetting: no such address, or not for us.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit it. pywsgi writes head and body apart: with Nagle's algorithm and
        # delayed acknowledgements each answer on a kept connection took 44 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{host}:{port}", setting) from error
        raise BadSetting(f"{setting}: cannot listen on {host}:{port}: {error.strerror}") from error
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
