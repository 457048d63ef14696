# SPDX-License-Identifier: MIT
"""Tasks for Celery, with Redis as broker and as store of results, at REDIS_PORT. Each writes and
reads the number that it is for, and returns it."""
import os

import celery
import redis

url = "redis://localhost:%s/0" % os.environ["REDIS_PORT"]
app = celery.Celery("tasks", broker=url, backend=url)
app.conf.update(
    broker_connection_retry=True,
    broker_connection_max_retries=None,
    result_expires=100,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
)
client = redis.Redis(port=int(os.environ["REDIS_PORT"]), decode_responses=True)


@app.task
def echo(number):
    key = "task:%s" % number
    client.set(key, number, 100)
    with client.pipeline() as pipe:
        got = pipe.get(key).incr("count").execute()[0]
    if got is not None and got != number:
        return "wrong %s" % got
    return client.get(key) or "lost"
