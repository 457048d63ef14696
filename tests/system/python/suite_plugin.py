# SPDX-License-Identifier: MIT
"""A plugin of pytest for suite.py: the clients that redis-py's own tests make through their
fixtures get a pool of lendis'. What tests make themselves is redis-py's own, and so is the address.
"""

import redis
import redis.asyncio

import lendis
import lendis.asyncio
import lendis.connection_pool


class _With:
    """A module with another ConnectionPool."""

    def __init__(self, module, pool):
        self._module = module
        self.ConnectionPool = pool

    def __getattr__(self, name):
        return getattr(self._module, name)


def _pool(ours, theirs):
    def make(**options):
        try:
            return ours(**options)
        except lendis.ConfigurationError:
            if "client_name" in options or "credential_provider" in options:
                return theirs(**options)  # refused, as lendis-python(7) says
            raise
    return make


def pytest_collection_modifyitems(session, items):
    """Before the first test: conftest.py makes clients by the name ``redis``."""
    seen = 0
    for plugin in session.config.pluginmanager.get_plugins():
        name = getattr(plugin, "__name__", "")
        module = getattr(plugin, "redis", None)
        if not name.endswith("conftest") or module is None:
            continue
        for of, ours in ((redis, lendis.ConnectionPool),
                         (redis.asyncio, lendis.asyncio.ConnectionPool)):
            if module is of:
                plugin.redis = _With(of, _pool(ours, of.ConnectionPool))
                seen += 1
    assert seen, "this suite makes its clients in another way"
