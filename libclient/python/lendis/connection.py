# SPDX-License-Identifier: MIT
"""What lendis.ConnectionPool gives to redis-py: a connection without a socket.

What is sent is kept until the first reply is read. Then it goes to lendis as one request, which is
handed over to another process if no connection is idle. A request that needs a connection of its
own (WATCH, MULTI in a call of its own) takes a lease, which is kept as long as something pins it;
SUBSCRIBE and MONITOR take one as a stream until the connection is given back. So an idle
connection holds nothing, and costs a kilobyte.

It has the names of redis-py's Connection that clients call, of redis-py 4.3 to 7.
"""

from __future__ import annotations

import copy
import socket
import threading
import time
import weakref
from typing import Any, Iterable

import redis.connection
from redis.backoff import NoBackoff
from redis.connection import Encoder
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from . import _process, resp
from .errors import LendisError
from .pool import Lease, Pool, milliseconds
from .replies import Replies
from .stream import Stream

# Answered more than once, or by nothing at all.
STREAMS = frozenset(
    name if kind is bytes else name.decode() for kind in (bytes, str) for name in (
        b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE",
        b"SUNSUBSCRIBE", b"MONITOR", b"SYNC", b"PSYNC"))
# Of use only for what follows on the same connection.
_SESSION = frozenset((b"SELECT", b"READONLY", b"READWRITE", b"ASKING", b"CLIENT", b"HIMPORT"))


def make_retry(kind: type, retry: Any, retry_on_error: Any,
               retry_on_timeout: bool) -> tuple[Any, list]:
    """The policy and the errors that it is for, as redis-py makes them of options."""
    if not isinstance(retry_on_error, (list, tuple)):
        retry_on_error = ()
    errors = list(retry_on_error)
    if retry_on_timeout and TimeoutError not in errors:
        errors.append(TimeoutError)
    if retry is not None:
        retry = copy.deepcopy(retry)
    else:
        retry = kind(NoBackoff(), 1 if errors else 0)
    if errors:
        retry.update_supported_errors(errors)
    return retry, errors


# The clock of next_health_check, which clients read: 4.3 has another than 6.
_now = time.monotonic if "monotonic" in redis.connection.Connection.check_health.__code__.co_names \
    else time.time
# So many replies at most are looked through for one that ends the connection.
_REPLIES = 256


def failure(value: Any) -> Exception | None:
    """What to raise for a reply, as redis-py's parsers do. In the replies of a transaction, one
    that ends the connection (Redis is loading) counts alone."""
    kind = type(value)
    if kind is bytes or kind is str or kind is int:
        return None
    if kind is list and len(value) <= _REPLIES:
        for each in value:
            if isinstance(each, ConnectionError):
                return each
        return None
    return value if isinstance(value, Exception) else None


# What is larger is not copied into what is sent with it.
_LARGE = 6000


def _encoded(word: Any, encoder: Encoder) -> Any:
    kind = type(word)
    if kind is bytes:
        return word
    if kind is str:
        return word.encode(encoder.encoding, encoder.encoding_errors)
    return encoder.encode(word)


def pack(encoder: Encoder, commands: Iterable) -> list:
    """Commands as pieces of bytes. A command's name may be several words, "CONFIG GET"."""
    pieces, small = [], []
    for words in commands:
        first = words[0]
        if type(first) is str:
            first = first.encode()
        if b" " in first:
            words = (*first.split(), *words[1:])
        small.append(b"*%d\r\n" % len(words))
        for word in words:
            encoded = _encoded(word, encoder)
            if type(encoded) is memoryview or len(encoded) > _LARGE:
                size = encoded.nbytes if type(encoded) is memoryview else len(encoded)
                small.append(b"$%d\r\n" % size)
                pieces += (b"".join(small), encoded)
                small = [b"\r\n"]
            else:
                small.append(b"$%d\r\n%b\r\n" % (len(encoded), encoded))
    pieces.append(b"".join(small))
    return pieces


class Pins:
    """Why a lease is kept after a request: what the request leaves for the next one."""

    def __init__(self) -> None:
        self._left: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._left)

    def follow(self, request: bytes) -> None:
        for name in resp.names(request):
            if name in (b"EXEC", b"DISCARD"):
                self._left -= {b"MULTI", b"WATCH"}
            elif name == b"UNWATCH" and b"MULTI" not in self._left:
                self._left.discard(b"WATCH")
            elif name in (b"MULTI", b"WATCH") or name in _SESSION:
                self._left.add(name)

    def clear(self) -> None:
        self._left.clear()


class Parser:
    """Stands where redis-py's clients expect a connection's parser."""

    def set_pubsub_push_handler(self, handler: Any) -> None:
        """RESP3 alone has pushes of this kind."""

    def set_invalidation_push_handler(self, handler: Any) -> None:
        """Likewise."""


