# SPDX-License-Identifier: MIT
"""A job for RQ: writes and reads the number that it is for, at REDIS_PORT, and returns it."""
import os

import redis


def echo(number):
    client = redis.Redis(port=int(os.environ["REDIS_PORT"]), decode_responses=True)
    key = "job:%s" % number
    client.set(key, number, 100)
    got = client.get(key)
    return "wrong %s" % got if got is not None and got != number else got or "lost"
