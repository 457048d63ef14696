#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What redis-py costs with connections of its own, with lendis, and with the library preloaded:
`make python-figures`.

Printed are a GET in one process, and of forked processes with pools that have grown to 35
connections each: GETs per second of all of them, connections at Redis, and memory: of all processes
(their proportional shares, Pss), of one (RSS and what is private, as ps shows them), of
redis-server. Processes that have one connection of their own each, and do the same, say what is due
to the others; what the kernel keeps for a connection (some 8 kB) is not counted. All ways take
turns, and the medians of the rounds are printed.

Usage: figures.py [PROCESSES [CONNECTIONS [ROUNDS]]]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from support import BUILD, Site, need

need("redis")

import redis  # noqa: E402

WAYS = ("one each", "direct", "lendis", "preload")
SECONDS = 2.0


def pool_of(way, address):
    if way == "lendis":
        import lendis
        return lendis.ConnectionPool()
    return redis.ConnectionPool.from_url(f"unix://{address}")


def per_get(client):
    """us per GET of one process."""
    figures = []
    for _ in range(9):
        began = time.perf_counter()
        for _ in range(1000):
            client.get("k")
        figures.append((time.perf_counter() - began) * 1000)
    return statistics.median(figures)


def kilobytes(pid, file, *names):
    with open(f"/proc/{pid}/{file}") as lines:
        return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in names)


def grow(pool, count):
    """As many connections in use at once as there are threads; then all are idle."""
    taken = [pool.get_connection("_") for _ in range(count)]
    for connection in taken:
        connection.send_command("PING")
        connection.read_response()
    for connection in taken:
        pool.release(connection)


def work(client, way, count, said, start, leave):
    grow(client.connection_pool, 1 if way == "one each" else count)
    os.write(said, b"r")
    os.read(start, 1)
    done, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(20):
            client.get("k")
        done += 20
    os.write(said, done.to_bytes(8, "little"))
    os.read(leave, 1)


def memory(pids, server):
    """In megabytes; of one process, the mean."""
    def of_all(file, *names):
        return sum(kilobytes(pid, file, *names) for pid in pids) / 1024

    return {
        "MB of the processes": of_all("smaps_rollup", "Pss"),
        "MB RSS of one": of_all("status", "VmRSS") / len(pids),
        "MB private of one": of_all("smaps_rollup", "Private_Clean",
                                    "Private_Dirty") / len(pids),
        "MB of redis-server": kilobytes(server, "status", "VmRSS") / 1024,
    }


def crowd(way, address, server, processes, connections):
    """The figures of forked processes, printed. Runs in a process of its own."""
    client = redis.Redis(connection_pool=pool_of(way, address))
    figures = {"us per GET, one process": per_get(client)}
    client.connection_pool.disconnect()
    start, go = os.pipe()
    leave, end = os.pipe()
    said, say = os.pipe()
    pids = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            os.close(go)  # a parent that is gone is the end of a read
            os.close(end)
            try:
                work(client, way, connections, say, start, leave)
            finally:
                os._exit(0)
        pids.append(pid)
    for _ in pids:
        os.read(said, 1)
    figures.update(memory(pids, server))
    probe = redis.Redis(unix_socket_path=address, client_name="probe")
    figures["connections at Redis"] = sum(
        each["name"] != "probe" for each in probe.client_list())
    os.write(go, b"g" * processes)
    total = sum(int.from_bytes(os.read(said, 8), "little") for _ in pids)
    figures["GETs per second"] = total / SECONDS
    os.write(end, b"g" * processes)
    for pid in pids:
        os.waitpid(pid, 0)
    print(json.dumps(figures))


def compiled(folder):
    """The environment of processes that find their modules compiled, as those that are installed
    are: compiling takes memory that is never given back."""
    environment = dict(os.environ, PYTHONPYCACHEPREFIX=folder)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-c", "import redis, lendis.connection_pool"], check=True,
                   env=environment, timeout=60)
    return environment


def round_of(way, processes, connections, environment):
    site = Site(size=4)
    try:
        site.do("SET", "k", "abc")
        command = [sys.executable, __file__, "--crowd", way, site.redis_socket,
                   str(site.redis.pid), str(processes), str(connections)]
        if way == "preload":
            command.insert(0, os.path.join(BUILD, "lendis-run"))
        done = subprocess.run(command, capture_output=True, text=True, timeout=300,
                              env=dict(environment, LENDIS_SOCKET=site.socket))
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)
    finally:
        site.close()


def show(rows):
    for name in ("MB of the processes", "MB of redis-server"):
        for way in WAYS:
            more = rows[way][name] - rows[WAYS[0]][name]
            rows[way]["MB due to more than one"] = more + rows[way].get(
                "MB due to more than one", 0)
    print(f"{'':26}" + "".join(f"{way:>12}" for way in WAYS)
          + f"{'lendis/dir.':>12}{'preload/dir.':>13}")
    for name in rows["direct"]:
        values = [rows[way][name] for way in WAYS]
        ratios = [value / values[1] for value in values[2:]]
        print(f"{name:26}" + "".join(f"{value:12,.1f}" for value in values)
              + f"{ratios[0]:12.2f}{ratios[1]:13.2f}")


def main():
    numbers = [int(word) for word in sys.argv[1:]] + [100, 35, 5][len(sys.argv) - 1:]
    processes, connections, count = numbers
    rounds = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="lendis-python.") as folder:
        environment = compiled(folder)
        for _ in range(count):
            for way, figures in rounds.items():
                figures.append(round_of(way, processes, connections, environment))
    print(f"{processes} processes, pools of {connections}: medians of {count} rounds")
    show({way: {name: statistics.median(each[name] for each in figures) for name in figures[0]}
          for way, figures in rounds.items()})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--crowd"]:
        crowd(sys.argv[2], sys.argv[3], *(int(word) for word in sys.argv[4:]))
    else:
        main()
