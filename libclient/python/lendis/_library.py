# SPDX-License-Identifier: MIT
"""liblendis.so, by ctypes: the functions of lendis.h and nothing else.

``$LENDIS_LIBRARY`` names another file than ``liblendis.so.0``. Calls that can wait let other
threads run meanwhile. Calls that never wait keep the interpreter's lock: giving it up costs more
than they do.
"""

from __future__ import annotations

import os
from ctypes import (
    CDLL, POINTER, PyDLL, Structure, byref, c_char_p, c_int, c_short, c_size_t, c_ssize_t, c_uint,
    c_void_p, py_object, pythonapi, sizeof,
)

# Where "make install" put it: for folders that the loader does not know.
_INSTALLED = ""


def _load():
    path = os.environ.get("LENDIS_LIBRARY") or "liblendis.so.0"
    try:
        return CDLL(path), PyDLL(path)
    except OSError:
        if not _INSTALLED or "LENDIS_LIBRARY" in os.environ:
            raise
    return CDLL(_INSTALLED), PyDLL(_INSTALLED)


_waiting, _short = _load()

LAZY = 1
REPLICA = 2

TIMEOUT = 1
BUSY = 2
REVOKED = 3
UNCERTAIN = 4
DOWN = 5
AGAIN = 9

READS = 1
ALONE = 2
LEASE = 4


class Options(Structure):
    """struct lendis_options"""

    _fields_ = [
        ("size", c_size_t),
        ("flags", c_uint),
        ("attach_timeout_ms", c_int),
        ("fallback_url", c_char_p),
        ("fallback_username", c_char_p),
        ("fallback_password_file", c_char_p),
        ("fallback_connections", c_uint),
    ]


def _function(library, name, *argtypes, restype=c_int):
    function = getattr(library, "lendis_" + name)
    function.argtypes = argtypes
    function.restype = restype
    return function


_pointer_out = POINTER(c_void_p)
_size_out = POINTER(c_size_t)

_attach = _function(_waiting, "attach", c_char_p, c_char_p, POINTER(Options), _pointer_out)
detach = _function(_waiting, "detach", c_void_p, restype=None)
acquire = _function(_waiting, "acquire", c_void_p, c_int, _pointer_out)
_acquire_begin = _function(_short, "acquire_begin", c_void_p, c_int, _pointer_out)
acquire_fd = _function(_short, "acquire_fd", c_void_p)
_acquire_finish = _function(_short, "acquire_finish", c_void_p, _pointer_out)
acquire_cancel = _function(_short, "acquire_cancel", c_void_p, restype=None)
release = _function(_short, "release", c_void_p)
discard = _function(_short, "discard", c_void_p)
lease_fd = _function(_short, "lease_fd", c_void_p)
classify = _function(_short, "classify", c_void_p, c_char_p, c_size_t)
_call_begin = _function(_short, "call_begin", c_void_p, c_char_p, c_size_t, c_int, _pointer_out)
_call_poll = _function(_short, "call_poll", c_void_p, POINTER(c_short), POINTER(c_int))
_call_finish = _function(_short, "call_finish", c_void_p, _pointer_out, _size_out)
call_cancel = _function(_short, "call_cancel", c_void_p, restype=None)
_exec = _function(_waiting, "exec", c_void_p, c_char_p, c_size_t, c_int, _pointer_out, _size_out)
_free = _function(_short, "free", c_void_p, restype=None)
# Half of what string_at() of ctypes takes.
_bytes_at = pythonapi.PyBytes_FromStringAndSize
_bytes_at.argtypes = (c_void_p, c_ssize_t)
_bytes_at.restype = py_object
strerror = _function(_short, "strerror", c_int, restype=c_char_p)


def attach(socket_path: bytes | None, pool_name: bytes, options: Options) -> tuple[int, int | None]:
    """The result, and the handle."""
    handle = c_void_p()
    options.size = sizeof(Options)
    return _attach(socket_path, pool_name, byref(options), byref(handle)), handle.value


def acquire_begin(pool: int, timeout_ms: int) -> tuple[int, int | None]:
    """The result, and the wait."""
    wait = c_void_p()
    return _acquire_begin(pool, timeout_ms, byref(wait)), wait.value


def acquire_finish(wait: int, lease: c_void_p) -> int:
    """The result; ``lease`` is where the lease is put."""
    return _acquire_finish(wait, byref(lease))


class _Out:
    """Where liblendis puts a reply."""

    __slots__ = ("reply", "size", "at_reply", "at_size")

    def __init__(self) -> None:
        self.reply, self.size = c_void_p(), c_size_t()
        self.at_reply, self.at_size = byref(self.reply), byref(self.size)


# As many as calls were under way at a time.
_outs: list[_Out] = []


def _spare_out() -> _Out:
    try:
        return _outs.pop()
    except IndexError:
        return _Out()


def _taken(out: _Out) -> bytes:
    address = out.reply.value
    data = b"" if address is None else _bytes_at(address, out.size.value)
    _free(address)
    return data


def execute(pool: int, request: bytes, timeout_ms: int) -> tuple[int, bytes]:
    """lendis_exec(): the result, and the bytes of the replies."""
    out = _spare_out()
    result = _exec(pool, request, len(request), timeout_ms, out.at_reply, out.at_size)
    data = b"" if result else _taken(out)
    _outs.append(out)
    return result, data


def call_begin(lease: c_void_p, request: bytes, timeout_ms: int) -> tuple[int, int | None]:
    """The result, and the call."""
    call = c_void_p()
    return _call_begin(lease, request, len(request), timeout_ms, byref(call)), call.value


def call_poll(call: int) -> tuple[int, int, int]:
    """What to poll, for which events, and for how many milliseconds at most."""
    events, timeout_ms = c_short(), c_int()
    fd = _call_poll(call, byref(events), byref(timeout_ms))
    return fd, events.value, timeout_ms.value


def call_finish(call: int) -> tuple[int, bytes]:
    """The result, and the bytes of the replies."""
    out = _spare_out()
    result = _call_finish(call, out.at_reply, out.at_size)
    data = b"" if result else _taken(out)
    _outs.append(out)
    return result, data
