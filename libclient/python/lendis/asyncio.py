# SPDX-License-Identifier: MIT
"""lendis.asyncio.ConnectionPool takes the place of redis.asyncio.ConnectionPool.

    redis.asyncio.Redis(connection_pool=lendis.asyncio.ConnectionPool(pool="main"))

The tasks of an event loop share a few leases: whoever has one sends what all have to send. A task
that is cancelled costs no connection, and its reply is never another's (lendis.combiner).
"""

from __future__ import annotations

import asyncio
import inspect
import select
import time
import weakref
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.exceptions import ConnectionError, TimeoutError

from . import _process, errors, loop as lendis_loop, options as option_rules, resp
from .combiner import Combiner
from .connection import STREAMS, ConnectionBase, failure, pack
from .connection_pool import PoolBase
from .pool import Lease, blocks
from .stream import Stream

__all__ = ["Connection", "ConnectionPool"]


class Connection(ConnectionBase):
    """For redis.asyncio.Redis. Belongs to one task at a time."""

    retry_class = Retry

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lease: Lease | None = None
        self._stream: Stream | None = None
        self._count = 0            # commands among what is to be sent
        self._values: list = []    # replies, not decoded, the next one last
        self._coming: asyncio.Future | None = None  # the stream that a listener waits for

    # ---- its beginning and end ----

    async def connect(self) -> None:
        """Makes it fit for use. Holds nothing."""
        if self.pid != _process.pid:
            self._leave_to_parent()
        if self._connected:
            return
        self._connected = True
        for reference in list(self._callbacks):
            callback = reference()
            result = callback(self) if callback else None
            if inspect.isawaitable(result):
                await result

    @property
    def _reader(self) -> Stream | None:
        return self._stream

    def _leave_to_parent(self) -> None:
        held = self._lease or self._stream
        self.pid = _process.pid
        self._lease = self._stream = None
        self._forget()
        if held:
            raise ConnectionError("this connection was in use when the process was forked")

    def _forget(self) -> None:
        super()._forget()
        self._count = 0
        self._values = []

    async def disconnect(self, *_: Any, **__: Any) -> None:
        """Gives back what it holds, and forgets what was not sent."""
        self.end()

    def end(self) -> None:
        """The same; it never waits."""
        mine = self.pid == _process.pid
        lease, self._lease = self._lease, None
        stream, self._stream = self._stream, None
        if mine and lease:
            lease.release()
        if mine and stream:
            stream.close()
        if mine:
            self._wake_listener()
        self._forget()

    _close = end  # of a client that is forgotten

    def give_back(self) -> None:
        """It goes to its pool: nothing is left in it."""
        if self._out and self._connected and not self._lease and not self._stream:
            self._combine().submit(*self._request())
        if self._lease or self._stream or self._values or self._out:
            self.end()

    def __del__(self) -> None:
        try:
            self.end()
        except Exception:
            pass

    async def _open_stream(self) -> None:
        lease, self._lease = self._lease, None
        self._stream = Stream(lease or await lendis_loop.acquire(self._pool, self._wait_ms))
        self._wake_listener()

    def _wake_listener(self) -> None:
        coming, self._coming = self._coming, None
        if coming and not coming.done() and not coming.get_loop().is_closed():
            coming.set_result(None)

    async def _stream_comes(self, timeout: float | None) -> bool:
        """Waits, as a listener that has not subscribed yet, until another task does."""
        self._coming = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._coming, timeout)
        except asyncio.TimeoutError:
            return False
        return self._stream is not None

    # ---- requests ----

    def _request(self) -> tuple[bytes, int]:
        count, self._count = self._count, 0
        return self._take_out(), count

    async def send_command(self, *words: Any, **options: Any) -> None:
        """Packs a command, which is sent when its reply is read; on a stream at once."""
        if words[0] in STREAMS and self._stream is None:
            await self.connect()
            if self._stream is None:
                await self._open_stream()
        await self._send(pack(self.encoder, (words,)), 1)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """The same for what is packed. The broker looks after health."""
        if isinstance(command, (bytes, str)):
            command = [command if isinstance(command, bytes) else command.encode()]
        data = b"".join(command)
        await self._send([data], sum(1 for _ in resp.names(data)))

    async def _send(self, pieces: list, count: int) -> None:
        if not self._connected or self.pid != _process.pid:
            await self.connect()
        if self._stream is None:
            self._out += pieces
            self._count += count
            return
        try:
            self._stream.send(b"".join(pieces), 1)
        except OSError as error:
            self.end()
            raise self._lost(error) from None

    async def _send_out(self) -> None:
        """Sends what is kept and waits for all replies."""
        data, count = self._request()
        values = None
        if self._lease is None and not blocks(data):
            values = await self._combined(data, count)
        if values is None:
            values = await self._alone(data)
        self._values = values[::-1] + self._values

    async def _combined(self, data: bytes, count: int) -> list | None:
        """The replies, by whoever has a lease; None: it wants its own."""
        item = self._combine().submit(data, count)
        if self.socket_timeout is None:
            return await item.future
        try:
            return await asyncio.wait_for(item.future, self.socket_timeout)
        except asyncio.TimeoutError:
            kind = errors.UncertainError if item.sent else errors.TimeoutError
            raise kind(f"Timeout reading from pool {self._pool.name}") from None

    async def _alone(self, data: bytes) -> list:
        """On a lease of its own, which is kept if the request leaves something for the next."""
        lease = self._lease
        if lease is None:
            lease = await lendis_loop.acquire(self._pool, self._wait_ms)
        first = resp.first_name(data)
        if first in STREAMS or b"\r\nREPLY\r\n" in data[:64].upper():
            self._stream = Stream(lease)
            self._stream.send(data, 1)
            self._wake_listener()
            return []
        self._lease = None
        reply = await lendis_loop.request(lease, data, self._limit_ms)
        self._pins.follow(data)
        if self._pins:
            self._lease = lease
        else:
            lease.release()
        return resp.parse_all(reply)

    # ---- replies ----

    async def can_read(self, timeout: float = 0) -> bool:
        """Whether a reply can be read within the limit."""
        if not self._connected or self.pid != _process.pid:
            await self.connect()
        if self._out:
            await self._checked()
        if self._values or self._stream is None:
            return bool(self._values)
        if self._stream.can_read(0):
            return True
        return bool(timeout) and await lendis_loop.ready(self._stream.fileno(), select.POLLIN,
                                                         timeout, self._stream)

    async def can_read_destructive(self) -> bool:
        return await self.can_read()

    async def _checked(self) -> None:
        try:
            await self._send_out()
        except OSError as error:
            self.end()
            raise self._lost(error) from None
        except BaseException:
            self.end()
            raise

    async def read_response(self, disable_decoding: bool = False, timeout: float | None = None, *,
                            disconnect_on_error: bool = True, push_request: bool = False) -> Any:
        """The reply to what was sent first. Raises an error reply.

        On a stream, None if a timeout was given and has passed.
        """
        if self.pid != _process.pid:
            self._leave_to_parent()
        if self._out:
            await self._checked()
        if self._values:
            value = self._values.pop()
            if self._decode and not disable_decoding:
                value = resp.decoded(value, self._decode)
        elif self._stream is not None:
            value = await self._read_stream(disable_decoding, timeout)
        elif push_request and (await self._stream_comes(timeout) or timeout is not None):
            value = await self._read_stream(disable_decoding, timeout) if self._stream else None
        else:
            raise self._owes_nothing()
        if self.health_check_interval:
            now = asyncio.get_running_loop().time()
            self.next_health_check = now + self.health_check_interval
        error = failure(value)
        if error is not None:
            if isinstance(error, ConnectionError):
                self.end()
            raise error
        return value

    async def _read_stream(self, disable_decoding: bool, timeout: float | None) -> Any:
        stream = self._stream
        assert stream
        limit = timeout if timeout is not None else self.socket_timeout
        end = None if limit is None else time.monotonic() + limit
        while True:
            try:
                return stream.take(None if disable_decoding else self._decode)
            except resp.Incomplete:
                pass
            left = None if end is None else end - time.monotonic()
            if not stream.arrived() and not await lendis_loop.ready(
                    stream.fileno(), select.POLLIN, left, stream):
                if timeout is not None:
                    return None
                self.end()
                raise TimeoutError(f"Timeout reading from pool {self._pool.name}")
            if self._stream is not stream:
                raise ConnectionError("the connection was ended meanwhile")
            try:
                if stream.arrived():
                    stream.receive()
            except OSError as error:
                self.end()
                raise self._lost(error) from None

    async def check_health(self) -> None:
        """The broker watches every connection."""

    async def re_auth(self) -> None:
        """The broker logs in."""

    async def on_connect(self) -> None:
        """The broker has logged in and selected the database."""


