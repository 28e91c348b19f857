"""The sockets that connections come in by."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from contextlib import suppress

from broker.errors import AddressInUse, BadSetting

BACKLOG = 1024
SO_ATTACH_FILTER = 26  # of Linux, and not in Python's socket
# Of what comes to a listening socket, from its TCP header on: a SYN without ACK is dropped, all else taken.
# Source: socket(7), linux/filter.h.
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # SYN and ACK of it
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


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
    except (OSError, TypeError) as error:  # the latter: a name that cannot be written as one of hosts
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{host}:{port}", setting) from error
        why = error.strerror if isinstance(error, OSError) else error
        raise BadSetting(f"{setting}: cannot listen on {host}:{port}: {why}") from error
    listener.setblocking(False)
    return listener


def turn_away(listener: socket.socket) -> None:
    """Who begins to connect from now on is not heard: a second later its kernel tries again.

    Then the listener is closed, and another one that shares the port answers. Who has begun before gets
    in. Closed without this, a listener resets whoever is in the middle of connecting; the kernel's
    `net.ipv4.tcp_migrate_req` mends that too, but is off by default. Where there is no such filter, nothing
    happens.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _NO_SYN))
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(code))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
