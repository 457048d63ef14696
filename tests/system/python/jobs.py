# SPDX-License-Identifier: MIT
"""The Celery application of frameworks.py."""

from celery import Celery

app = Celery("jobs", broker="lendis.celery:Transport+lendis://main",
             backend="lendis.celery:Backend+lendis://main")


@app.task
def add(one, other):
    return one + other


@app.task
def echo(text):
    return text


@app.task
def lent():
    """Where the transport of this process and its pool come from."""
    with app.connection_for_write() as connection:
        pool = connection.default_channel.pool
        return [type(connection.transport).__module__, type(pool).__module__]
