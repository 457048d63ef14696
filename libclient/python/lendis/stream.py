# SPDX-License-Identifier: MIT
"""A lease as a stream of bytes, for what is answered many times or never: subscriptions, MONITOR.

The descriptor's flags belong to all who share the connection, so they are left alone: poll(2), and
MSG_DONTWAIT for what is sent. Whoever has put the descriptor into an event loop takes it out before
the stream is closed: it is not closed with it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from typing import Any

from . import resp
from .pool import POLLIN, POLLOUT, Lease, ready

_READ_SIZE = 65536
_libc = ctypes.CDLL(None, use_errno=True)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.restype = ctypes.c_ssize_t


def _os_error() -> OSError:
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error))


class Stream:
    """Sends bytes and reads values, over a lease that is its own. Limits are in seconds."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._fd = lease.fileno()
        self._data = b""
        self.waiting: Any = None  # what an event loop waits for on it: lendis.loop.Waiting

    def fileno(self) -> int:
        return self._fd

    def _wait(self, events: int, limit: float | None) -> bool:
        return ready(self._fd, events, -1 if limit is None else max(0, limit * 1000))

    def send(self, data: bytes, limit: float | None = None) -> None:
        """Sends all of it. Raises socket.timeout, or OSError when the connection is lost."""
        at = 0
        while at < len(data):
            chunk = data[at:at + _READ_SIZE]
            sent = _libc.send(self._fd, chunk, len(chunk),
                              socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            if sent >= 0:
                at += sent
            elif ctypes.get_errno() != 11:  # EAGAIN
                raise _os_error()
            elif not self._wait(POLLOUT, limit):
                raise socket.timeout("timed out")

    def take(self, decode: resp.Decode) -> Any:
        """A value that has come already. Raises resp.Incomplete."""
        value, at = resp.parse(self._data, 0, decode)
        self._data = self._data[at:]
        return value

    def receive(self) -> None:
        """Reads what is there; call it when the descriptor is readable."""
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:  # it was not: the connection's own limit has passed
            return
        if not data:
            raise OSError(0, "Connection closed by server.")
        self._data += data

    def read(self, decode: resp.Decode, limit: float | None) -> Any:
        """The next value. Raises socket.timeout, or another OSError when the connection is lost."""
        end = None if limit is None else time.monotonic() + limit
        while True:
            try:
                return self.take(decode)
            except resp.Incomplete:
                pass
            left = None if end is None else end - time.monotonic()
            if not self._wait(POLLIN, left):
                raise socket.timeout("timed out")
            self.receive()

    def can_read(self, limit: float | None) -> bool:
        """Whether there is something to read within the limit: a value, or the stream's end."""
        return bool(self._data) or self._wait(POLLIN, limit)

    def arrived(self) -> bool:
        """Whether there is something for receive() to read."""
        return self._wait(POLLIN, 0)

    def abort(self) -> None:
        """Ends the connection under a thread that reads from it; that one closes the stream."""
        if self._fd >= 0:
            _libc.shutdown(self._fd, socket.SHUT_RDWR)

    def close(self, whole: bool = True) -> None:
        """Gives the connection back, as broken unless all that was asked for was read."""
        if self.waiting:
            self.waiting.stop()
        self._fd = -1
        if whole and not self._data:
            self._lease.release()
        else:
            self._lease.discard()
