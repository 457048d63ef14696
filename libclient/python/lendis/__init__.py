# SPDX-License-Identifier: MIT
"""lendis: Redis connections borrowed from the broker of this host. See lendis-python(7).

``lendis.ConnectionPool`` takes the place of ``redis.ConnectionPool``; ``lendis.Pool`` needs no
redis-py.
"""

from ._version import VERSION as __version__
from .errors import (
    BusyError, ConfigurationError, DeniedError, DisabledError, DownError, LendisError,
    ResponseError, RevokedError, SystemCallError, TimeoutError, UncertainError, VersionError,
)
from .pool import Lease, Pool

__all__ = [
    "BusyError", "ConfigurationError", "DeniedError", "DisabledError", "DownError", "Lease",
    "LendisError", "Pool", "ResponseError", "RevokedError", "SystemCallError", "TimeoutError",
    "UncertainError", "VersionError", "__version__",
]
