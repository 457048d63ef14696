# SPDX-License-Identifier: MIT
"""What the tests of the Python package stand on: a private redis-server and lendisd, forked
workers, and a runner that prints TAP for tests/run.

A test is a function in a list that is given to run(). It gets a Site, and asserts. What a child
does is told by its exit status.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.path.join(ROOT, os.environ.get("LENDIS_BUILD", "build"))
SKIPPED = 77

sys.path.insert(0, os.path.join(ROOT, "libclient", "python"))
os.environ["LENDIS_LIBRARY"] = os.path.join(BUILD, "liblendis.so.0")
os.environ["PYTHONPATH"] = os.pathsep.join(
    [os.path.join(ROOT, "libclient", "python")] + os.environ.get("PYTHONPATH", "").split(":"))


class Skip(Exception):
    """What this test is about is not here."""


def skip(why):
    print(f"1..0 # skip {why}\n{why}")
    sys.exit(SKIPPED)


def need(*modules):
    """Skips the program where one of these is missing."""
    for module in modules:
        try:
            __import__(module)
        except ImportError:
            skip(f"no {module} here")


def eventually(condition, limit=10.0):
    """Waits for a condition; False if it did not come about."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


class Site:
    """A redis-server and a lendisd in a folder of their own."""

    def __init__(self, size=4, extra="", pools=None, port=False):
        self.folder = tempfile.mkdtemp(prefix="lendis-python.")
        self.port = _free_port() if port else 0  # 0: a Unix socket alone
        self.redis_socket = os.path.join(self.folder, "redis.sock")
        self.socket = os.path.join(self.folder, "lendis.sock")
        self.started = []
        self.redis = self.start_redis()
        self.configuration = os.path.join(self.folder, "lendis.conf")
        with open(self.configuration, "w") as file:
            file.write(f"[broker]\nsocket = {self.socket}\n")
            for pool, query in (pools or {"main": ""}).items():
                file.write(f"[pool {pool}]\nredis = {self._address()}{query}\n"
                           f"size = {size}\nmin_idle = {size}\n{extra}\n")
        self.broker = self.start_broker()
        os.environ["LENDIS_SOCKET"] = self.socket

    def _address(self):
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.redis_socket}"

    def _start(self, name, *command):
        log = open(os.path.join(self.folder, f"{name}{len(self.started)}.log"), "wb")
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("LENDIS_")}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env=environment)
        log.close()
        self.started.append(process)
        return process

    def start_redis(self):
        """The same for one that was ended."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.redis_socket)
        process = self._start("redis", os.environ.get("REDIS_SERVER", "redis-server"), "--port",
                              str(self.port), "--unixsocket", self.redis_socket, "--save", "",
                              "--dir", self.folder, "--enable-debug-command", "local")
        assert eventually(self._redis_answers), "redis-server does not start"
        return process

    def _redis_answers(self):
        try:
            return self.do("PING") == b"+PONG"
        except OSError:
            return False

    def start_broker(self):
        process = self._start("lendisd", os.path.join(BUILD, "lendisd"), "--config",
                              self.configuration)
        assert eventually(lambda: os.path.exists(self.socket)), "lendisd does not start"
        assert eventually(lambda: self.connections() > 0), "lendisd opens no connection"
        return process

    def do(self, *words):
        """The first line of what Redis answers to a command of the test's own."""
        with socket.socket(socket.AF_UNIX) as own:
            own.settimeout(10)
            own.connect(self.redis_socket)
            own.sendall(b"*%d\r\n" % len(words) + b"".join(
                b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words))
            with own.makefile("rb") as file:
                line = file.readline().rstrip()
                if line[:1] == b"$" and line != b"$-1":
                    return file.read(int(line[1:]))
                return line

    def clients(self):
        return [line for line in self.do("CLIENT", "LIST").decode().splitlines()
                if "cmd=client" not in line]

    def connections(self):
        """How many there are at Redis beside the test's own."""
        return len(self.clients())

    def ctl(self, *words):
        return subprocess.run([os.path.join(BUILD, "lendisctl"), "--socket", self.socket, *words],
                              capture_output=True, text=True, timeout=20, check=True).stdout

    def metric(self, name, labels=""):
        """The sum of a metric over pools, or of those with these labels."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.ctl("metrics").splitlines()
                  if line.startswith(name + "{") and labels in line]
        assert values, name
        return sum(values)

    def leased(self):
        """How many connections are somebody's now."""
        return int(self.metric("lendis_connections", 'state="leased"'))

    def end(self, process):
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self, keep=False):
        for process in reversed(self.started):
            if process.poll() is None:
                self.end(process)
        if keep:
            for name in sorted(os.listdir(self.folder)):
                if name.endswith(".log"):
                    with open(os.path.join(self.folder, name), errors="replace") as file:
                        print(f"---- {name}\n" + file.read()[-3000:])
        shutil.rmtree(self.folder, ignore_errors=True)


def in_child(function, limit=30):
    """Runs a function in a forked child. True: it came back and all it asserted was so."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(limit)
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def run(*tests, **site_options):
    """Runs the tests, each with a Site of its own, and exits."""
    failed = 0
    chosen = [test for test in tests if not sys.argv[1:] or test.__name__ in sys.argv[1:]]
    print(f"1..{len(chosen)}", flush=True)
    for number, test in enumerate(chosen, 1):
        good, site, began, note = False, None, time.monotonic(), ""
        try:
            options = dict(site_options, **getattr(test, "site", {}))
            signal.alarm(getattr(test, "limit", 60))
            site = Site(**options)
            test(site)
            good = True
        except Skip as why:
            good, note = True, f" # SKIP {why}"
        except Exception:
            traceback.print_exc()
        finally:
            signal.alarm(0)
            if site:
                site.close(keep=not good)
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {test.__name__}{note}", flush=True)
        if os.environ.get("LENDIS_TEST_TIMES"):
            print(f"# {time.monotonic() - began:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
