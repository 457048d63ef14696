# SPDX-License-Identifier: MIT
"""An application for gunicorn and uWSGI, by redis-py: writes and reads the number that it is asked
for, in all ways, and prints it. It prints "wrong" if a reply is not its own."""
import os

import redis

client = redis.Redis(port=int(os.environ["REDIS_PORT"]), decode_responses=True)
try:
    client.get("loaded")  # a connection of the master's, which every worker inherits
except redis.RedisError:
    pass


class Lost(Exception):
    pass


def compare(got, number):
    if got is None:
        raise Lost("lost")
    if got != number:
        raise Lost("wrong %s" % got)


def answer(number):
    key = "app:%s" % number
    client.set(key, number, 100)
    compare(client.get(key), number)
    with client.pipeline() as pipe:
        compare(pipe.get(key).incr("count").execute()[0], number)
    with client.pipeline(transaction=False) as pipe:
        got = pipe.get(key).echo("e%s" % number).execute()
    compare(got[0], number)
    compare(got[1][1:], number)
    return number


def app(environ, start_response):
    try:
        body = answer(environ["QUERY_STRING"])
    except Lost as lost:
        body = str(lost)
    except redis.RedisError as error:
        body = "failed: %r" % error
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