class ConnectionBase:
    """What connections for threads and for asyncio have in common."""

    retry_class: type = Retry
    credential_provider = None  # the broker logs in

    def __init__(self, lendis_pool: Pool, encoder: Encoder, *, socket_timeout: float | None = None,
                 health_check_interval: float = 0, retry: Any = None,
                 retry_on_error: Any = None, retry_on_timeout: bool = False,
                 db: int | str = 0, host: str = "localhost", port: int | str = 6379,
                 wait_limit: float | None = None, pinned: bool = False, combine: Any = None,
                 **_: Any) -> None:
        self._pool = lendis_pool
        self.encoder = encoder
        self.socket_timeout = socket_timeout
        self.health_check_interval = health_check_interval
        self.next_health_check = 0.0
        self.retry, self.retry_on_error = make_retry(
            self.retry_class, retry, retry_on_error, retry_on_timeout)
        self.retry_on_timeout = retry_on_timeout
        self.db, self.host, self.port = db, host, port
        self.client_name = None
        self.handshake_metadata: dict = {}
        self.pid = _process.pid
        self._pinned = pinned
        self._combine = combine  # of asyncio: gives the running loop's Combiner
        self._limit_ms = milliseconds(socket_timeout)
        self._wait_ms = milliseconds(wait_limit)
        self._decode = self._decoder()
        self._callbacks: list = []
        self._connected = False
        self._parser = Parser()
        self._pins = Pins()
        self._out: list = []  # packed, not sent yet
        self._in = Replies(self._decode, encoder.encoding, encoder.encoding_errors)

    def _decoder(self) -> resp.Decode:
        if not self.encoder.decode_responses:
            return None
        encoding, errors = self.encoder.encoding, self.encoder.encoding_errors
        return lambda data: data.decode(encoding, errors)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}(pool={self._pool.name})>"

    def repr_pieces(self) -> list:
        return [("pool", self._pool.name)]

    def register_connect_callback(self, callback: Any) -> None:
        reference = weakref.WeakMethod(callback)
        if reference not in self._callbacks:
            self._callbacks.append(reference)

    def deregister_connect_callback(self, callback: Any) -> None:
        self._callbacks = [each for each in self._callbacks if each() != callback]

    def clear_connect_callbacks(self) -> None:
        self._callbacks = []

    def pack_command(self, *words: Any) -> list:
        return pack(self.encoder, (words,))

    def pack_commands(self, commands: Iterable) -> list:
        return pack(self.encoder, commands)

    def get_protocol(self) -> int:
        return 2

    @property
    def is_connected(self) -> bool:
        return self._connected

    def should_reconnect(self) -> bool:
        return False

    def mark_for_reconnect(self) -> None:
        """Connections are the broker's to replace."""

    def reset_should_reconnect(self) -> None:
        """Likewise."""

    def set_re_auth_token(self, token: Any) -> None:
        """The broker logs in."""

    def _lost(self, error: OSError) -> Exception:
        if isinstance(error, socket.timeout):
            return TimeoutError(f"Timeout reading from pool {self._pool.name}")
        return ConnectionError(f"Connection of pool {self._pool.name} lost: {error}")

    def _take_out(self) -> bytes:
        request, self._out = b"".join(self._out), []
        return request

    def _owes_nothing(self) -> Exception:
        return ConnectionError("nothing was sent, so no reply will come")

    def _forget(self) -> None:
        self._out = []
        self._in.clear()
        self._pins.clear()
        self._connected = False


