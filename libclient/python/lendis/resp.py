# SPDX-License-Identifier: MIT
"""RESP2 and RESP3, the bytes between Redis and its clients: commands to bytes, bytes to values.

Errors are values here: whoever reads decides whether to raise them. What a server pushes (RESP3)
comes as a ``Push``.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Optional

from .errors import ResponseError

Decode = Optional[Callable[[bytes], Any]]


class Incomplete(Exception):
    """There is no whole value yet."""


class Push(list):
    """What nobody asked for: a message, an invalidated key."""


def _word(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = type(value).__name__
        raise TypeError(f"a command's words are bytes, str, int or float, not {kind}")
    return repr(value).encode()


def encode(words: Iterable[Any]) -> bytes:
    """One command as bytes."""
    encoded = [_word(word) for word in words]
    if not encoded:
        raise ValueError("a command has at least one word")
    pieces = [b"*%d\r\n" % len(encoded)]
    pieces += [b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded]
    return b"".join(pieces)


def first_name(request: bytes) -> bytes:
    """The name of the first of the commands, in capitals."""
    lines = request[:96].split(b"\r\n", 3)
    return lines[2].upper() if len(lines) > 3 else b""


def names(request: bytes) -> Iterable[bytes]:
    """The names of the commands, in capitals."""
    at = 0
    while at < len(request):
        end = request.index(b"\r\n", at)
        words, at = int(request[at + 1:end]), end + 2
        for word in range(words):
            end = request.index(b"\r\n", at)
            size = int(request[at + 1:end])
            if word == 0:
                yield request[end + 2:end + 2 + size].upper()
            at = end + 2 + size + 2


_parse_redis_error: Callable[[str], Exception] | None = None


def _error_parser() -> Callable[[str], Exception]:
    """redis-py's own, which has a class for each kind of error; without it, one for all."""
    try:
        from redis._parsers.base import BaseParser
    except ImportError:
        try:
            from redis.connection import BaseParser
        except ImportError:
            return ResponseError
    return BaseParser().parse_error


def error_text(text: str) -> Exception:
    """The exception for an error reply, as redis-py would raise it."""
    global _parse_redis_error
    if _parse_redis_error is None:
        _parse_redis_error = _error_parser()
    return _parse_redis_error(text)


def error_from(text: bytes) -> Exception:
    """The same, of what Redis sent."""
    return error_text(text.decode("utf-8", "replace"))


def _hashable(values: list) -> Any:
    try:
        return set(values)
    except TypeError:
        return values


def parse(data: bytes, at: int, decode: Decode) -> tuple[Any, int]:
    """The value that begins at ``at``, and where the next one does. ``decode`` is for strings.

    Raises Incomplete if the value does not end within ``data``.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind = data[at:at + 1]
    line = data[at + 1:end]
    after = end + 2
    if kind == b"$" or kind == b"=" or kind == b"!":
        size = int(line)
        if size < 0:
            return None, after
        end = after + size
        if len(data) < end + 2:
            raise Incomplete
        value: Any = data[after:end]
        if kind == b"!":
            return error_from(value), end + 2
        if kind == b"=":
            value = value[4:]
        return (decode(value) if decode else value), end + 2
    if kind == b":" or kind == b"(":
        return int(line), after
    if kind == b"+":
        return (decode(line) if decode else line), after
    if kind == b"-":
        return error_from(line), after
    if kind == b"_":
        return None, after
    if kind == b",":
        return float(line), after
    if kind == b"#":
        return line == b"t", after
    return _parse_aggregate(kind, line, data, after, decode)


def _parse_aggregate(kind: bytes, line: bytes, data: bytes, at: int,
                     decode: Decode) -> tuple[Any, int]:
    count = int(line)
    if count < 0:
        return None, at
    if kind == b"%" or kind == b"|":
        count *= 2
    elif kind not in (b"*", b"~", b">"):
        raise ValueError(f"no reply of Redis begins with {kind!r}")
    values = []
    for _ in range(count):
        value, at = parse(data, at, decode)
        values.append(value)
    if kind == b"|":  # attributes of the value that follows
        return parse(data, at, decode)
    if kind == b"%":
        return dict(zip(values[::2], values[1::2])), at
    if kind == b"~":
        return _hashable(values), at
    return (Push(values) if kind == b">" else values), at


def decoded(value: Any, decode: Callable[[bytes], Any]) -> Any:
    """A value whose strings were left as bytes, with them decoded."""
    if isinstance(value, bytes):
        return decode(value)
    if isinstance(value, list):
        return type(value)(decoded(each, decode) for each in value)
    if isinstance(value, dict):
        return {decoded(key, decode): decoded(each, decode) for key, each in value.items()}
    if isinstance(value, set):
        return {decoded(each, decode) for each in value}
    return value


def parse_all(data: bytes, decode: Decode = None) -> list:
    """All the values that ``data`` consists of."""
    values = []
    at = 0
    while at < len(data):
        value, at = parse(data, at, decode)
        values.append(value)
    return values
