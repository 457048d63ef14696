# SPDX-License-Identifier: MIT
"""lendis in an event loop of asyncio: waiting for a connection and for replies without a thread.

A descriptor is in the loop only while somebody waits for it: that of a connection is everybody's
who leases it next.
"""

from __future__ import annotations

import asyncio
import select
from typing import Any

from . import _library
from .errors import from_result
from .pool import Lease, Pool


def _wake(future: asyncio.Future, ready: bool = True) -> None:
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(ready)


class Waiting:
    """A descriptor in the running loop, as long as somebody waits for it."""

    def __init__(self, fd: int, writes: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd, self._writes, self._active = fd, writes, True
        self.future = self._loop.create_future()
        self._loop.add_reader(fd, _wake, self.future)
        if writes:
            self._loop.add_writer(fd, _wake, self.future)

    def stop(self) -> None:
        """Takes it out, and wakes who waits. Before the connection is given back."""
        if not self._active:
            return
        self._active = False
        self._loop.remove_reader(self._fd)
        if self._writes:
            self._loop.remove_writer(self._fd)
        _wake(self.future)


async def ready(fd: int, events: int, limit: float | None, owner: Any = None) -> bool:
    """Waits until a descriptor is readable, or writable if asked for. False: the limit passed.

    ``owner.waiting`` is for who may have to end the wait.
    """
    loop = asyncio.get_running_loop()
    waiting = Waiting(fd, bool(events & select.POLLOUT))
    timer = None
    if limit is not None:
        timer = loop.call_later(max(0.0, limit), _wake, waiting.future, False)
    if owner is not None:
        owner.waiting = waiting
    try:
        return await waiting.future
    finally:
        waiting.stop()
        if owner is not None:
            owner.waiting = None
        if timer is not None:
            timer.cancel()


async def acquire(pool: Pool, timeout_ms: int = -1) -> Lease:
    """A lease; waits in the same queue as everybody."""
    about = f"pool {pool.name}"
    handle = pool.handle
    lease = Lease(handle)
    result = lease.acquire(0)
    if result == 0:
        return lease
    result, wait = _library.acquire_begin(handle.pool, timeout_ms)
    if result != 0 or wait is None:
        raise from_result(result, about)
    while True:
        result = lease.finish(wait)
        if result == 0:
            return lease
        if result != _library.AGAIN:
            raise from_result(result, about)
        try:
            fd = _library.acquire_fd(wait)
            if fd < 0:
                raise from_result(fd, about)
            await ready(fd, select.POLLIN, None)
        except BaseException:
            _library.acquire_cancel(wait)
            raise


async def request(lease: Lease, data: bytes, timeout_ms: int = -1) -> bytes:
    """Sends RESP commands on a lease and waits for their replies, both as bytes.

    If it is given up or fails, the lease is given back as broken: what comes over it is nobody's.
    """
    result, call = _library.call_begin(lease.pointer(), data, timeout_ms)
    if result != 0 or call is None:
        lease.discard()
        raise from_result(result)
    try:
        reply = await _replies(call)
    except BaseException:
        lease.discard()
        raise
    return reply


async def _replies(call: int) -> bytes:
    while True:
        try:
            fd, events, limit_ms = _library.call_poll(call)
            if fd < 0:
                raise from_result(fd)
            await ready(fd, events, None if limit_ms < 0 else limit_ms / 1000)
        except BaseException:
            _library.call_cancel(call)
            raise
        result, reply = _library.call_finish(call)
        if result == 0:
            return reply
        if result != _library.AGAIN:
            raise from_result(result)


class Request:
    """What a task wants answered together with others' requests."""

    __slots__ = ("data", "count", "future", "sent", "reads", "losses")

    def __init__(self, data: bytes, count: int, future: asyncio.Future) -> None:
        self.data = data
        self.count = count    # replies
        self.future = future  # gets them as values, not decoded; None: it wants a lease of its own
        self.sent = False
        self.reads = False    # it does nothing else, so it may be sent again
        self.losses = 0


def _is_awaited(item: Request) -> bool:
    return not item.future.done() and not item.future.get_loop().is_closed()


def answer(item: Request, value: Any) -> None:
    if _is_awaited(item):
        item.future.set_result(value)


def fail(item: Request, error: BaseException) -> None:
    if _is_awaited(item):
        item.future.set_exception(error)
