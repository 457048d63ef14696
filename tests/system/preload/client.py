# SPDX-License-Identifier: MIT
"""A program with redis-py that knows nothing of lendis: argument 1 is the port."""
import sys
import threading

import redis

port = int(sys.argv[1])


def talk(client, name):
    for i in range(50):
        client.set(name, i)
        assert client.get(name) == str(i).encode()
    pipe = client.pipeline()
    pipe.set(name, 1).incr(name).get(name)
    assert pipe.execute() == [True, 2, b"2"]
    pipe = client.pipeline(transaction=False)
    for i in range(500):
        pipe.set("%s:%d" % (name, i), "x" * 100)
    assert pipe.execute() == [True] * 500


for options in {}, {"socket_timeout": 5}, {"client_name": "app"}, {"db": 1}:
    client = redis.Redis(port=port, **options)
    talk(client, "py:%s" % sorted(options))
    big = "y" * 1000000
    client.set("big", big)
    assert client.get("big") == big.encode()
    with client.lock("lock", timeout=5):
        client.incr("locked")
    assert client.blpop("empty", timeout=1) is None
    client.lpush("list", 1)
    assert client.blpop("list", timeout=1) == (b"list", b"1")
    with client.pipeline() as pipe:
        pipe.watch("watched")
        pipe.multi()
        pipe.set("watched", 1)
        client.set("watched", 2)
        try:
            pipe.execute()
            raise AssertionError("the watched key has changed")
        except redis.WatchError:
            pass
    try:
        client.execute_command("NOSUCH")
        raise AssertionError("no such command")
    except redis.ResponseError:
        pass
    client.ping()

subscriber = client.pubsub()
subscriber.subscribe("news")
assert subscriber.get_message(timeout=5)["type"] == "subscribe"
client.publish("news", "hi")
assert subscriber.get_message(timeout=5)["data"] == b"hi"
subscriber.close()

client = redis.Redis(port=port)
failures = []


def in_thread(name):
    try:
        talk(client, name)
    except Exception as error:  # any failure of a thread is one of the test
        failures.append(repr(error))


threads = [threading.Thread(target=in_thread, args=("thread:%d" % i,)) for i in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
print("well")
