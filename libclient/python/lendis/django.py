# SPDX-License-Identifier: MIT
"""Django's cache on a pool of lendisd's.

Of Django 4.0 and later, its own Redis backend:

    CACHES = {"default": {"BACKEND": "lendis.django.RedisCache", "LOCATION": "lendis://main"}}

With django-redis:

    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "lendis://main",
                          "OPTIONS": {"CONNECTION_POOL_CLASS": "lendis.ConnectionPool"}}}
"""

from __future__ import annotations

from typing import Any

from django.core.cache.backends import redis as _redis

from .connection_pool import ConnectionPool

__all__ = ["RedisCache"]


class RedisCache(_redis.RedisCache):
    """django.core.cache.backends.redis.RedisCache with lendis.ConnectionPool.

    The backend makes a client for each thread; all of them share one membership of the pool.
    """

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        options = {"pool_class": ConnectionPool, **params.get("OPTIONS", {})}
        super().__init__(server, {**params, "OPTIONS": options})
