# SPDX-License-Identifier: MIT
"""The application of workers.py: a command, a transaction, and a pipeline for each page."""

import os

import redis

import lendis

client = redis.Redis(connection_pool=lendis.ConnectionPool(decode_responses=True))
client.ping()  # in the master, before the workers are forked


def application(environ, start_response):
    word = environ["PATH_INFO"].strip("/")
    echoed = client.echo(word)
    with client.pipeline() as pipe:
        pipe.watch(word)
        pipe.multi()
        pipe.set(word, word).get(word)
        stored = pipe.execute()[1]
    with client.pipeline(transaction=False) as pipe:
        again = pipe.get(word).delete(word).execute()[0]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {echoed} {stored} {again}".encode()]
