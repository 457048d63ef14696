#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What programs do to a pool beside sending commands: 50 threads and a fork in their middle, signal
handlers that make and drop pools, an interpreter that ends with connections out, gevent."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

from support import eventually, in_child, need, run, Skip

need("redis")

import redis  # noqa: E402

import lendis  # noqa: E402


def lent(**options):
    return redis.Redis(connection_pool=lendis.ConnectionPool(**options))


def all_join(threads, limit=40):
    end = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def many_threads(site):
    """Each has its own answers, no more are out than may be, and a fork in the middle is none of
    their business."""
    client = lent(max_connections=60)
    wrong, over = [], []
    stop = threading.Event()

    def talk(number):
        turn = 0
        while not stop.is_set():
            turn += 1
            word = f"{os.getpid()}:{number}:{turn}"
            try:
                if client.echo(word) != word.encode():
                    wrong.append(word)
                if len(client.connection_pool._get_in_use_connections()) > 60:
                    over.append(turn)
            except Exception as error:
                wrong.append(error)

    def child():
        for turn in range(50):
            word = f"child:{os.getpid()}:{turn}"
            assert client.echo(word) == word.encode()
        with client.pipeline() as pipe:
            pipe.watch("w")
            pipe.multi()
            pipe.set("w", 1)
            assert pipe.execute() == [True]

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    good = [in_child(child) for _ in range(4)]
    stop.set()
    assert all_join(threads)
    assert all(good) and not wrong and not over, (good, wrong[:3], over[:3])
    assert eventually(lambda: site.leased() == 0)


def limit_of_a_pool(site):
    """No more connections than may be, whatever threads do at a time."""
    pool = lendis.ConnectionPool(max_connections=3)
    most, refused = [], []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def take():
        for _ in range(300):
            try:
                connection = pool.get_connection("_")
            except redis.ConnectionError:
                refused.append(1)
                continue
            most.append(len(pool._get_in_use_connections()))
            pool.release(connection)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    good = all_join(threads)
    sys.setswitchinterval(interval)
    assert good and max(most) <= 3, max(most)
    three = [pool.get_connection("_") for _ in range(3)]
    refused.clear()
    take()
    assert len(refused) == 300 and len(three) == 3


def handlers(site):
    """Signal handlers make pools, use them and drop them, in the middle of everything."""
    keep, seen = [lent()], []

    def handler(*_):
        client = lent(pool="second")
        seen.append(client.echo("h") == b"h")
        del client
        if len(seen) % 3 == 0:
            keep.append(lent())
            del keep[0]

    signal.signal(signal.SIGALRM, handler)
    try:
        for turn in range(1500):
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (turn % 400 + 1))  # once: no pile of them
            client = keep[-1]
            assert client.echo(str(turn)) == str(turn).encode()
            if turn % 5 == 0:
                assert lent(pool="second").ping()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert len(seen) > 3 and all(seen)
    assert eventually(lambda: site.leased() == 0)


handlers.site = {"pools": {"main": "", "second": ""}}


class Interrupted(Exception):
    pass


def interrupted(site):
    """A command that blocks for good ends with what a signal handler raises; nothing of it is
    left, and what it would have got is the next one's."""
    client = lent()

    def handler(*_):
        raise Interrupted

    signal.signal(signal.SIGALRM, handler)
    for _ in range(3):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            client.blpop("none", timeout=0)
        except Interrupted:
            pass
        else:
            raise AssertionError("not interrupted")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert eventually(lambda: not any("cmd=blpop" in each for each in site.clients()))
    client.rpush("none", "v")
    assert client.lpop("none") == b"v"
    assert eventually(lambda: site.leased() == 0)


class Named(lendis.Connection):
    """A subclass of a program's own."""

    commands = 0

    def send_command(self, *words, **options):
        Named.commands += 1
        return super().send_command(*words, **options)


