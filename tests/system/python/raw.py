#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""lendis.Pool and lendis.Lease: commands, leases, errors, fork, threads, and their end."""

import gc
import os
import signal
import threading

from support import eventually, in_child, run  # first: it says where lendis is

import lendis


def raises(kind, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def commands(site):
    with lendis.Pool() as pool:
        assert pool.execute("SET", "k", b"\x00\xff") == b"OK"
        assert pool.execute(b"GET", "k") == b"\x00\xff"
        assert pool.execute("GET", "none") is None
        assert pool.execute("INCR", "n") == 1
        assert pool.execute("RPUSH", "l", "a", 2, 1.5) == 3
        assert pool.execute("LRANGE", "l", 0, -1) == [b"a", b"2", b"1.5"]
        assert "wrong kind" in str(raises(lendis.ResponseError, pool.execute, "INCR", "l"))
        values = pool.execute_many([("GET", "n"), ("INCR", "l"), ("PING",)])
        assert values[0] == b"1" and values[2] == b"PONG"
        assert isinstance(values[1], lendis.ResponseError)
        assert pool.execute_many([("MULTI",), ("INCR", "n"), ("EXEC",)])[2] == [2]
        assert pool.execute_many([]) == []
        raises(TypeError, pool.execute, "SET", "k", None)
        raises(ValueError, pool.execute)
        big = b"x" * (3 << 20)
        pool.execute("SET", "big", big)
        assert pool.execute("GET", "big") == big
    assert site.leased() == 0


def lease(site):
    pool = lendis.Pool()
    with pool.lease() as connection:
        assert site.leased() == 1
        first = connection.execute("CLIENT", "ID")
        assert connection.execute("CLIENT", "ID") == first
        connection.execute("WATCH", "k")
        pool.execute("SET", "k", "other")
        assert connection.execute_many([("MULTI",), ("GET", "k"), ("EXEC",)])[2] is None
    assert eventually(lambda: site.leased() == 0)
    raises(lendis.SystemCallError, connection.execute, "PING")
    connection.release()
    # A lease that nobody gives back goes with its last reference, and one on which an exception
    # came in the middle of a reply is nobody else's.
    pool.lease()
    gc.collect()
    assert eventually(lambda: site.leased() == 0)
    connection = pool.lease()
    os.write(connection.fileno(), b"*1\r\n$4\r\nPING\r\n")
    connection.discard()
    assert pool.execute("ECHO", "mine") == b"mine"
    assert "lease" in str(raises(lendis.ResponseError, pool.execute, "SUBSCRIBE", "c"))
    pool.close()


def errors(site):
    import redis

    assert raises(lendis.LendisError, lendis.Pool, "none").result == -3
    raises(redis.ConnectionError, lendis.Pool, socket=site.folder + "/none")
    pool = lendis.Pool(lazy=True)
    held = [pool.lease() for _ in range(2)]
    raises(lendis.BusyError, pool.lease, timeout=0)
    assert isinstance(raises(lendis.TimeoutError, pool.lease, timeout=0.05), redis.TimeoutError)
    for each in held:
        each.release()
    os.kill(site.redis.pid, signal.SIGSTOP)
    error = raises(lendis.UncertainError, pool.execute, "INCR", "n", timeout=0.1)
    assert isinstance(error, redis.TimeoutError) and isinstance(error, redis.ConnectionError)
    assert not isinstance(raises(lendis.TimeoutError, pool.execute, "GET", "n", timeout=0.1),
                          lendis.UncertainError)
    os.kill(site.redis.pid, signal.SIGCONT)
    site.end(site.redis)
    assert eventually(lambda: site.metric("lendis_backend_up") == 0)
    raises(lendis.DownError, pool.execute, "GET", "n", timeout=0.2)
    site.start_redis()
    assert eventually(lambda: site.metric("lendis_backend_up") == 1)
    assert pool.execute("GET", "n") is None
    pool.close()
    raises(lendis.ConfigurationError, pool.execute, "PING")


def fork(site):
    pool = lendis.Pool()
    pool.execute("SET", "parent", os.getpid())
    held = pool.lease()

    def child():
        assert pool.execute("ECHO", str(os.getpid())) == str(os.getpid()).encode()
        raises(lendis.SystemCallError, held.execute, "PING")
        held.release()  # the parent's: nothing happens
        with pool.lease() as own:
            assert own.execute("PING") == b"PONG"
        pool.close()

    for _ in range(3):
        assert in_child(child)
    assert held.execute("PING") == b"PONG"
    held.release()
    assert pool.execute("GET", "parent") == str(os.getpid()).encode()
    pool.close()


def threads(site):
    pool, wrong = lendis.Pool(), []

    def work(number):
        for turn in range(300):
            word = f"{number}:{turn}"
            if pool.execute("ECHO", word) != word.encode():
                wrong.append(word)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for worker in workers:
        worker.start()
    # The pool's end waits for the calls that are under way.
    for worker in workers:
        worker.join()
    assert not wrong
    assert site.connections() <= 2
    pool.close()


def close_under_way(site):
    pool, got = lendis.Pool(), []
    worker = threading.Thread(target=lambda: got.append(pool.execute("BLPOP", "q", 0)))
    worker.start()
    assert eventually(lambda: "cmd=blpop" in "".join(site.clients()))
    lease = pool.lease()
    pool.close()
    site.do("RPUSH", "q", "v")
    worker.join(10)
    assert got == [[b"q", b"v"]]
    assert lease.execute("PING") == b"PONG"
    lease.release()
    del lease
    assert eventually(lambda: site.metric("lendis_workers") == 0)


def signals(site):
    """A handler's exception ends a wait in the server; the connection is nobody else's."""
    class Enough(Exception):
        pass

    def enough(*_):
        raise Enough

    pool = lendis.Pool()
    signal.signal(signal.SIGUSR1, enough)
    for _ in range(5):
        threading.Thread(target=lambda: (
            eventually(lambda: "cmd=blpop" in "".join(site.clients())),
            os.kill(os.getpid(), signal.SIGUSR1))).start()
        raises(Enough, pool.execute, "BLPOP", "q", 0)
        assert eventually(lambda: site.leased() == 0)
        assert pool.execute("ECHO", "mine") == b"mine"
    assert eventually(lambda: site.connections() <= 2)
    pool.close()


def broker_restart(site):
    pool = lendis.Pool()
    assert pool.execute("PING") == b"PONG"
    site.broker.kill()
    site.broker.wait()
    assert pool.execute("ECHO", "alone") == b"alone"
    site.start_broker()
    assert eventually(lambda: pool.execute("PING") == b"PONG" and
                      'pool="main"' in site.ctl("metrics") and site.metric("lendis_workers") > 0)
    pool.close()


run(commands, lease, errors, fork, threads, close_under_way, signals, broker_restart, size=2)
