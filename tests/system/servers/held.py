# SPDX-License-Identifier: MIT
"""An application of memory.py for gunicorn: uses so many connections of redis-py's pool, and prints
its process id."""
import os
import time

import redis

pool = redis.ConnectionPool(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]))


def app(environ, start_response):
    connections = [pool.get_connection("GET") for _ in range(int(environ["QUERY_STRING"]))]
    for connection in connections:
        connection.send_command("GET", "value")
        connection.read_response()
        pool.release(connection)
    time.sleep(0.1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
