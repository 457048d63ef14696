# SPDX-License-Identifier: MIT
"""An application for gunicorn that knows nothing of lendis: a page costs INCR, SET and GET."""
import os

import redis

client = redis.Redis(port=int(os.environ.get("REDIS_PORT", 6379)))


def app(environ, start_response):
    visits = client.incr("visits")
    client.set("last", visits)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %s\n" % (visits, client.get("last"))]
