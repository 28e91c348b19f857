"""Whether the message at hand has a further frame: asked after each frame of each message that comes."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import PyDLL, byref, c_int, c_size_t, c_void_p, sizeof

import zmq
from zmq.backend.cython import _zmq

# pyzmq's own `get` takes 1.0 µs, nearly all of it to look the option's number up among its names. Twice
# a message that is two thirds of what receiving it takes, so the library under it is asked: 0.4 µs.
# PyDLL keeps the lock of the interpreter, as is right for a call that waits for nothing.
_getsockopt = PyDLL(_zmq.__file__).zmq_getsockopt
_RCVMORE = c_int(zmq.RCVMORE)


def more_of(socket: zmq.Socket[bytes]) -> Callable[[], int]:
    """A function that says, after a frame was received, whether there are more of its message.

    Good for as long as the socket is open. Source: zmq_getsockopt(3), ZMQ_RCVMORE.
    """
    handle, value, size = c_void_p(socket.underlying), c_int(), c_size_t(sizeof(c_int))
    to_value, to_size = byref(value), byref(size)

    def has_more() -> int:
        _getsockopt(handle, _RCVMORE, to_value, to_size)
        return value.value

    return has_more
