# SPDX-License-Identifier: MIT
"""Pools and leases, without redis-py: what lendis.h offers, in Python.

    import lendis

    pool = lendis.Pool("main")
    pool.execute("SET", "greeting", "hello")
    with pool.lease() as connection:
        connection.execute("WATCH", "greeting")

A pool works in every thread and after a fork: make it before the workers are forked. A lease
belongs to one thread at a time, and to the process that took it. Limits are in seconds, None means
the pool's own (lendis.conf(5)).
"""

from __future__ import annotations

import math
import os
import select
import sys
import threading
import weakref
from ctypes import byref, c_void_p
from typing import Any, Iterable, Sequence

from . import _library, _process, resp
from .errors import ConfigurationError, ResponseError, from_result

POLLIN, POLLOUT = 1, 4  # eventlet takes those of select away
_EOPNOTSUPP = -95
_EINVAL = -22

# What waits in the server for as long as it likes. A program can be interrupted meanwhile.
_BLOCKING = frozenset((
    b"BLPOP", b"BRPOP", b"BRPOPLPUSH", b"BLMOVE", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP",
    b"WAIT", b"WAITAOF"))
_MAY_BLOCK = frozenset((b"XREAD", b"XREADGROUP"))
_INITIALS = frozenset((b"B", b"W", b"X", b"b", b"w", b"x"))


def milliseconds(limit: float | None) -> int:
    """A limit in seconds as liblendis has it."""
    if limit is None:
        return -1
    return min(max(0, math.ceil(limit * 1000)), 2**31 - 1)


def blocks(request: bytes) -> bool:
    """Whether ``request``, one command or several, begins with one that waits in the server."""
    if request[6:7] == b"\r" and request[8:9] not in _INITIALS:
        return False  # most have fewer than ten words, and a short name
    name = resp.first_name(request)
    if name in _BLOCKING:
        return True
    return name in _MAY_BLOCK and b"\r\n$5\r\nBLOCK\r\n" in request[:4096].upper()


class _Handle:
    """A handle of liblendis. Leaves the pool when nobody uses it any more: no call, no lease."""

    def __init__(self, pool: int) -> None:
        self.pool = pool
        self._detach = _library.detach

    def __del__(self) -> None:
        self._detach(self.pool)


_handles: weakref.WeakValueDictionary[tuple, _Handle] = weakref.WeakValueDictionary()
_lock = threading.RLock()  # a signal's handler may make pools, too


def _lock_again() -> None:
    # Another thread of the parent may have held it.
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_lock_again)


def _encoded(text: Any) -> bytes | None:
    return None if text is None else os.fsencode(text)


def _attach(key: tuple) -> _Handle:
    socket, pool, flags, attach_timeout, url, username, password_file, connections = key
    options = _library.Options(
        flags=flags, attach_timeout_ms=max(0, milliseconds(attach_timeout)),
        fallback_url=_encoded(url), fallback_username=_encoded(username),
        fallback_password_file=_encoded(password_file), fallback_connections=connections)
    result, handle = _library.attach(_encoded(socket), os.fsencode(pool), options)
    if result != 0 or handle is None:
        raise from_result(result, f"pool {pool}")
    return _Handle(handle)


def _shared_handle(key: tuple) -> _Handle:
    """One for all pools of this process that are made alike."""
    with _lock:
        handle = _handles.get(key)
        if handle is None:
            handle = _handles[key] = _attach(key)
        return handle


def ready(fd: int, events: int, limit_ms: float) -> bool:
    """Waits for a descriptor, by what gevent and eventlet make cooperative. -1: no limit."""
    limit = limit_ms if limit_ms >= 0 else None
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, events)
        return bool(poll.poll(limit))
    wanted = [[fd] if events & event else [] for event in (POLLIN, POLLOUT)]
    return any(select.select(*wanted, [], None if limit is None else limit / 1000))


def _is_cooperative() -> bool:
    """Whether the threads of this program are greenlets: who waits in liblendis stops them all."""
    gevent = sys.modules.get("gevent.monkey")
    eventlet = sys.modules.get("eventlet.patcher")
    return bool((gevent and gevent.is_module_patched("select"))
                or (eventlet and eventlet.is_monkey_patched("select")))


