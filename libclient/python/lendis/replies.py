# SPDX-License-Identifier: MIT
"""Replies that have come and were not read yet.

Small ones are read here. Larger ones are given to hiredis-py where that is installed, as redis-py
does, but a reader lives only as long as there is something in it: redis-py's 64 kB for each
connection are what a pool of idle connections costs most.
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import InvalidResponse

from . import resp

try:
    import hiredis
except ImportError:
    hiredis = None

# From here on a reader of hiredis pays.
_LARGE = 1024


class Replies:
    """Whole replies as bytes, read one by one."""

    def __init__(self, decode: resp.Decode, encoding: str, errors: str) -> None:
        self._decode = decode
        self._options = {"encoding": encoding, "errors": errors} if decode else {}
        self.clear()

    def clear(self) -> None:
        self.some = False  # there are some
        self._data = b""
        self._at = 0
        self._reader: Any = None

    def add(self, data: bytes) -> None:
        """More of them, whole."""
        if not self.some:
            self.some = True
            if hiredis and len(data) >= _LARGE:
                self._reader = hiredis.Reader(replyError=resp.error_text,
                                              protocolError=InvalidResponse, **self._options)
                self._reader.feed(data)
            else:
                self._data, self._at = data, 0
        elif self._reader is not None:
            self._reader.feed(data)
        else:
            self._data = self._data[self._at:] + data
            self._at = 0

    def next(self, decoded: bool = True) -> Any:
        """The next one. Errors are values."""
        if self._reader is not None:
            value = self._reader.gets() if decoded else self._reader.gets(False)
            if not self._reader.has_data():
                self.clear()
            return value
        value, self._at = resp.parse(self._data, self._at, self._decode if decoded else None)
        if self._at >= len(self._data):
            self.clear()
        return value