def uses(site):
    """Subclasses, one connection for a client, encodings, retries, pickling."""
    client = lent(connection_class=Named)
    assert client.ping() and Named.commands == 1
    single = redis.Redis(connection_pool=client.connection_pool, single_connection_client=True)
    assert single.ping() and single.client().echo("x") == b"x"
    single.close()
    latin = lent(encoding="latin-1", decode_responses=True, health_check_interval=1,
                 retry_on_timeout=True, retry_on_error=[redis.ConnectionError])
    assert latin.echo("\xe9") == "\xe9"
    assert lent().execute_command("STRLEN", "none") == 0
    latin.set("l", "\xe9")
    assert lent().get("l") == b"\xe9"
    for pool in (client.connection_pool, lendis.Pool()):
        try:
            pickle.dumps(pool)
        except (TypeError, ValueError, AttributeError, pickle.PicklingError):
            continue
        raise AssertionError("a pool was pickled")
    for wrong in ({"db": 3}, {"username": "nobody", "password": "x"}):
        try:
            lent(**wrong).ping()
        except lendis.ConfigurationError:
            continue
        raise AssertionError(wrong)
    # A child of a child, and a pool that is made in one.
    assert in_child(lambda: in_child(lambda: client.ping() and lent().ping()) or 1 / 0)


ENDS = """
import threading, redis, lendis, sys
client = redis.Redis(connection_pool=lendis.ConnectionPool())
out = [client.connection_pool.get_connection("_") for _ in range(3)]
out[0].send_command("SUBSCRIBE", "c")
out[0].read_response()
out[1].send_command("WATCH", "k")
out[1].read_response()
out[2].send_command("PING")
threading.Thread(target=lambda: client.blpop("none", timeout=0), daemon=True).start()
while not any(each["cmd"] == "blpop" for each in client.client_list()):
    pass
pipe = client.pipeline()
pipe.watch("k")
class Late:
    def __del__(self):
        print("late", client.echo("x"), flush=True)
late = Late()
sys.late = late
print("end", flush=True)
"""


def end_of_the_interpreter(site):
    """With connections out, a thread that waits for good, and a command in a destructor."""
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=40,
                          env=dict(os.environ, LENDIS_SOCKET=site.socket))
    assert done.returncode == 0 and "end" in done.stdout, (done.returncode, done.stderr)
    assert "Fatal" not in done.stderr and "Segmentation" not in done.stderr, done.stderr
    assert eventually(lambda: site.leased() == 0)


GREEN = """
from gevent import monkey
monkey.patch_all()
import gevent, os, redis, lendis
client = redis.Redis(connection_pool=lendis.ConnectionPool())
ticks, wrong = [], []

def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.01)

def talk(number):
    for turn in range(20):
        word = f"{number}:{turn}"
        if client.echo(word) != word.encode():
            wrong.append(word)

ticker = gevent.spawn(tick)
waiting = [gevent.spawn(client.blpop, "q", timeout=20) for _ in range(2)]
gevent.sleep(0.3)
before = len(ticks)
client.execute_command("DEBUG", "SLEEP", "0.5")  # all but the ticker wait for Redis
meanwhile = len(ticks) - before
gevent.joinall([gevent.spawn(talk, number) for number in range(30)], raise_error=True)
client.rpush("q", "a", "b")
gevent.joinall(waiting, raise_error=True)
listener = client.pubsub()
listener.subscribe("c")
heard = gevent.spawn(lambda: [next(listener.listen()) for _ in range(2)])
while client.publish("c", "v") != 1:
    gevent.sleep(0.01)
heard.join(10)
ticker.kill()
assert not wrong and heard.value[1]["data"] == b"v", (wrong, heard.value)
assert sorted(each.value[1] for each in waiting) == [b"a", b"b"]
pid = os.fork()
if pid == 0:
    os._exit(0 if client.echo("child") == b"child" else 1)
assert os.waitpid(pid, 0)[1] == 0
print(meanwhile)
"""


def green(site):
    """gevent: a command that waits lets the others run."""
    try:
        import gevent  # noqa: F401
    except ImportError:
        raise Skip("no gevent here") from None
    done = subprocess.run([sys.executable, "-c", GREEN], capture_output=True, text=True, timeout=50,
                          env=dict(os.environ, LENDIS_SOCKET=site.socket))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3, f"others ran {done.stdout} times in half a second"
    assert eventually(lambda: site.leased() == 0)


if __name__ == "__main__":
    run(many_threads, limit_of_a_pool, handlers, interrupted, uses, end_of_the_interpreter, green)
