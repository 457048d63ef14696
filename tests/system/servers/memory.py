#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Memory that the connections of unmodified servers take, over the whole system: php-fpm with phpredis
and gunicorn with redis-py, each without Redis, with connections of its own, and by lendis-run. All
workers use all of their connections once, and rest.

    memory.py [--workers N] [--size N] [--php N] [--python N]

--size: connections of the pool; --php, --python: connections of a worker. Columns: the processes of
the server, those of the broker with the shared memory, and Redis, by PSS, which counts each page
once; the kernel's page tables of all of them; sockets, counted one by one, times what one takes on
this machine, which is measured first, by thousands of them. Without huge pages (prctl(2),
PR_SET_THP_DISABLE), which would round each process' heap up by up to 2 MiB. Environment:
LENDIS_BUILD.
"""
import argparse
import concurrent.futures
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import ask

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("LENDIS_BUILD", os.path.join(HERE, "../../../build")))
PYTHON = "/usr/bin/python3"
LIMIT_S = 60


# ---- what there is ----


def tree(pid):
    """The process, and those that it started."""
    try:
        children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    except OSError:
        return []
    return [pid] + [each for child in children for each in tree(int(child))]


def field(path, name):
    return int(re.search(rf"^{name}:\s+(\d+)", open(path).read(), re.MULTILINE)[1])


def pss(pids):
    return sum(field(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids)


def page_tables(pids):
    return sum(field(f"/proc/{pid}/status", "VmPTE") for pid in pids)


def sockets(pids):
    """How many sockets they have, of each kind; one that several processes have counts once."""
    tcp = {line.split()[9] for line in open("/proc/net/tcp").readlines()[1:]}
    seen = set()
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                name = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if name.startswith("socket:["):
                seen.add(name[8:-1])
    return len(seen & tcp), len(seen - tcp)


# ---- what a socket takes ----

CACHES = "TCP UNIX UNIX-STREAM sock_inode_cache filp skbuff_head_cache".split()


def slab_kb():
    """Of the caches of sockets, and of their dentries, by their number."""
    sizes, total = {}, 0
    for line in open("/proc/slabinfo").readlines()[2:]:
        name, active, _, size = line.split()[:4]
        sizes[name] = int(size)
        if name in CACHES:
            total += int(active) * int(size)
    used = int(re.search(r"sockets: used (\d+)", open("/proc/net/sockstat").read())[1])
    return (total + used * sizes["dentry"]) / 1024


def tcp_pairs(count):
    with socket.create_server(("127.0.0.1", 0), backlog=count) as server:
        ends = []
        for _ in range(count):
            ends.append(socket.create_connection(server.getsockname()))
            ends.append(server.accept()[0])
    return ends


def unix_pairs(count):
    return [end for _ in range(count) for end in socket.socketpair()]


def socket_kb(make, count=2000):
    """The median of some rounds: others open and close sockets meanwhile."""
    costs = []
    for _ in range(5):
        before = slab_kb()
        ends = make(count)
        costs.append((slab_kb() - before) / len(ends))
        for end in ends:
            end.close()
    return sorted(costs)[2]


# ---- servers ----


class Site:
    """A Redis, a broker, and a server that is asked for pages."""

    def __init__(self, folder, options):
        self.folder, self.options, self.started = folder, options, []
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(
            ("127.0.0.1", 0)
        ) as two:
            self.port, self.web = one.getsockname()[1], two.getsockname()[1]
        self.environment = dict(
            os.environ,
            PYTHONDONTWRITEBYTECODE="1",
            REDIS_PORT=str(self.port),
            LENDIS_SOCKET=f"{folder}/lendis.sock",
        )

    def start(self, *command):
        log = open(f"{self.folder}/log", "ab")
        process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=HERE)
        self.started.append(process)
        return process.pid

    def end(self):
        for process in reversed(self.started):
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)
        self.started = []

    def redis(self):
        pid = self.start(
            "redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
            "--maxclients", "20000", "--dir", self.folder,
        )  # fmt: skip
        eventually(lambda: self.ask("PING") == b"+PONG\r\n")
        self.ask("SET", "value", "x" * 1024)
        return pid

    def ask(self, *words):
        request = "*%d\r\n" % len(words) + "".join("$%d\r\n%s\r\n" % (len(w), w) for w in words)
        with socket.create_connection(("127.0.0.1", self.port), LIMIT_S) as connection:
            connection.sendall(request.encode())
            return connection.recv(65536)

    def connections(self):
        with socket.create_connection(("127.0.0.1", self.port), LIMIT_S) as connection:
            connection.sendall(b"INFO clients\r\n")
            text = connection.recv(65536).decode()
        return int(re.search(r"connected_clients:(\d+)", text)[1]) - 1

    def broker(self):
        with open(f"{self.folder}/lendis.conf", "w") as file:
            file.write(
                f"[broker]\nsocket = {self.folder}/lendis.sock\n[pool main]\n"
                f"redis = redis://127.0.0.1:{self.port}\nsize = {self.options.size}\n"
            )
        pid = self.start(f"{BUILD}/lendisd", "--config", f"{self.folder}/lendis.conf")
        eventually(lambda: os.path.exists(f"{self.folder}/lendis.sock"))
        return pid

    def server(self, kind, run):
        workers = str(self.options.workers)
        if kind == "gunicorn":
            return self.start(
                *run, PYTHON, "-m", "gunicorn", "--preload", "--workers", workers,
                "--timeout", "600", "--bind", f"127.0.0.1:{self.web}", "held:app",
            )  # fmt: skip
        with open(f"{self.folder}/fpm.conf", "w") as file:
            file.write(
                f"[global]\nerror_log = {self.folder}/log\ndaemonize = no\n[www]\nuser = root\n"
                f"group = root\nlisten = {self.folder}/fpm.sock\nlisten.backlog = 512\n"
                f"pm = static\npm.max_children = {workers}\n"
            )
        fpm = sorted(name for name in os.listdir("/usr/sbin") if name.startswith("php-fpm"))[-1]
        return self.start(*run, f"/usr/sbin/{fpm}", "-R", "-F", "-y", f"{self.folder}/fpm.conf")

    def page(self, kind, connections):
        """One answer: the process that gave it, or None."""
        try:
            if kind == "gunicorn":
                return int(ask.http(self.web, f"/?{connections}"))
            return int(
                ask.fcgi(
                    f"{self.folder}/fpm.sock", f"{HERE}/held.php", f"n={connections}", self.port
                )
            )
        except (OSError, ValueError, IndexError):
            return None

    def warm(self, kind, connections):
        """Every worker has used all of its connections."""
        seen, limit = set(), time.monotonic() + LIMIT_S
        with concurrent.futures.ThreadPoolExecutor(self.options.workers) as pool:
            while len(seen) < self.options.workers:
                if time.monotonic() > limit:
                    sys.exit(f"{kind}: {len(seen)} workers answered")
                turns = [
                    pool.submit(self.page, kind, connections) for _ in range(self.options.workers)
                ]
                seen |= {turn.result() for turn in turns} - {None}


def eventually(condition):
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit("memory.py: nothing for a minute")


# ---- measuring ----


def measure(kind, mode, connections, options, costs):
    with tempfile.TemporaryDirectory(prefix="lendis-memory.") as folder:
        site = Site(folder, options)
        try:
            redis = site.redis()
            broker = site.broker() if mode == "lendis" else None
            run = [f"{BUILD}/lendis-run"] if mode == "lendis" else []
            server = site.server(kind, run)
            site.warm(kind, 0 if mode == "without" else connections)
            pids = tree(server)
            everybody = pids + [redis] + ([broker] if broker else [])
            tcp, unix = sockets(everybody)
            values = {
                "server": pss(pids),
                "broker": pss([broker]) if broker else 0,
                "Redis": pss([redis]),
                "page tables": page_tables(everybody),
                "sockets": tcp * costs[0] + unix * costs[1],
            }
            values["all"] = sum(values.values())
            values["connections"] = site.connections()
            return values
        finally:
            site.end()


def row(name, values):
    print("%-28s" % name + "".join("%12.0f" % value for value in values.values()), flush=True)


def compare(kind, connections, options, costs):
    print(f"\n{kind}: {options.workers} workers, {connections} connections each; kB")
    results = {}
    for mode in "without", "direct", "lendis":
        results[mode] = measure(kind, mode, connections, options, costs)
        if mode == "without":
            print(" " * 28 + "".join("%12s" % name for name in results[mode]))
        row({"without": "without Redis", "direct": "its own", "lendis": "lendis-run"}[mode],
            results[mode])  # fmt: skip
    due, left = (results[mode]["all"] - results["without"]["all"] for mode in ("direct", "lendis"))
    count = options.workers * connections
    print(
        f"due to connections: {due:.0f} kB, {due / count:.1f} each; by lendis-run {left:.0f} kB; "
        f"saved {100 * (due - left) / due:.0f} %, {(due - left) / count:.1f} kB each"
    )


def without_huge_pages():
    """For this process and those that it starts."""
    if ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) != 0:
        sys.exit("memory.py: huge pages cannot be switched off")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, value in ("workers", 50), ("size", 8), ("php", 4), ("python", 35):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    without_huge_pages()
    costs = socket_kb(tcp_pairs), socket_kb(unix_pairs)
    print("a socket: TCP %.2f kB, Unix %.2f kB" % costs)
    compare("php-fpm", options.php, options, costs)
    compare("gunicorn", options.python, options, costs)


main()
