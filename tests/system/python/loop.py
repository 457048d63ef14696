#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""lendis.asyncio.ConnectionPool in the place of redis.asyncio.ConnectionPool: the same answers,
many tasks on few connections, and whatever is cancelled, no reply is ever another's."""

import asyncio
import gc
import os
import random
import signal

from drop_in import CALLS
from support import eventually, in_child, need, run

need("redis.asyncio")

import redis  # noqa: E402
import redis.asyncio  # noqa: E402

import lendis  # noqa: E402
import lendis.asyncio  # noqa: E402


def lent(**options):
    return redis.asyncio.Redis(connection_pool=lendis.asyncio.ConnectionPool(**options))


def in_loop(test):
    """A test that is a coroutine."""
    def wrapped(site):
        asyncio.run(asyncio.wait_for(test(site), 50))
        assert eventually(lambda: site.leased() == 0)
    wrapped.__name__ = test.__name__
    return wrapped


async def soon(condition):
    for _ in range(500):
        value = condition()
        if await value if asyncio.iscoroutine(value) else value:
            return True
        await asyncio.sleep(0.02)
    return False


async def outcome(client, name, words, options):
    try:
        return await getattr(client, name)(*words, **options)
    except redis.RedisError as error:
        return type(error), str(error)


@in_loop
async def same_answers(site):
    for decode in (False, True):
        results = []
        for client in (redis.asyncio.Redis(unix_socket_path=site.redis_socket,
                                           decode_responses=decode),
                       lent(decode_responses=decode)):
            site.do("FLUSHALL")
            results.append([await outcome(client, *call) for call in CALLS])
            pipe = client.pipeline(transaction=True).set("k", "v").incr("k").get("k")
            results[-1].append([str(each) for each in await pipe.execute(raise_on_error=False)])
            await client.connection_pool.disconnect()
        for call, want, have in zip([*CALLS, "pipeline"], *results):
            assert have == want, f"{call}: {have!r} where it is {want!r}"


@in_loop
async def few_connections(site):
    client, wrong = lent(max_leases=2), []

    async def task(number):
        for turn in range(20):
            word = f"{number}:{turn}"
            if await client.echo(word) != word.encode():
                wrong.append(word)
        pipe = client.pipeline()
        pipe.set(f"k{number}", number).get(f"k{number}")
        if await pipe.execute() != [True, str(number).encode()]:
            wrong.append(number)

    await asyncio.gather(*(task(number) for number in range(300)))
    assert not wrong
    assert site.connections() <= 4
    # They went together: a lease for each command would be 6,300.
    assert site.metric("lendis_commands_total") >= 300 * 20
    assert site.metric("lendis_leases_total") < 3000


@in_loop
async def transactions(site):
    client = lent()
    await client.set("k", 1)
    async with client.pipeline() as pipe:
        await pipe.watch("k")
        assert site.leased() == 1
        pipe.multi()
        pipe.incr("k")
        assert await pipe.execute() == [2]
    async with client.pipeline() as pipe:
        await pipe.watch("k")
        await client.set("k", "other")
        pipe.multi()
        pipe.get("k")
        try:
            await pipe.execute()
            raise AssertionError("no WatchError")
        except redis.WatchError:
            pass
    async with client.lock("lock", timeout=5):
        assert await client.exists("lock")
    script = client.register_script("return ARGV[1]")
    assert await script(args=["a"]) == b"a"


