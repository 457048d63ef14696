#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""50 forked workers of gunicorn on 8 connections: every answer is right, also while workers are
killed and all are replaced, and nothing is held afterwards.

The application is loaded before the workers are forked, so they share what the master made.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading

from support import eventually, need, run

need("redis", "gunicorn")

HERE = os.path.dirname(os.path.abspath(__file__))
WORKERS = 50


class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def get(path, word):
    connection = Local(path)
    try:
        connection.request("GET", f"/{word}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Load:
    """Requests from some threads. Each answer has to name what was asked for."""

    def __init__(self, path, count):
        self.path, self.count = path, count
        self.wrong, self.failed, self.pids = [], [], set()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(16)]
        for thread in self.threads:
            thread.start()

    def work(self, number):
        for turn in range(self.count):
            word = f"{number}-{turn}"
            try:
                status, text = get(self.path, word)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(error)
                continue
            pid, _, rest = text.partition(" ")
            self.pids.add(pid)
            if status != 200:
                self.failed.append(text)
            elif rest != f"{word} {word} {word}":
                self.wrong.append(text)

    def join(self):
        for thread in self.threads:
            thread.join()
        return self


def gunicorn(site):
    path = os.path.join(site.folder, "http.sock")
    log = open(os.path.join(site.folder, "gunicorn.log"), "wb")
    master = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS),
         "--graceful-timeout", "10", "--bind", f"unix:{path}", "page:application"],
        cwd=HERE, stdin=subprocess.DEVNULL, stdout=log,
        stderr=log, start_new_session=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    site.started.append(master)

    def serves():
        try:
            return get(path, "up")[0] == 200
        except OSError:
            return False

    def children():
        with open(f"/proc/{master.pid}/task/{master.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    assert eventually(serves, 30)
    assert eventually(lambda: len(children()) == WORKERS, 30)
    load = Load(path, 25).join()
    assert not load.wrong and not load.failed, (load.wrong[:3], load.failed[:3])
    assert len(load.pids) > 8
    assert site.connections() <= 8
    # Some are killed in the middle of it; what fails is their own request.
    load = Load(path, 25)
    for pid in children()[:10]:
        os.kill(pid, signal.SIGKILL)
    load.join()
    assert not load.wrong and len(load.failed) <= 10, (load.wrong[:3], load.failed[:12])
    assert eventually(lambda: len(children()) == WORKERS, 30)
    # A graceful reload: all are replaced.
    before = set(children())
    load = Load(path, 25)
    master.send_signal(signal.SIGHUP)
    load.join()
    assert not load.wrong and not load.failed, (load.wrong[:3], load.failed[:3])
    assert eventually(lambda: len(children()) == WORKERS and not before & set(children()), 30)
    assert serves()
    assert site.connections() <= 8
    assert eventually(lambda: site.leased() == 0)
    master.terminate()
    assert master.wait(60) == 0
    assert eventually(lambda: site.metric("lendis_workers") == 0)


gunicorn.site = {"size": 8}
gunicorn.limit = 110

if __name__ == "__main__":
    run(gunicorn)
