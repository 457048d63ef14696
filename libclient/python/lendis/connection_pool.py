# SPDX-License-Identifier: MIT
"""lendis.ConnectionPool takes the place of redis.ConnectionPool, in redis-py 4.3 to 7.

    redis.Redis(connection_pool=lendis.ConnectionPool(pool="main"))

Its connections hold nothing while they are idle (lendis.connection). It works in every thread and
before and after a fork.
"""

from __future__ import annotations

import threading
from typing import Any

import redis
from redis.connection import Encoder
from redis.exceptions import ConnectionError

from . import _process, options as option_rules
from .connection import Connection
from .pool import Pool


_NO_LIMIT = 2**31


class PoolBase:
    """What the pools for threads and for asyncio have in common."""

    default_connection_class: type
    _combiner: Any = None

    def _setup(self, connection_class: Any, max_connections: int | None, socket: Any, pool: str,
               timeout: float | None, pinned: bool, options: dict[str, Any]) -> None:
        max_connections = max_connections or _NO_LIMIT
        if not isinstance(max_connections, int) or max_connections < 0:
            raise ValueError('"max_connections" must be a positive integer')
        self.lendis: Pool = option_rules.take_pool(options, socket, pool)
        option_rules.check(options)
        ours = self.default_connection_class
        # A URL's scheme makes redis-py name one of its own.
        self.connection_class = connection_class if isinstance(connection_class, type) and \
            issubclass(connection_class, ours) else ours
        self.connection_kwargs = options
        self.max_connections = max_connections
        self.timeout = timeout
        self.cache = None
        self._pinned = pinned
        self._checked = False
        self._encoder = self.get_encoder()
        self._lock = threading.RLock()
        self.reset()

    def get_encoder(self) -> Encoder:
        """What encodes and decodes for this pool's clients."""
        get = self.connection_kwargs.get
        return Encoder(encoding=get("encoding", "utf-8"),
                       encoding_errors=get("encoding_errors", "strict"),
                       decode_responses=get("decode_responses", False))

    def get_protocol(self) -> int:
        return 2

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}(pool={self.lendis.name})>"

    def reset(self) -> None:
        """Forgets all connections; those in use are their users' to end."""
        self._available_connections: list = []
        self._in_use_connections: set = set()
        self.pid = _process.pid

    def _checkpid(self) -> None:
        if self.pid != _process.pid:
            self._lock = threading.RLock()  # a thread of the parent may have held it
            self.reset()

    def make_connection(self) -> Any:
        """A new connection, which holds nothing yet."""
        return self.connection_class(
            lendis_pool=self.lendis, encoder=self._encoder, wait_limit=self.timeout,
            pinned=self._pinned, combine=self._combiner, **self.connection_kwargs)

    def _take(self) -> Any:
        if self.pid != _process.pid:
            self._checkpid()
        if self.max_connections < _NO_LIMIT:
            with self._lock:  # others may come between looking and taking
                return self._take_one_more()
        return self._take_one_more()

    def _take_one_more(self) -> Any:
        if len(self._in_use_connections) >= self.max_connections:
            raise ConnectionError("Too many connections")
        try:
            connection = self._available_connections.pop()
        except IndexError:
            connection = self.make_connection()
        self._in_use_connections.add(connection)
        return connection

    def owns_connection(self, connection: Any) -> bool:
        return connection in self._in_use_connections

    def _get_in_use_connections(self) -> set:
        return set(self._in_use_connections)

    def _get_free_connections(self) -> list:
        return list(self._available_connections)

    def set_retry(self, retry: Any) -> None:
        """Another policy, for the connections that there are as well."""
        self.connection_kwargs["retry"] = retry
        for connection in [*self._available_connections, *self._in_use_connections]:
            connection.retry = retry

    def re_auth_callback(self, token: Any) -> None:
        """The broker logs in."""


class ConnectionPool(PoolBase, redis.ConnectionPool):
    """A redis.ConnectionPool whose connections are borrowed from lendisd.

    ``pool`` is a pool of lendisd's, ``socket`` the broker's (None: $LENDIS_SOCKET, else
    /run/lendis/lendis.sock). ``timeout``: how long to wait for a connection where a command needs
    one of its own; None: as the pool says. ``pinned``: every connection holds one of Redis' from
    connect to disconnect, for programs that want its descriptor. All else as in redis-py.
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
                 pinned: bool = False, **options: Any) -> None:
        self._setup(connection_class, max_connections, socket, pool, timeout, pinned, options)

    def _check_profile(self) -> None:
        request = option_rules.profile_request(self.connection_kwargs)
        if request:
            reply = self.lendis.request(request)
            option_rules.check_profile(self.connection_kwargs, self.lendis.name, reply or b"")
        self._checked = True

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Connection:
        """A connection for the caller, until it is released."""
        if not self._checked:
            self.lendis.reopen()
            self._check_profile()
        connection = self._take()
        try:
            connection.connect()
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: Connection) -> None:
        """Gives a connection back, and with it what it holds."""
        if self.pid != _process.pid:
            self._checkpid()
        if connection not in self._in_use_connections:
            connection.disconnect()
            return
        self._in_use_connections.discard(connection)
        connection.give_back()
        self._available_connections.append(connection)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Ends connections; those that other threads are using end when these are done."""
        self._checkpid()
        connections = list(self._available_connections)
        if inuse_connections:
            connections += self._in_use_connections
        for connection in connections:
            connection.end_elsewhere()

    def close(self) -> None:
        """Ends all connections and leaves the pool; the next use takes it up again."""
        self.disconnect()
        self.lendis.close()
        self._checked = False
