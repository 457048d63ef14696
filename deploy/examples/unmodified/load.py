# SPDX-License-Identifier: MIT
"""load.py PORT SECONDS THREADS: asks for pages and prints pages a second and how many failed."""
import socket
import sys
import threading
import time

port, seconds, threads = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
end = time.monotonic() + seconds
pages = [0] * threads
failed = [0] * threads


def ask():
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while True:
            part = connection.recv(65536)
            if not part:
                return answer.startswith(b"HTTP/1.0 200") or answer.startswith(b"HTTP/1.1 200")
            answer += part


def work(index):
    while time.monotonic() < end:
        try:
            good = ask()
        except OSError:
            good = False
        pages[index] += good
        failed[index] += not good


workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("%.0f %d" % (sum(pages) / seconds, sum(failed)))