class ConnectionPool(PoolBase, redis.asyncio.ConnectionPool):
    """A redis.asyncio.ConnectionPool whose connections are borrowed from lendisd.

    ``max_leases``: so many connections the tasks of an event loop share at most. A task that needs
    one for itself (a transaction with WATCH, a blocking command, a subscription) has it besides.
    All else as lendis.ConnectionPool.
    """

    default_connection_class = Connection

    @classmethod
    def from_url(cls, url: str, **options: Any) -> "ConnectionPool":
        """As redis-py's, with pool and socket in the URL's query; or lendis://POOL?socket=PATH."""
        if url.startswith("lendis:"):
            return cls(**{**options, **dict(option_rules.from_lendis_url(url))})
        return super().from_url(url, **options)

    def __init__(self, connection_class: Any = Connection, max_connections: int | None = None, *,
                 socket: Any = None, pool: str = "main", timeout: float | None = None,
                 max_leases: int = 2, **options: Any) -> None:
        self._max_leases = int(max_leases)
        if self._max_leases < 1:
            raise ValueError('"max_leases" must be a positive integer')
        self._combiners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
        self._setup(connection_class, max_connections, socket, pool, timeout, False, options)

    def reset(self) -> None:
        super().reset()
        self._combiners = weakref.WeakKeyDictionary()
        self._checked = False

    def _combiner(self) -> Combiner:
        loop = asyncio.get_running_loop()
        combiner = self._combiners.get(loop)
        if combiner is None:
            combiner = self._combiners[loop] = Combiner(self.lendis, self._max_leases, -1)
        return combiner

    def _prepare(self) -> None:
        """Attaches, which can wait for the broker; and checks what was asked for."""
        self.lendis.reopen()
        request = option_rules.profile_request(self.connection_kwargs)
        if request:
            reply = self.lendis.request(request)
            option_rules.check_profile(self.connection_kwargs, self.lendis.name, reply or b"")
        else:
            self.lendis.attach()

    async def get_connection(self, command_name: Any = None, *keys: Any,
                             **options: Any) -> Connection:
        """A connection for the caller, until it is released."""
        self._checkpid()
        if not self._checked:
            await asyncio.get_running_loop().run_in_executor(None, self._prepare)
            self._checked = True
        connection = self._take()
        try:
            await connection.connect()
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Connection) -> None:
        """Gives a connection back, and with it what it holds."""
        self._checkpid()
        if connection not in self._in_use_connections:
            connection.end()
            return
        self._in_use_connections.discard(connection)
        connection.give_back()
        self._available_connections.append(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Ends connections."""
        self._checkpid()
        for connection in [*self._available_connections,
                           *(self._in_use_connections if inuse_connections else ())]:
            connection.end()

    async def re_auth_callback(self, token: Any) -> None:
        """The broker logs in."""

    async def aclose(self) -> None:
        """Ends all connections and leaves the pool; the next use takes it up again."""
        await self.disconnect()
        self.lendis.close()
        self._checked = False

    async def __aenter__(self) -> "ConnectionPool":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()
