# SPDX-License-Identifier: MIT
"""An application for gunicorn: writes and reads what it is asked for, at REDIS_PORT."""
import os

import redis

client = redis.Redis(port=int(os.environ["REDIS_PORT"]))


def app(environ, start_response):
    number = environ["QUERY_STRING"]
    key = "app:%s" % number
    client.set(key, number)
    pipe = client.pipeline()
    pipe.get(key).incr("count")
    queued = pipe.execute()
    value = client.get(key).decode()
    good = value == number and queued[0].decode() == number
    start_response("200 OK" if good else "500 Wrong", [("Content-Type", "text/plain")])
    return [value.encode()]
