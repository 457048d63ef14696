# SPDX-License-Identifier: MIT
"""The options that redis-py's pools take, and what becomes of each with lendis.

Address, password, TLS and socket are the pool's own, in lendis.conf(5): what a program says of them
is not used. What would change what its commands mean (another database, another user, RESP3) is an
error, never something else than what was asked for.
"""

from __future__ import annotations

from typing import Any, Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

from . import resp
from .errors import ConfigurationError, ResponseError
from .pool import Pool

# For lendis.Pool.
_OF_POOL = ("replica", "attach_timeout", "fallback_url", "fallback_username",
            "fallback_password_file", "fallback_connections")
_USED = frozenset((
    "encoding", "encoding_errors", "decode_responses", "socket_timeout", "health_check_interval",
    "retry", "retry_on_timeout", "retry_on_error", "db", "username", "host", "port", "protocol"))
_OF_CONFIGURATION = frozenset((
    "path", "password", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options",
    "socket_type", "socket_read_size", "parser_class", "command_packer", "lib_name", "lib_version",
    "driver_info", "ssl", "queue_class", "event_dispatcher", "virtual_host",
    "maint_notifications_config"))
_NOT_TO_BE_HAD = {
    "client_name": "the name of a shared connection is the pool's (client_name in lendis.conf(5))",
    "redis_connect_func": "the broker connects",
    "credential_provider": "the broker logs in",
    "cache": "client-side caching needs a connection of its own",
    "cache_config": "client-side caching needs a connection of its own",
}


def check(options: dict[str, Any]) -> None:
    """Raises for what lendis cannot give, and for what redis-py does not know."""
    for name, value in options.items():
        if name in _NOT_TO_BE_HAD:
            if value is not None:
                raise ConfigurationError(f"{name}: {_NOT_TO_BE_HAD[name]}")
        elif name not in _USED and name not in _OF_CONFIGURATION and not name.startswith("ssl_"):
            raise TypeError(f"a pool of lendis has no option {name!r}")
    if str(options.get("protocol") or 2) != "2":
        raise ConfigurationError("protocol: pools of lendis speak RESP2")


def take_pool(options: dict[str, Any], socket: Any, pool: str) -> Pool:
    """Makes the Pool, lazily, and takes its options out of ``options``."""
    own = {name: options.pop(name) for name in _OF_POOL if name in options}
    return Pool(pool, socket, lazy=True, **own)


def from_lendis_url(url: str) -> Iterator[tuple[str, str]]:
    """The options in lendis://POOL?socket=PATH&..."""
    parts = urlsplit(url)
    if parts.hostname:
        yield "pool", unquote(parts.netloc)
    if parts.path not in ("", "/"):
        yield "db", parts.path.strip("/")
    yield from parse_qsl(parts.query)


def profile_request(options: dict[str, Any]) -> bytes | None:
    """What to ask the pool before its first use; None: nothing depends on it."""
    if options.get("db") is None and not options.get("username"):
        return None
    return resp.encode(("CLIENT", "INFO"))


def check_profile(options: dict[str, Any], name: str, reply: bytes) -> None:
    """Raises if the pool's connections are of another database or user than was asked for."""
    info, _ = resp.parse(reply, 0, None)
    db, user = int(options.get("db") or 0), options.get("username")
    if isinstance(info, ResponseError):
        if db or user:
            raise ConfigurationError(
                f"pool {name}: Redis does not say which database and user it is of ({info}), so "
                "leave them out of the options")
        return
    fields = dict(field.partition("=")[::2] for field in info.decode().split())
    if int(fields.get("db", 0)) != db:
        raise ConfigurationError(f"pool {name} is of database {fields['db']}, not of {db}: another "
                                 "database is another pool, see redis in lendis.conf(5)")
    if user and fields.get("user", user) != user:
        raise ConfigurationError(f"pool {name} is of user {fields['user']}, not of {user}")
