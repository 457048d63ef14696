# SPDX-License-Identifier: MIT
"""lendis: Redis connections borrowed from the broker of this host. See lendis-python(7).

``lendis.ConnectionPool`` takes the place of ``redis.ConnectionPool``; ``lendis.Pool`` needs no
redis-py.
"""

from typing import TYPE_CHECKING, Any

from ._version import VERSION as __version__
from .errors import (
    BusyError, ConfigurationError, DeniedError, DisabledError, DownError, LendisError,
    ResponseError, RevokedError, SystemCallError, TimeoutError, UncertainError, VersionError,
)
from .pool import Lease, Pool

if TYPE_CHECKING:
    from .connection import Connection
    from .connection_pool import ConnectionPool



def __getattr__(name: str) -> Any:
    # redis-py is loaded by who uses it.
    if name == "ConnectionPool":
        from .connection_pool import ConnectionPool

        return ConnectionPool
    if name == "Connection":
        from .connection import Connection

        return Connection
    raise AttributeError(f"module 'lendis' has no attribute {name!r}")


__all__ = [
    "Connection", "ConnectionPool",
    "BusyError", "ConfigurationError", "DeniedError", "DisabledError", "DownError", "Lease",
    "LendisError", "Pool", "ResponseError", "RevokedError", "SystemCallError", "TimeoutError",
    "UncertainError", "VersionError", "__version__",
]
