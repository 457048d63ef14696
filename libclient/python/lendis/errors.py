# SPDX-License-Identifier: MIT
"""What can go wrong, as exceptions.

Each result of liblendis has a class. Where redis-py is installed the classes are kinds of
redis-py's own, so that a program's ``except redis.ConnectionError`` goes on working; without it
they are kinds of Python's.
"""

from __future__ import annotations

import os

from . import _library

try:
    from redis.exceptions import (
        AuthorizationError as _Denied,
        ConnectionError as _Connection,
        DataError as _Data,
        RedisError as _Base,
        ResponseError,
        TimeoutError as _Timeout,
    )
except ImportError:
    _Base = Exception
    _Connection = ConnectionError
    _Timeout = TimeoutError
    _Denied = PermissionError
    _Data = ValueError

    class ResponseError(Exception):  # type: ignore[no-redef]
        """Redis answered with an error."""


__all__ = [
    "LendisError", "TimeoutError", "BusyError", "RevokedError", "UncertainError", "DownError",
    "DeniedError", "DisabledError", "VersionError", "SystemCallError", "ConfigurationError",
    "ResponseError",
]


class LendisError(_Base):
    """Something that lendis could not do. ``result`` is what liblendis returned."""

    result: int = 0

    def __init__(self, *args: object, result: int | None = None) -> None:
        super().__init__(*args)
        if result is not None:
            self.result = result


class TimeoutError(LendisError, _Timeout):
    """The time limit passed. Nothing was sent, or only reads."""

    result = 1


class BusyError(LendisError, _Connection):
    """All connections are in use, and the queue for them is full or the call was not to wait."""

    result = 2


class RevokedError(LendisError, _Connection):
    """The connection was taken from its holder, or Redis ended it."""

    result = 3


class UncertainError(LendisError, _Timeout, _Connection):
    """The command was sent and no whole reply came: nobody knows whether it was executed.

    It is both a ``redis.TimeoutError`` and a ``redis.ConnectionError``: without lendis it would
    have been one or the other.
    """

    result = 4


class DownError(LendisError, _Connection):
    """Redis, or the broker when it is needed, cannot be reached. Nothing was executed."""

    result = 5


class DeniedError(LendisError, _Denied):
    """This user may not use this pool."""

    result = 6


class DisabledError(LendisError, _Connection):
    """The pool is switched off or drained."""

    result = 7


class VersionError(LendisError, _Connection):
    """The library and the broker are of versions that do not fit each other."""

    result = 8


class SystemCallError(LendisError, _Connection):
    """A system call failed. ``errno`` says why."""

    def __init__(self, *args: object, result: int | None = None) -> None:
        super().__init__(*args, result=result)
        self.errno = -self.result


class ConfigurationError(LendisError, _Data, ValueError):
    """An option asks for what only the pool's own configuration can give."""


_KINDS: dict[int, type[LendisError]] = {
    kind.result: kind
    for kind in (TimeoutError, BusyError, RevokedError, UncertainError, DownError, DeniedError,
                 DisabledError, VersionError)
}


def from_result(result: int, about: str = "") -> LendisError:
    """The exception for a result of liblendis that is not 0."""
    kind = _KINDS.get(result, SystemCallError if result < 0 else LendisError)
    text = os.fsdecode(_library.strerror(result))
    return kind(f"{about}: {text}" if about else text, result=result)
