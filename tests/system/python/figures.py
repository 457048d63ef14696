#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What redis-py costs with connections of its own and with lendis: `make python-figures`.

Printed are a GET in one process, and of forked processes with pools that have grown to 35
connections each: GETs per second of all of them, connections at Redis, and memory, of the processes
(their proportional share, Pss) and of redis-server. Direct and lendis take turns.

Usage: figures.py [PROCESSES [CONNECTIONS]]
"""

import os
import statistics
import sys
import time

from support import Site, need

need("redis")

import redis  # noqa: E402

import lendis.connection_pool  # noqa: E402  before the processes are forked, as --preload does

PROCESSES = int(sys.argv[1]) if len(sys.argv) > 1 else 50
CONNECTIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 35
ROUNDS, SECONDS = 3, 2.0


def pool_of(site, kind):
    if kind == "lendis":
        return lendis.ConnectionPool()
    return redis.ConnectionPool.from_url(f"unix://{site.redis_socket}")


def per_get(site):
    """us per GET of one process."""
    clients = {kind: redis.Redis(connection_pool=pool_of(site, kind))
               for kind in ("direct", "lendis")}
    clients["direct"].set("k", "abc")
    figures = {kind: [] for kind in clients}
    for _ in range(15):
        for kind, client in clients.items():
            began = time.perf_counter()
            for _ in range(1000):
                client.get("k")
            figures[kind].append((time.perf_counter() - began) * 1000)
    return {kind: statistics.median(values) for kind, values in figures.items()}


def kilobytes(pid, file, name):
    with open(f"/proc/{pid}/{file}") as lines:
        for line in lines:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


def grow(pool):
    """As many connections in use at once as there are threads; then all are idle."""
    taken = [pool.get_connection("_") for _ in range(CONNECTIONS)]
    for connection in taken:
        connection.send_command("PING")
        connection.read_response()
    for connection in taken:
        pool.release(connection)


def work(site, kind, start, said):
    client = redis.Redis(connection_pool=pool_of(site, kind))
    grow(client.connection_pool)
    os.write(said, b"r")
    os.read(start, 1)
    count, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(20):
            client.get("k")
        count += 20
    os.write(said, count.to_bytes(8, "little"))
    os.read(start, 1)


def crowd(site, kind):
    """Connections, memory and GETs per second of forked processes."""
    go, start = os.pipe()[::-1]
    said, say = os.pipe()
    pids = []
    for _ in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            try:
                work(site, kind, start, say)
            finally:
                os._exit(0)
        pids.append(pid)
    for _ in pids:
        os.read(said, 1)
    figures = {
        "connections at Redis": site.connections(),
        "MB of the processes": sum(kilobytes(pid, "smaps_rollup", "Pss") for pid in pids) / 1024,
        "MB of redis-server": kilobytes(site.redis.pid, "status", "VmRSS") / 1024,
    }
    os.write(go, b"g" * PROCESSES)
    total = sum(int.from_bytes(os.read(said, 8), "little") for _ in pids)
    figures["GETs per second"] = total / SECONDS
    os.write(go, b"g" * PROCESSES)
    for pid in pids:
        os.waitpid(pid, 0)
    for descriptor in (go, start, said, say):
        os.close(descriptor)
    return figures


def main():
    rounds = {"direct": [], "lendis": []}
    for _ in range(ROUNDS):
        for kind, figures in rounds.items():
            site = Site(size=4)
            try:
                figures.append(crowd(site, kind))
            finally:
                site.close()
    site = Site()
    gets = per_get(site)
    site.close()
    print(f"{PROCESSES} processes, pools of {CONNECTIONS}: medians of {ROUNDS} rounds")
    print(f"{'':24}{'direct':>12}{'lendis':>12}{'ratio':>8}")
    rows = {name: {kind: statistics.median(figures[name] for figures in all_figures)
                   for kind, all_figures in rounds.items()} for name in rounds["direct"][0]}
    rows["us per GET, one process"] = gets
    for name, row in rows.items():
        ratio = row["lendis"] / row["direct"]
        print(f"{name:24}{row['direct']:12,.1f}{row['lendis']:12,.1f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