@in_loop
async def messages(site):
    client = lent()
    listener = client.pubsub(ignore_subscribe_messages=True)
    await listener.subscribe("c")
    assert await soon(lambda: publish(client, "c", "one"))
    message = None
    while message is None:
        message = await listener.get_message(timeout=1)
    assert message["data"] == b"one"
    # A task that is cancelled while it listens leaves the subscription whole.
    for _ in range(20):
        task = asyncio.create_task(listener.get_message(timeout=5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await listener.subscribe("d")
    assert await soon(lambda: publish(client, "d", "two"))
    message = None
    while message is None:
        message = await listener.get_message(timeout=1)
    assert message["data"] == b"two"
    await listener.close()
    assert await client.echo("mine") == b"mine"


async def publish(client, channel, text):
    return await client.publish(channel, text) == 1


@in_loop
async def cancelled(site):
    """The leak of 2023: a task is cancelled after its command was sent."""
    client = lent(max_leases=1)
    await client.set("secret", "of the first")
    await client.set("mine", "of the second")
    before = site.metric("lendis_connections_opened_total")
    for turn in range(300):
        task = asyncio.create_task(client.get("secret"))
        for _ in range(turn % 12):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await client.get("mine") == b"of the second"
        assert await client.echo(str(turn)) == str(turn).encode()
    # Nobody's connection was lost by it.
    assert site.metric("lendis_connections_opened_total") == before
    # A wait in the server ends when its task does, and takes nothing that comes later.
    task = asyncio.create_task(client.blpop("q", timeout=0))
    assert await soon(lambda: "cmd=blpop" in "".join(site.clients()))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await soon(lambda: "cmd=blpop" not in "".join(site.clients()))
    await client.rpush("q", "v")
    assert await client.llen("q") == 1


@in_loop
async def storm(site):
    """Tasks are cancelled at random, in every kind of call; whoever gets a reply gets its own."""
    client = lent(max_leases=2)
    chosen, wrong, answered = random.Random(int(os.environ.get("STORM_SEED", "1"))), [], [0]

    async def command(name):
        word = f"{name}:{chosen.random()}"
        kind = chosen.randrange(10)
        if kind < 6:
            good = await client.echo(word) == word.encode()
        elif kind < 8:
            pipe = client.pipeline()
            pipe.set(name, word).get(name)
            good = await pipe.execute() == [True, word.encode()]
        elif kind < 9:
            async with client.pipeline() as pipe:
                await pipe.watch(name)
                pipe.multi()
                pipe.set(name, word).get(name)
                good = await pipe.execute() == [True, word.encode()]
        else:
            good = await client.blpop(f"none{name}", timeout=0.01) is None
        answered[0] += 1
        if not good:
            wrong.append(word)

    async def task(name):
        for _ in range(15):
            inner = asyncio.create_task(command(name))
            if chosen.random() < 0.5:
                await asyncio.sleep(chosen.random() * 0.01)
                inner.cancel()
            try:
                await inner
            except asyncio.CancelledError:
                pass

    await asyncio.gather(*(task(f"t{number}") for number in range(60)))
    assert not wrong, wrong[:5]
    assert answered[0] > 200
    await soon(lambda: site.leased() == 0)
    for number in range(50):
        assert await client.echo(str(number)) == str(number).encode()


@in_loop
async def losses(site):
    client = lent(socket_timeout=0.3)
    assert await client.set("k", "v")
    os.kill(site.redis.pid, signal.SIGSTOP)
    for call, kind in ((client.incr("n"), lendis.UncertainError), (client.get("k"),
                                                                   redis.TimeoutError)):
        try:
            await call
            raise AssertionError("answered by a server that stands still")
        except kind:
            pass
    os.kill(site.redis.pid, signal.SIGCONT)
    assert await soon(lambda: still(client, b"v"))
    for _ in range(5):
        assert await soon(lambda: site.connections() == 4)
        site.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await lent().get("k") == b"v"
    site.end(site.redis)
    assert await soon(lambda: site.metric("lendis_backend_up") == 0)
    try:
        await client.get("k")
        raise AssertionError("answered by nobody")
    except (redis.ConnectionError, redis.TimeoutError):
        pass
    site.start_redis()
    assert await soon(lambda: site.metric("lendis_backend_up") == 1)
    assert await soon(lambda: still(client, None))


async def still(client, value):
    try:
        return await client.get("k") == value
    except redis.RedisError:
        return False


def loops_and_forks(site):
    """One pool, several loops one after the other, and a child's."""
    client = lent()

    async def talk():
        words = [f"{os.getpid()}:{number}" for number in range(50)]
        assert await asyncio.gather(*map(client.echo, words)) == [word.encode() for word in words]

    async def left_in_the_middle():
        asyncio.create_task(client.get("k"))
        asyncio.create_task(client.blpop("q", 0))
        await asyncio.sleep(0.01)

    for _ in range(3):
        asyncio.run(talk())
        asyncio.run(left_in_the_middle())
        assert eventually(lambda: site.leased() == 0)
    assert in_child(lambda: asyncio.run(talk()))
    asyncio.run(talk())

    async def fork_inside():
        await talk()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                # A loop of its own; the parent's is not to be used.
                asyncio.events._set_running_loop(None)
                asyncio.run(talk())
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        await talk()

    asyncio.run(fork_inside())
    assert eventually(lambda: site.leased() == 0)


async def transaction(client, key):
    async with client.pipeline() as pipe:
        await pipe.watch(key)
        await pipe.get(key)
        pipe.multi()
        pipe.set(key, "t").get(key)
        await pipe.execute()


async def listen(client, key):
    async with client.pubsub() as listener:
        await listener.subscribe(key)
        await client.publish(key, "m")
        while not await listener.get_message(timeout=0.1):
            pass


@in_loop
async def each_await(site):
    """A task is cancelled at the first, the second, the third ... turn of the loop that it takes,
    whatever it does; what comes next has its own answers, and nothing is held."""
    client = lent()
    kinds = {
        "command": lambda key: client.echo("e" + key),
        "pipeline": lambda key: client.pipeline(transaction=False).set(key, "p").get(key).execute(),
        "transaction": lambda key: transaction(client, key),
        "blocking": lambda key: client.blpop("none", timeout=0.05),
        "listener": lambda key: listen(client, key),
        "large": lambda key: client.set(key, "l" * 300000),
    }
    for kind, make in kinds.items():
        for turns in range(40):
            key = f"{kind}:{turns}"
            task = asyncio.ensure_future(make(key))
            for _ in range(turns):
                await asyncio.sleep(0)
            done = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await client.echo(key) == key.encode(), key
            if done:
                break
    await client.connection_pool.disconnect()


def a_loop_that_is_closed(site):
    """Under way: what its tasks held is given back, and the pool works in the next loop."""
    pool = lendis.asyncio.ConnectionPool()
    client = redis.asyncio.Redis(connection_pool=pool)

    async def half():
        for _ in range(3):
            asyncio.ensure_future(client.blpop("none", timeout=0))
        listener = client.pubsub()
        await listener.subscribe("c")
        asyncio.ensure_future(client.echo("never read"))
        for _ in range(4):
            await asyncio.sleep(0)

    for turn in range(3):
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(half())
        loop.close()
        del loop
        gc.collect()
        pool.reset()
        gc.collect()
        site.do("SET", "k", str(turn))
        assert asyncio.run(still(client, str(turn).encode()))
    pool.reset()
    gc.collect()
    assert eventually(lambda: site.leased() == 0), site.leased()


@in_loop
async def newer_clients(site):
    """What the clients of redis-py 5 to 7 call that those of 4.3 do not."""
    pool = lendis.asyncio.ConnectionPool()
    client = redis.asyncio.Redis(connection_pool=pool)
    connection = await pool.get_connection()
    assert connection.credential_provider is None
    await pool.re_auth_callback(None)
    await connection.re_auth()
    # A listener that has not subscribed yet waits; without time to wait it hears nothing.
    assert await connection.read_response(timeout=0, push_request=True) is None
    early = asyncio.ensure_future(connection.read_response(push_request=True))
    await asyncio.sleep(0)
    await connection.send_command("SUBSCRIBE", "c")
    assert await asyncio.wait_for(early, 20) == [b"subscribe", b"c", 1]
    # What has come is heard, also by who does not wait.
    await client.publish("c", "v")
    heard = []

    async def one_came():
        heard.append(await connection.read_response(timeout=0, disconnect_on_error=False,
                                                    push_request=True))
        return heard[-1] is not None

    assert await soon(one_came) and heard[-1] == [b"message", b"c", b"v"]
    early = asyncio.ensure_future(connection.read_response(push_request=True))
    await asyncio.sleep(0)
    connection._close()  # as a client does that is forgotten
    try:
        await asyncio.wait_for(early, 20)
    except redis.ConnectionError:
        pass
    else:
        raise AssertionError("an end that its listener did not hear of")


def options(site):
    async def wrong():
        try:
            await redis.asyncio.Redis(connection_pool=lendis.asyncio.ConnectionPool.from_url(
                "redis://h/2")).ping()
        except lendis.ConfigurationError:
            pass
        else:
            raise AssertionError("another database than was asked for")
        pool = lendis.asyncio.ConnectionPool.from_url(f"lendis://main?socket={site.socket}",
                                                      max_connections=1)
        one = await pool.get_connection("_")
        try:
            await pool.get_connection("_")
            raise AssertionError("more than max_connections")
        except redis.ConnectionError:
            await pool.release(one)
        async with redis.asyncio.Redis(connection_pool=pool) as client:
            assert await client.ping()
        await pool.aclose()
        assert await redis.asyncio.Redis(connection_pool=pool).ping()
    asyncio.run(wrong())


losses.site = {"extra": "dial_backoff_max = 50ms"}

if __name__ == "__main__":
    run(same_answers, few_connections, transactions, messages, cancelled, storm, losses,
        loops_and_forks, each_await, a_loop_that_is_closed, newer_clients, options)