class Connection(ConnectionBase):
    """For redis.Redis. Belongs to one thread at a time."""

    def __init__(self, *arguments: Any, health_check_interval: float = 0, **options: Any) -> None:
        super().__init__(*arguments, health_check_interval=health_check_interval, **options)
        self._lease: Lease | None = None
        self._stream: Stream | None = None
        self._using = threading.Lock()  # held while something is sent or read
        self._doomed = False            # another thread wants it ended

    @property
    def _sock(self) -> Stream | None:
        return self._stream

    def __del__(self) -> None:
        try:
            self._end()
        except Exception:
            pass

    # ---- its beginning and end ----

    def connect(self) -> None:
        """Makes it fit for use. Holds nothing, unless the pool's connections are pinned."""
        if self.pid != _process.pid:
            self._leave_to_parent()
        if self._connected:
            return
        self._connected = True
        if self._pinned:
            self._open_stream()
        for reference in list(self._callbacks):
            callback = reference()
            if callback:
                callback(self)

    def _leave_to_parent(self) -> None:
        """After a fork: what it held is the parent's."""
        held = self._lease or self._stream
        self.pid = _process.pid
        self._using = threading.Lock()
        self._lease = self._stream = None
        self._doomed = False
        self._forget()
        if held:
            raise ConnectionError("this connection was in use when the process was forked")

    def disconnect(self, *_: Any) -> None:
        """Gives back what it holds, as broken if a reply is owed, and forgets what was not sent."""
        self._end()

    def _end(self) -> None:
        mine = self.pid == _process.pid
        lease, self._lease = self._lease, None
        stream, self._stream = self._stream, None
        if mine and lease:
            lease.release()
        if mine and stream:
            stream.close()
        self._doomed = False
        self._forget()

    def give_back(self) -> None:
        """It goes to its pool: nothing is left in it."""
        if self._out and self._connected and self.pid == _process.pid:
            try:
                self._send_out()
            except Exception:
                pass
        if self._lease or self._stream or self._in.some or self._out or self._doomed:
            self._end()

    def end_elsewhere(self) -> None:
        """Disconnects it, from whichever thread: one that is using it does it when it is done."""
        if self._using.acquire(blocking=False):
            try:
                self.disconnect()
            finally:
                self._using.release()
            return
        self._doomed = True
        stream = self._stream
        if stream:
            stream.abort()

    def _open_stream(self) -> None:
        lease, self._lease = self._lease, None
        try:
            self._stream = Stream(lease or self._pool.take(self._wait_ms))
        except LendisError:
            self.disconnect()
            raise

    # ---- requests ----

    def send_command(self, *words: Any, **options: Any) -> None:
        """Packs a command and sends it, or keeps it until its reply is read."""
        if words[0] in STREAMS and self._stream is None:
            if not self._connected or self.pid != _process.pid:
                self.connect()
            if self._stream is None:
                self._open_stream()
        pieces = pack(self.encoder, (words,))
        if self._stream is None and self._connected and self.pid == _process.pid:
            self._out += pieces
        else:
            self.send_packed_command(pieces)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """The same for what is packed. The broker looks after health."""
        if not self._connected or self.pid != _process.pid:
            self.connect()
        if isinstance(command, (bytes, str)):
            command = [command if isinstance(command, bytes) else command.encode()]
        if self._stream is None:
            self._out.extend(command)
        else:
            self._exclusively(self._stream.send, b"".join(command), self.socket_timeout)

    def _exclusively(self, function: Any, *arguments: Any) -> Any:
        """Calls it while nobody else uses this connection, which it costs if that fails."""
        try:
            with self._using:
                return function(*arguments)
        except OSError as error:
            self.disconnect()
            raise self._lost(error) from None
        except BaseException:
            self.disconnect()
            raise

    def _send_out(self) -> None:
        """Sends what is kept and reads all replies."""
        reply = self._exclusively(lambda: self._answer(self._take_out()))
        if reply is not None:
            self._in.add(reply)

    def _answer(self, request: bytes) -> bytes | None:
        """The replies; None: they come over the stream."""
        if self._lease is None:
            reply = self._pool.request(request, self._limit_ms)
            if reply is not None:
                return reply
            if resp.first_name(request) in STREAMS or b"\r\nREPLY\r\n" in request[:64].upper():
                self._open_stream()
                assert self._stream
                self._stream.send(request, self.socket_timeout)
                return None
            self._lease = self._pool.take(self._wait_ms)
        reply = self._lease.request(request, self._limit_ms)
        self._pins.follow(request)
        return reply

    def _unpin(self) -> None:
        """Gives the lease back if nothing needs it any more."""
        if self._lease and not self._pins and not self._out:
            lease, self._lease = self._lease, None
            lease.release()

    # ---- replies ----

    def can_read(self, timeout: float | None = 0) -> bool:
        """Whether a reply can be read within the limit."""
        if not self._connected or self.pid != _process.pid:
            self.connect()
        if self._in.some:
            return True
        if self._out:
            self._send_out()
        if self._stream is None:
            return self._in.some
        return self._exclusively(self._stream.can_read, timeout)

    def read_response(self, disable_decoding: bool = False, *, timeout: Any = None,
                      disconnect_on_error: bool = True, push_request: bool = False) -> Any:
        """The reply to what was sent first. Raises an error reply."""
        if self.pid != _process.pid:
            self._leave_to_parent()
        if self._out:
            self._send_out()
        if self._in.some:
            value = self._in.next(not disable_decoding)
            if self._lease and not self._in.some:
                self._unpin()
        elif self._stream is not None:
            value = self._read_stream(disable_decoding, disconnect_on_error)
        else:
            self.disconnect()
            raise self._owes_nothing()
        if self._doomed:
            self.disconnect()
        if self.health_check_interval:
            self.next_health_check = _now() + self.health_check_interval
        error = failure(value)
        if error is not None:
            if isinstance(error, ConnectionError):
                self.disconnect()
            raise error
        return value

    def _read_stream(self, disable_decoding: bool, disconnect_on_error: bool) -> Any:
        decode = None if disable_decoding else self._decode
        stream = self._stream
        assert stream
        try:
            with self._using:
                return stream.read(decode, self.socket_timeout)
        except socket.timeout as error:
            if disconnect_on_error:
                self.disconnect()
            raise self._lost(error) from None
        except OSError as error:
            self.disconnect()
            raise self._lost(error) from None
        except BaseException:
            self.disconnect()
            raise

    def check_health(self) -> None:
        """The broker watches every connection."""
        if self.health_check_interval:
            self.next_health_check = _now() + self.health_check_interval

    def re_auth(self) -> None:
        """The broker logs in."""

    def on_connect(self) -> None:
        """The broker has logged in and selected the database."""
