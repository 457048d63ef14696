# SPDX-License-Identifier: MIT
"""Flask-Caching on a pool of lendisd's.

    CACHE_TYPE = "lendis.flask.RedisCache"

The pool is that of CACHE_REDIS_URL, lendis://POOL?socket=PATH; without one, "main".
"""

from __future__ import annotations

from typing import Any

import redis
from flask_caching.backends import rediscache as _rediscache

from .connection_pool import ConnectionPool

__all__ = ["RedisCache"]


class RedisCache(_rediscache.RedisCache):
    """flask_caching's RedisCache with lendis.ConnectionPool."""

    @classmethod
    def factory(cls, app: Any, config: Any, args: list, kwargs: dict[str, Any]) -> "RedisCache":
        """Called by Flask-Caching."""
        pool = ConnectionPool.from_url(config.get("CACHE_REDIS_URL") or "lendis://main")
        prefix = config.get("CACHE_KEY_PREFIX")
        if prefix:
            kwargs["key_prefix"] = prefix
        return cls(*args, **{**kwargs, "host": redis.Redis(connection_pool=pool)})
