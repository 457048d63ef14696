# SPDX-License-Identifier: MIT
"""Many tasks of one event loop on few leases: whoever has a lease sends what all have to send.

Requests queue up. A driver leases a connection, takes the queue, sends it in one write, gives each
task its replies and goes on until the queue is empty; then the lease goes back at once. A task that
is cancelled has its future cancelled and nothing else: its reply is still read, by the driver, and
is dropped. So a cancelled task never costs the connection, and its reply is never another's.
"""

from __future__ import annotations

import asyncio
from collections import deque

from . import _library, loop as lendis_loop, resp
from .errors import LendisError, UncertainError, from_result
from .loop import Request, answer, fail
from .pool import Lease, Pool

try:
    import hiredis
except ImportError:
    hiredis = None

# In one write, at most: a bound for how long others wait for the first reply.
_BATCH_REQUESTS = 128
_BATCH_BYTES = 256 * 1024
# So often a read is sent again whose connection was lost, as liblendis does.
_LOSSES_MAX = 2


def _ended() -> UncertainError:
    return UncertainError("the event loop's task for this pool was ended")



def parse(data: bytes) -> list:
    """All values in the replies to a batch, not decoded; errors are among them."""
    if not hiredis or len(data) < 1024:
        return resp.parse_all(data)
    reader = hiredis.Reader(replyError=resp.error_text)
    reader.feed(data)
    values = []
    while reader.has_data():
        value = reader.gets(False)
        if value is False:
            break
        values.append(value)
    return values


class Combiner:
    """Of one pool and one event loop."""

    def __init__(self, pool: Pool, drivers_max: int, wait_ms: int) -> None:
        self._pool = pool
        self._drivers_max = drivers_max
        self._wait_ms = wait_ms
        self._queue: deque[Request] = deque()
        self._drivers: set[asyncio.Task] = set()

    def submit(self, data: bytes, count: int) -> Request:
        """Queues a request up. Its future gets its values, or None if it wants its own lease."""
        loop = asyncio.get_running_loop()
        item = Request(data, count, loop.create_future())
        self._queue.append(item)
        if len(self._drivers) < self._drivers_max:
            driver = loop.create_task(self._drive())
            self._drivers.add(driver)
            driver.add_done_callback(self._ended)
        return item

    def _ended(self, driver: asyncio.Task) -> None:
        self._drivers.discard(driver)
        if self._queue and not self._drivers:  # it was ended before it began
            self._give_up(_ended())

    def _batch(self, lease: Lease) -> list[Request]:
        """The next ones that may go together. Those that may not are told so."""
        batch: list[Request] = []
        size = 0
        while self._queue and len(batch) < _BATCH_REQUESTS and size < _BATCH_BYTES:
            item = self._queue.popleft()
            if item.future.done():
                continue  # cancelled before it was sent
            kind = lease.classify(item.data)
            if kind < 0:
                fail(item, from_result(kind))
            elif kind & _library.ALONE:
                answer(item, None)
            else:
                item.reads = bool(kind & _library.READS)
                item.sent = True
                batch.append(item)
                size += len(item.data)
        return batch

    async def _drive(self) -> None:
        driver = asyncio.current_task()
        try:
            await self._drive_on()
        finally:
            # Now, not when the loop comes to it: what is queued from here on needs another.
            self._drivers.discard(driver)

    async def _drive_on(self) -> None:
        while self._queue:
            lease = None
            batch: list[Request] = []
            try:
                lease = await lendis_loop.acquire(self._pool, self._wait_ms)
                while self._queue:
                    batch = self._batch(lease)
                    if batch:
                        await self._exchange(lease, batch)
            except LendisError as error:
                if batch:
                    self._lost(batch, error)
                elif len(self._drivers) > 1:
                    return  # another one goes on, or is the last to fail
                else:
                    self._give_up(error)
            except BaseException:
                for item in batch:
                    fail(item, _ended())
                self._give_up(_ended())
                raise
            finally:
                if lease:
                    lease.release()

    async def _exchange(self, lease: Lease, batch: list[Request]) -> None:
        reply = await lendis_loop.request(lease, b"".join(item.data for item in batch))
        values = parse(reply)
        if len(values) != sum(item.count for item in batch):
            lease.discard()
            raise UncertainError("another number of replies than was asked for")
        at = 0
        for item in batch:
            answer(item, values[at:at + item.count])
            at += item.count

    def _give_up(self, error: LendisError) -> None:
        """Nothing that is queued will be sent."""
        while self._queue:
            fail(self._queue.popleft(), error)

    def _lost(self, batch: list[Request], error: LendisError) -> None:
        """The batch has no answer. What did nothing or only reads is sent again."""
        nothing_done = error.result in (_library.DOWN, _library.REVOKED)
        for item in reversed(batch):
            item.losses += 1
            safe = nothing_done or (item.reads and error.result == _library.UNCERTAIN)
            if safe and item.losses <= _LOSSES_MAX and not item.future.done():
                item.sent = False
                self._queue.appendleft(item)
            else:
                fail(item, error)
