# SPDX-License-Identifier: MIT
"""Celery and kombu on a pool of lendisd's.

    broker_url = "lendis.celery:Transport+lendis://main"
    result_backend = "lendis.celery:Backend+lendis://main"

Where this module is imported first, "lendis://main" does for both. The broker's socket is
$LENDIS_SOCKET, or "socket" in broker_transport_options and in result_backend_transport_options.

A consumer waits for messages (BRPOP) and for events (PSUBSCRIBE) as long as it lives: each of the
two holds a connection of the pool. All else, publishing and results, holds nothing.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from celery.app.backends import BACKEND_ALIASES
from celery.backends.redis import RedisBackend as _Backend
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as _redis

from . import _process
from .connection import Connection
from .connection_pool import ConnectionPool

__all__ = ["Backend", "Channel", "Transport"]

TRANSPORT_ALIASES.setdefault("lendis", "lendis.celery:Transport")
BACKEND_ALIASES.setdefault("lendis", "lendis.celery:Backend")


def _place(url: str | None) -> dict[str, Any]:
    """Pool and database of lendis://POOL/DB."""
    parts = urlsplit(url or "")
    place: dict[str, Any] = {"pool": parts.hostname or "main"}
    if parts.path.strip("/"):
        place["db"] = int(parts.path.strip("/"))
    return place


def _polled(channel: "Channel") -> type[Connection]:
    """Connections whose descriptors are in the event loop of a channel's transport."""

    class Polled(Connection):
        def disconnect(self, *arguments: Any) -> None:
            # The descriptor is not closed by this: it is taken out before somebody else has it. A
            # forked child shares the parent's loop and leaves it alone.
            if self._sock is not None and self.pid == _process.pid:
                channel.forget(self._sock)
            super().disconnect(*arguments)
            channel._on_connection_disconnect(self)

    return Polled


class Channel(_redis.Channel):
    """kombu's Redis channel with connections that are borrowed."""

    socket = None
    from_transport_options = (*_redis.Channel.from_transport_options, "socket")

    def _get_pool(self, asynchronous: bool = False) -> ConnectionPool:
        info = self.connection.client
        url = info.hostname if "://" in (info.hostname or "") else \
            f"lendis://{info.hostname or 'main'}/{(info.virtual_host or '').strip('/')}"
        place = _place(url)
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=place.get("db", 0))
        return ConnectionPool(
            _polled(self) if asynchronous else Connection, pinned=asynchronous,
            socket=self.socket, max_connections=self.max_connections,
            socket_timeout=self.socket_timeout, retry_on_timeout=self.retry_on_timeout,
            health_check_interval=self.health_check_interval, **place)

    def forget(self, sock: Any) -> None:
        """Takes a connection out of everything that would poll it."""
        cycle = self.connection.cycle if self.connection else None
        if cycle is None:
            return
        cycle.poller.unregister(sock)
        cycle._fd_to_chan.pop(sock.fileno(), None)
        for key in [key for key, value in cycle._chan_to_sock.items() if value is sock]:
            del cycle._chan_to_sock[key]


class Transport(_redis.Transport):
    """For broker_url."""

    Channel = Channel
    default_port = None


class Backend(_Backend):
    """For result_backend."""

    def _get_pool(self, **options: Any) -> ConnectionPool:
        transport = self.app.conf.result_backend_transport_options or {}
        kept = {name: options[name] for name in
                ("max_connections", "socket_timeout", "retry_on_timeout", "health_check_interval")
                if name in options}
        return ConnectionPool(socket=transport.get("socket"), **kept, **_place(self.url))
