#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""django-redis, Django's own Redis cache, Flask-Caching and Celery, each by its one setting."""

import os
import signal
import subprocess
import sys
import threading

from support import Skip, eventually, in_child, need, run

need("redis")

import lendis  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def wanted(module):
    try:
        __import__(module)
    except ImportError:
        raise Skip(f"no {module} here") from None


def use_cache(cache, site):
    """What a site does with its cache, in threads and in a child."""
    def work(number):
        for turn in range(50):
            cache.set(f"k{number}", {"turn": turn}, 60)
            assert cache.get(f"k{number}") == {"turn": turn}
        assert cache.get("none") is None

    wrong = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=guarded, args=(number,)) for number in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong
    assert in_child(lambda: work(99))
    assert cache.get("k99") == {"turn": 49}
    cache.delete("k99")
    assert cache.get("k99") is None
    assert site.connections() <= 4
    assert site.metric("lendis_commands_total") > 100
    assert eventually(lambda: site.leased() == 0)


def django_setup(cache):
    from django.conf import settings

    if not settings.configured:
        settings.configure(CACHES={
            "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}})
    from django.core.cache import CacheHandler

    return CacheHandler({"default": cache})


def django_redis(site):
    wanted("django_redis")
    caches = django_setup({
        "BACKEND": "django_redis.cache.RedisCache", "LOCATION": "lendis://main",
        "OPTIONS": {"CONNECTION_POOL_CLASS": "lendis.ConnectionPool"}})
    cache = caches["default"]
    use_cache(cache, site)
    with cache.lock("lock"):
        pass
    cache.set_many({"a": 1, "b": 2})
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cache.incr("a") == 2
    assert cache.delete_pattern("*") == 14
    cache.close()


def django_own(site):
    wanted("django")
    import django

    if django.VERSION < (4, 0):
        raise Skip(f"Django {django.get_version()} has no Redis cache of its own")
    for backend, options in (("lendis.django.RedisCache", {}),
                             ("django.core.cache.backends.redis.RedisCache",
                              {"pool_class": "lendis.ConnectionPool"})):
        caches = django_setup({"BACKEND": backend, "LOCATION": "lendis://main",
                               "OPTIONS": options})
        cache = caches["default"]
        use_cache(cache, site)
        cache.set_many({"a": 1, "b": 2})
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert cache.incr("a") == 2 and cache.touch("a") and cache.add("a", 3) is False
        cache.clear()


def flask_caching(site):
    wanted("flask_caching")
    import flask
    from flask_caching import Cache

    app = flask.Flask("test")
    cache = Cache(app, config={"CACHE_TYPE": "lendis.flask.RedisCache"})
    calls = []

    @app.route("/")
    @cache.cached(timeout=60)
    def page():
        calls.append(1)
        return "hello"

    client = app.test_client()
    assert [client.get("/").data for _ in range(5)] == [b"hello"] * 5 and len(calls) == 1
    with app.app_context():
        use_cache(cache, site)


def send_tasks(site):
    sys.dont_write_bytecode = True
    sys.path.insert(0, HERE)
    from jobs import add, app, echo, lent

    assert type(app.backend.client.connection_pool) is lendis.ConnectionPool
    results = [add.delay(number, 1) for number in range(40)]
    assert [result.get(timeout=40) for result in results] == list(range(1, 41))
    assert echo.delay("x" * 100000).get(timeout=20) == "x" * 100000
    assert lent.delay().get(timeout=20) == ["lendis.celery", "lendis.connection_pool"]
    assert app.control.ping(timeout=5)
    assert site.connections() <= 8
    # Redis ends every connection; the worker goes on.
    site.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    site.do("CLIENT", "KILL", "TYPE", "pubsub")

    def answered():
        try:
            return add.delay(1, 2).get(timeout=10) == 3
        except Exception:
            return False

    assert eventually(answered, 40)


def celery(site):
    wanted("celery")
    log = open(os.path.join(site.folder, "celery.log"), "wb")
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "jobs", "worker", "--concurrency", "3", "--loglevel",
         "INFO"], cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    site.started.append(worker)
    # In a process that ends with it: results that are forgotten ask Redis to unsubscribe.
    assert in_child(lambda: send_tasks(site), 100)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert eventually(lambda: site.metric("lendis_workers") <= 1)


celery.site = {"size": 8, "extra": "dial_backoff_max = 50ms"}
celery.limit = 110

if __name__ == "__main__":
    run(django_redis, django_own, flask_caching, celery)
