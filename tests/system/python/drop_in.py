#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""lendis.ConnectionPool in the place of redis.ConnectionPool: the same answers and errors, on few
connections, with nothing held when nobody needs it."""

import os
import signal
import threading
import time

from support import eventually, in_child, need, run

need("redis")

import redis  # noqa: E402

import lendis  # noqa: E402


def raises(kind, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def direct(site, **options):
    return redis.Redis(unix_socket_path=site.redis_socket, **options)


def lent(**options):
    return redis.Redis(connection_pool=lendis.ConnectionPool(**options))


def outcome(client, name, words, options):
    """What a call comes to: its value, or the kind and text of its error."""
    try:
        return getattr(client, name)(*words, **options)
    except redis.RedisError as error:
        return type(error), str(error)


CALLS = [
    ("set", ("s", "v"), {}), ("get", ("s",), {}), ("get", ("none",), {}),
    ("set", ("b", b"\x00\r\n\xff"), {}), ("get", ("s",), {}), ("append", ("s", "w"), {}),
    ("incr", ("n",), {}), ("incrbyfloat", ("f", 1.5), {}), ("incr", ("s",), {}),
    ("mset", ({"a": 1, "c": "z" * 20000},), {}), ("mget", ("a", "none", "c"), {}),
    ("rpush", ("l", "a", "b", 3), {}), ("lrange", ("l", 0, -1), {}), ("lpop", ("none",), {}),
    ("hset", ("h",), {"mapping": {"k": "v", "m": 2}}), ("hgetall", ("h",), {}),
    ("hmget", ("h", "k", "none"), {}), ("sadd", ("set", 1, 2, 3), {}), ("smembers", ("set",), {}),
    ("zadd", ("z", {"a": 1, "b": 2.5}), {}), ("zrange", ("z", 0, -1), {"withscores": True}),
    ("zscore", ("z", "b"), {}), ("xadd", ("x", {"k": "v"}, "1-1"), {}), ("xrange", ("x",), {}),
    ("xread", ({"x": 0},), {}), ("xread", ({"x": 0},), {"block": 10}), ("type", ("z",), {}),
    ("exists", ("s", "none"), {}), ("expire", ("s", 100), {}), ("ttl", ("none",), {}),
    ("keys", ("s*",), {}), ("dbsize", (), {}), ("ping", (), {}), ("echo", ("hi",), {}),
    ("execute_command", ("NOSUCH",), {}), ("execute_command", ("OBJECT HELP",), {}),
    ("config_get", ("maxmemory",), {}), ("script_exists", ("0" * 40,), {}),
    ("eval", ("return {1, 'two', {3, false}}", 0), {}), ("evalsha", ("0" * 40, 0), {}),
    ("eval", ("return redis.error_reply('MY error')", 0), {}), ("lpush", ("s", 1), {}),
    ("geoadd", ("g", (13.36, 38.11, "p")), {}), ("geopos", ("g", "p", "none"), {}),
    ("pfadd", ("p", 1, 2), {}), ("pfcount", ("p",), {}), ("blpop", (["none"],), {"timeout": 0.02}),
    ("blpop", (["l"],), {"timeout": 1}), ("lmove", ("l", "l2"), {}), ("wait", (0, 10), {}),
    ("set", ("t", "v"), {"ex": 10, "nx": True, "get": False}), ("bitcount", ("s",), {}),
    ("scan", (), {"match": "nothing*"}), ("acl_whoami", (), {}), ("dump", ("none",), {}),
    ("set", ("s", True), {}), ("command_count", (), {}),
    ("client_no_evict", ("OFF",), {}), ("swapdb", (0, 1), {}), ("swapdb", (0, 1), {}),
    ("object", ("encoding", "a"), {}), ("restore", ("new", 0, b"broken"), {}),
    ("memory_usage", ("none",), {}), ("select", (0,), {}), ("flushdb", (), {}),
]


def same_answers(site):
    for decode in (False, True):
        site.do("FLUSHALL")
        own = direct(site, decode_responses=decode)
        expected = [outcome(own, *call) for call in CALLS]
        site.do("FLUSHALL")
        client = lent(decode_responses=decode)
        got = [outcome(client, *call) for call in CALLS]
        for call, want, have in zip(CALLS, expected, got):
            assert have == want, f"{call}: {have!r} where it is {want!r}"
        own.close()
    assert eventually(lambda: site.leased() == 0)


def pipelines(site):
    own, client = direct(site), lent()
    for transaction in (False, True):
        replies = []
        for each in (own, client):
            site.do("FLUSHALL")
            pipe = each.pipeline(transaction=transaction)
            pipe.set("k", "v").incr("k").get("k").lrange("none", 0, -1).hset("h", "a", 1)
            replies.append([str(reply) for reply in pipe.execute(raise_on_error=False)])
            raises(redis.ResponseError, each.pipeline(transaction=transaction).incr("k").execute)
            assert each.pipeline(transaction=transaction).execute() == []
        assert replies[0] == replies[1]
    many = client.pipeline(transaction=False)
    for number in range(2000):
        many.set(f"k{number}", "x" * 100)
        many.get(f"k{number}")
    # In a transaction, too, a server that is loading ends the connection.
    loading = client.pipeline().execute_command("DEBUG", "ERROR", "LOADING as a test")
    raises(redis.BusyLoadingError, loading.execute)
    assert many.execute()[1::2] == [b"x" * 100] * 2000
    assert eventually(lambda: site.leased() == 0)


def transactions(site):
    client = lent()
    site.do("SET", "k", "1")
    with client.pipeline() as pipe:
        pipe.watch("k")
        assert site.leased() == 1
        assert pipe.get("k") == b"1"
        pipe.multi()
        pipe.incr("k")
        assert pipe.execute() == [2]
    assert eventually(lambda: site.leased() == 0)
    with client.pipeline() as pipe:
        pipe.watch("k")
        client.set("k", "other")
        pipe.multi()
        pipe.get("k")
        raises(redis.WatchError, pipe.execute)
    with client.pipeline() as pipe:
        pipe.watch("k")
        pipe.unwatch()
        client.set("k", "3")
        pipe.multi()
        pipe.get("k")
        assert pipe.execute() == [b"3"]
    assert client.transaction(lambda pipe: pipe.multi() or pipe.incr("k"), "k") == [4]
    # A client with one connection keeps it as long as something depends on it.
    with client.client() as single:
        single.execute_command("MULTI")
        assert site.leased() == 1
        assert single.execute_command("INCR", "k") == b"QUEUED"
        assert single.execute_command("EXEC") == [5]
        assert eventually(lambda: site.leased() == 0)
        single.execute_command("WATCH", "k")
        single.execute_command("UNWATCH")
        assert eventually(lambda: site.leased() == 0)
        single.execute_command("SELECT", 5)
        single.set("in5", 1)
    assert eventually(lambda: site.leased() == 0)
    assert client.get("in5") is None and client.get("k") == b"5"


def messages(site):
    client = lent()
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("c")
        listener.psubscribe("p*")
        assert eventually(lambda: client.publish("c", "one") == 1)
        client.publish("pq", "two")
        got = []
        assert eventually(lambda: got.extend(filter(None, [listener.get_message()])) or
                          len(got) == 2)
        assert [(each["type"], each["data"]) for each in got] == [("message", b"one"),
                                                                  ("pmessage", b"two")]
        assert listener.get_message(timeout=0.01) is None
        assert site.leased() == 1
        # Redis ends the connection: the listener hears of it, subscribes again, and goes on.
        site.do("CLIENT", "KILL", "TYPE", "pubsub")
        raises(redis.ConnectionError, lambda: [listener.get_message(timeout=1) for _ in range(9)])
        assert eventually(lambda: listener.get_message(timeout=0.05) is None and
                          client.publish("c", "three") == 1)
        assert eventually(lambda: (listener.get_message(timeout=1) or {}).get("data") == b"three")
        listener.unsubscribe()
        listener.punsubscribe()
    assert eventually(lambda: site.leased() == 0)
    assert client.echo("mine") == b"mine"
    # In a thread; and what waits for ever is ended by the pool.
    heard = []
    listener = client.pubsub()
    listener.subscribe(c=lambda message: heard.append(message["data"]))
    worker = listener.run_in_thread(sleep_time=0.01)
    assert eventually(lambda: client.publish("c", "four") == 1)
    assert eventually(lambda: heard == [b"four"])
    worker.stop()
    worker.join(10)
    listener, ended = client.pubsub(), []
    listener.subscribe("c")

    def listen():
        try:
            for _ in listener.listen():
                pass
        except redis.ConnectionError as error:
            ended.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    assert eventually(lambda: client.publish("c", "five") == 1)

    def end():
        client.connection_pool.disconnect()  # between two messages it subscribes again
        return not thread.is_alive()

    assert eventually(end)
    assert ended
    listener.close()
    assert eventually(lambda: site.leased() == 0)
    assert client.echo("mine") == b"mine"


def monitor(site):
    client = lent()
    with client.monitor() as watcher:
        client.set("k", "v")
        assert any("SET k v" in watcher.next_command()["command"] for _ in range(20))
    assert eventually(lambda: site.leased() == 0)
    assert client.get("k") == b"v"


def blocking_and_locks(site):
    client, got = lent(), []
    workers = [threading.Thread(target=lambda: got.append(client.blpop("q", timeout=20)[1]))
               for _ in range(2)]
    for worker in workers:
        worker.start()
    assert eventually(lambda: sum("cmd=blpop" in each for each in site.clients()) == 2)
    assert client.ping()
    client.rpush("q", "a", "b")
    for worker in workers:
        worker.join(10)
    assert sorted(got) == [b"a", b"b"]
    raises(redis.TimeoutError, lent(socket_timeout=0.1).blpop, "none", timeout=5)
    with client.lock("lock", timeout=5) as lock:
        assert lock.owned() and not client.lock("lock", blocking_timeout=0.01).acquire()
        lock.extend(5)
    assert not client.exists("lock")
    script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert [script(keys=["n"], args=[5]), script(keys=["n"], args=[2])] == [5, 7]
    pipe = client.pipeline()
    script(keys=["n"], args=[1], client=pipe)
    assert pipe.execute() == [8]
    assert eventually(lambda: site.leased() == 0)


def hand_over(site):
    """Forked workers on two connections: each gets its own answers, and commands are handed over
    when all are in use."""
    client = lent()
    client.ping()

    def work():
        name = str(os.getpid())
        for turn in range(400):
            word = f"{name}:{turn}"
            assert client.echo(word) == word.encode()
            if turn % 10 == 0:
                pipe = client.pipeline()
                pipe.set(name, word).get(name)
                assert pipe.execute() == [True, word.encode()]

    children = []
    for _ in range(12):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    assert site.metric("lendis_handed_total") > 0
    assert site.connections() <= 2
    assert eventually(lambda: site.leased() == 0)


hand_over.site = {"size": 2}


def threads_and_forks(site):
    client, wrong = lent(), []

    def talk(number):
        key = f"{os.getpid()}:{number}"
        for turn in range(200):
            word = f"{key}:{turn}"
            assert client.echo(word) == word.encode()
            if turn % 20 == 0:
                with client.pipeline() as pipe:
                    pipe.watch(key)
                    pipe.multi()
                    pipe.set(key, word).get(key)
                    assert pipe.execute() == [True, word.encode()]

    def work(number):
        try:
            talk(number)
        except BaseException as error:
            wrong.append(error)
            raise

    def all_threads():
        workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not wrong

    all_threads()
    listener = client.pubsub()
    listener.subscribe("c")
    pipe = client.pipeline()
    pipe.watch("watched")

    def child():
        all_threads()
        # What the parent watches and hears is not this process' business, and it hears so.
        pipe.multi()
        pipe.get("watched")
        raises(redis.WatchError, pipe.execute)
        raises(redis.ConnectionError, listener.get_message)
        assert eventually(lambda: listener.get_message() is None and
                          client.publish("c", "to both") >= 1)
        client.connection_pool.disconnect()

    # With threads of the parent in the middle of their work.
    workers = [threading.Thread(target=work, args=(number,)) for number in range(8, 12)]
    for worker in workers:
        worker.start()
    assert in_child(child) and in_child(child)
    for worker in workers:
        worker.join()
    assert not wrong
    pipe.multi()
    pipe.get("watched")
    assert len(pipe.execute()) == 1
    assert listener.get_message()["type"] == "subscribe"
    listener.close()
    assert eventually(lambda: site.leased() == 0)


def losses(site):
    client = lent(retry_on_error=[redis.ConnectionError], health_check_interval=1)
    assert client.set("k", "v")
    for _ in range(10):
        assert eventually(lambda: site.connections() == 4)
        site.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert client.get("k") == b"v"
    plain = lent(socket_timeout=0.2)
    os.kill(site.redis.pid, signal.SIGSTOP)
    assert isinstance(raises(redis.TimeoutError, plain.incr, "n"), lendis.UncertainError)
    raises(redis.TimeoutError, plain.get, "n")
    os.kill(site.redis.pid, signal.SIGCONT)
    assert plain.get("k") == b"v"
    site.end(site.redis)
    assert eventually(lambda: site.metric("lendis_backend_up") == 0)
    raises(redis.ConnectionError, plain.get, "k")
    site.redis = site.start_redis()
    assert eventually(lambda: site.metric("lendis_backend_up") == 1)
    assert plain.get("k") is None
    raises(redis.ConnectionError, lent(socket=site.folder + "/none").get, "k")
    # With the broker gone as well there is nothing to wait for.
    patient = lent()
    assert patient.ping()
    site.broker.kill()
    site.broker.wait()
    site.end(site.redis)
    raises(redis.RedisError, patient.ping)
    began = time.monotonic()
    for _ in range(5):
        assert isinstance(raises(redis.ConnectionError, patient.get, "k"), lendis.DownError)
    assert time.monotonic() - began < 4  # a command's limit is 5 s


def newer_clients(site):
    """What the clients of redis-py 5 to 7 call that those of 4.3 do not."""
    pool = lendis.ConnectionPool(decode_responses=True)
    connection = pool.get_connection()
    connection.send_command("ECHO", "é", keys=["é"])
    assert connection.read_response(disconnect_on_error=False) == "é"
    connection.send_command("ECHO", "é")
    assert connection.read_response(disable_decoding=True, disconnect_on_error=False,
                                    push_request=True) == "é".encode()
    listener = redis.Redis(connection_pool=pool).pubsub()
    connection.register_connect_callback(listener.on_connect)
    connection.deregister_connect_callback(listener.on_connect)
    connection._parser.set_pubsub_push_handler(print)
    connection._parser.set_invalidation_push_handler(print)
    assert not connection.should_reconnect() and connection.handshake_metadata == {}
    assert connection.credential_provider is None and not connection.re_auth()
    # Subscriptions are checked by the client, with the client's clock.
    checked = lendis.ConnectionPool(health_check_interval=1).get_connection("_")
    names = redis.client.PubSub.check_health.__code__.co_names
    client_now = time.monotonic if "monotonic" in names else time.time
    checked.send_command("PING")
    assert checked.read_response() == b"PONG"
    assert 0 < checked.next_health_check - client_now() <= 1
    large, part = "x" * 7000, memoryview(b"part")
    packed = connection.pack_commands([("SET", "k", part), ("CONFIG GET", large)])
    assert packed[1] is part and packed[3] == large.encode() and b"".join(packed) == (
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\npart\r\n"
        b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$7000\r\n%b\r\n" % large.encode())
    assert connection.get_protocol() == pool.get_protocol() == 2 and pool.cache is None
    assert pool._get_in_use_connections() == {connection} and pool._get_free_connections() == []
    # One that hears nothing within its time is not ended by that, if so asked.
    connection = lendis.ConnectionPool(socket_timeout=0.05).get_connection()
    connection.send_command("SUBSCRIBE", "c")
    assert connection.read_response()[0] == b"subscribe"
    raises(redis.TimeoutError, connection.read_response, disconnect_on_error=False)
    site.do("PUBLISH", "c", "v")
    assert connection.read_response() == [b"message", b"c", b"v"]
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 3)
    pool.set_retry(retry)
    assert pool.make_connection().retry._retries == 3
    pool.close()
    connection.disconnect()


losses.site = {"extra": "dial_backoff_max = 50ms"}


def options(site):
    of = lendis.ConnectionPool.from_url
    assert redis.Redis(connection_pool=of("redis://:secret@other:1/0?pool=main")).ping()
    assert redis.Redis(connection_pool=of(f"lendis://main?socket={site.socket}")).ping()
    assert redis.Redis(connection_pool=of("unix:///x", decode_responses=True)).echo("x") == "x"
    assert redis.Redis(connection_pool=of("rediss://h?pool=main", ssl_cert_reqs="none")).ping()
    assert redis.Redis(connection_pool=of("lendis://second/3")).ping()
    for url in ("redis://h/2", "lendis://second", "lendis://second/2", "redis://app:x@h"):
        pool = of(url)
        if url == "lendis://second":  # nothing was asked for
            assert redis.Redis(connection_pool=pool).ping()
            continue
        raises(lendis.ConfigurationError, redis.Redis(connection_pool=pool).ping)
    for wrong in ({"client_name": "me"}, {"protocol": 3}, {"redis_connect_func": print}):
        raises(lendis.ConfigurationError, lendis.ConnectionPool, **wrong)
    raises(TypeError, lendis.ConnectionPool, no_such_option=1)
    assert lendis.ConnectionPool(parser_class=None, socket_keepalive=True, client_name=None)
    few = lendis.ConnectionPool(max_connections=1)
    one = few.get_connection("_")
    raises(redis.ConnectionError, few.get_connection, "_")
    few.release(one)
    assert few.get_connection("_") is one
    few.release(one)
    client = redis.Redis(connection_pool=few)
    client.connection_pool.close()
    assert client.ping()
    assert isinstance(few, redis.ConnectionPool) and "main" in repr(few) and repr(one)


options.site = {"pools": {"main": "", "second": "?db=3"}}

if __name__ == "__main__":
    run(same_answers, pipelines, transactions, messages, monitor, blocking_and_locks, hand_over,
        threads_and_forks, losses, newer_clients, options)