def wait_for(call: int) -> bytes:
    """Waits for a call on a lease to end. A signal's handler runs meanwhile, and may raise."""
    while True:
        result, reply = _library.call_finish(call)
        if result == _library.AGAIN:
            _poll(call)
            continue
        if result == _EINVAL:
            _library.call_cancel(call)
        if result != 0:
            raise from_result(result)
        return reply


def _poll(call: int) -> None:
    try:
        ready(*_library.call_poll(call))
    except BaseException:  # here, and nowhere else, the call is known to be there
        _library.call_cancel(call)
        raise


class Lease:
    """A connection for the caller alone. Give it back by ``release()``, or use it in ``with``."""

    # An exception of a signal's handler can come between any two steps here. So liblendis puts the
    # lease where __del__() finds it, and nothing is called between taking it from there and giving
    # it back.

    def __init__(self, handle: _Handle) -> None:
        self._handle = handle
        self._pid = _process.pid
        self._lease = c_void_p()

    def acquire(self, timeout_ms: int) -> int:
        """Waits for a connection. Gives liblendis' result."""
        return _library.acquire(self._handle.pool, timeout_ms, byref(self._lease))

    def finish(self, wait: int) -> int:
        """The end of a wait for one. Gives liblendis' result."""
        return _library.acquire_finish(wait, self._lease)

    @property
    def pool(self) -> int:
        return self._handle.pool

    @property
    def held(self) -> bool:
        """Whether it is this process' still."""
        return bool(self._lease) and self._pid == _process.pid

    def pointer(self) -> c_void_p:
        if not self._lease or self._pid != _process.pid:
            raise from_result(_EINVAL, "not a lease of this process")
        return self._lease

    def classify(self, data: bytes) -> int:
        """What kind of request this is: _library.READS, ALONE, LEASE."""
        return _library.classify(self.pointer(), data, len(data))

    def request(self, data: bytes, timeout_ms: int = -1) -> bytes:
        """Sends RESP commands and waits for their replies, both as bytes."""
        lease = self.pointer()
        result, call = _library.call_begin(lease, data, timeout_ms)
        if result != 0 or call is None:
            raise from_result(result)
        try:
            return wait_for(call)
        except BaseException:
            self.discard()
            raise

    def execute(self, *words: Any, timeout: float | None = None) -> Any:
        """Sends one command. Gives the reply's value; raises ResponseError for an error reply."""
        return _single(self.request(resp.encode(words), milliseconds(timeout)))

    def execute_many(self, commands: Iterable[Sequence[Any]],
                     timeout: float | None = None) -> list:
        """Sends several commands in one go. Errors are among the values that it gives."""
        data = b"".join(resp.encode(words) for words in commands)
        return resp.parse_all(self.request(data, milliseconds(timeout))) if data else []

    def fileno(self) -> int:
        """The connection's descriptor, for reading and writing RESP yourself.

        Leave its flags alone and do not close it. The connection is reset when it is given back.
        """
        fd = _library.lease_fd(self.pointer())
        if fd < 0:
            raise from_result(fd)
        return fd

    def release(self) -> None:
        """Gives the connection back; what is not proven clean is reset by the broker."""
        self._give_back(_library.release)

    def discard(self) -> None:
        """Gives the connection back as broken: the broker replaces it."""
        self._give_back(_library.discard)

    def _give_back(self, how: Any) -> None:
        if not self.held:
            return
        lease, self._lease.value = self._lease.value, None
        how(lease)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()

    def __del__(self) -> None:
        self.discard()


def _wait_polling(lease: Lease, timeout_ms: int) -> int:
    """Lease.acquire(), but what waits is poll(2) of the program's."""
    result, wait = _library.acquire_begin(lease.pool, timeout_ms)
    if result != 0 or wait is None:
        return result
    while True:
        result = lease.finish(wait)
        if result != _library.AGAIN:
            return result
        try:
            ready(_library.acquire_fd(wait), POLLIN, -1)
        except BaseException:
            _library.acquire_cancel(wait)
            raise


