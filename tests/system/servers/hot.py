# SPDX-License-Identifier: MIT
"""An application of figures.sh for gunicorn: three commands."""
import os

import redis

client = redis.Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]))


def app(environ, start_response):
    client.incr("visits")
    client.set("last", "visit")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"%d\n" % len(client.get("value"))]