def _single(data: bytes) -> Any:
    value, _ = resp.parse(data, 0, None)
    if isinstance(value, Exception):
        raise value
    return value


class Pool:
    """A pool of lendisd's, by its name.

    ``socket`` is the broker's; None means $LENDIS_SOCKET, else /run/lendis/lendis.sock. ``lazy``:
    succeed without a broker, attach with the first command. ``replica``: of a service, lease
    replicas. The options that begin with ``fallback`` say where to go without a broker, see
    liblendis(3).
    """

    def __init__(self, pool: str = "main", socket: str | os.PathLike | None = None, *,
                 lazy: bool = False, replica: bool = False, attach_timeout: float | None = None,
                 fallback_url: str | None = None, fallback_username: str | None = None,
                 fallback_password_file: str | os.PathLike | None = None,
                 fallback_connections: int = 0) -> None:
        self.name = pool
        socket = os.fspath(socket) if socket is not None else os.environ.get("LENDIS_SOCKET")
        flags = (_library.LAZY if lazy else 0) | (_library.REPLICA if replica else 0)
        self._key = (socket, pool, flags, attach_timeout, fallback_url, fallback_username,
                     fallback_password_file and os.fspath(fallback_password_file),
                     fallback_connections)
        self._handle: _Handle | None = _shared_handle(self._key)
        self._cooperative = _is_cooperative()

    @property
    def handle(self) -> _Handle:
        handle = self._handle
        if handle is None:
            raise ConfigurationError(f"pool {self.name} is closed")
        return handle

    def reopen(self) -> None:
        """Takes a pool that was closed into use again."""
        if self._handle is None:
            self._handle = _shared_handle(self._key)

    def attach(self) -> None:
        """Attaches now rather than with the first command, if there is a connection to be had."""
        lease = Lease(self.handle)
        lease.acquire(0)
        lease.release()

    def request(self, data: bytes, timeout_ms: int = -1) -> bytes | None:
        """Sends RESP commands and waits for their replies, both as bytes; None: they need a lease.

        Commands that wait in the server are sent on a lease, so that a signal's handler can end
        the wait.
        """
        handle = self._handle or self.handle
        if self._cooperative or blocks(data):
            return self._on_lease(data, timeout_ms)
        result, reply = _library.execute(handle.pool, data, timeout_ms)
        if result == _EOPNOTSUPP:
            return None
        if result != 0:
            raise from_result(result, f"pool {self.name}")
        return reply

    def _on_lease(self, data: bytes, timeout_ms: int) -> bytes | None:
        with self.take(timeout_ms) as lease:
            if self._cooperative and lease.classify(data) & _library.LEASE:
                return None
            return lease.request(data, timeout_ms)

    def take(self, timeout_ms: int = -1) -> Lease:
        """A lease, with a limit in milliseconds."""
        lease = Lease(self.handle)
        result = lease.acquire(0 if self._cooperative else timeout_ms)
        if result != 0 and self._cooperative and timeout_ms != 0:
            result = _wait_polling(lease, timeout_ms)
        if result != 0:
            raise from_result(result, f"pool {self.name}")
        return lease

    def _executed(self, data: bytes, timeout: float | None) -> bytes:
        reply = self.request(data, milliseconds(timeout))
        if reply is None:
            raise ResponseError("this command makes sense on a lease alone: use lease()")
        return reply

    def execute(self, *words: Any, timeout: float | None = None) -> Any:
        """Sends one command. Gives the reply's value; raises ResponseError for an error reply.

        Words are bytes, str, int or float; strings in the reply are bytes.
        """
        return _single(self._executed(resp.encode(words), timeout))

    def execute_many(self, commands: Iterable[Sequence[Any]],
                     timeout: float | None = None) -> list:
        """Sends several commands in one go. Errors are among the values that it gives."""
        data = b"".join(resp.encode(words) for words in commands)
        return resp.parse_all(self._executed(data, timeout)) if data else []

    def lease(self, timeout: float | None = None) -> Lease:
        """Leases a connection for the caller alone; waits for one, first come, first served."""
        return self.take(milliseconds(timeout))

    def close(self) -> None:
        """Leaves the pool, once the calls and leases that are under way have ended."""
        self._handle = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
