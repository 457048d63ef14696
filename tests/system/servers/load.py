# SPDX-License-Identifier: MIT
"""
Asks a server for numbers, in parallel, until there were so many requests or, if that is 0, until
the file STOP is there. Adds a byte to PROGRESS for each answer that is right. Prints how many
answers were right, how many wrong, that is those that name another number, and how many requests
failed.

    load.py http PORT PATH THREADS REQUESTS PROGRESS STOP
    load.py fcgi SOCKET SCRIPT?QUERY THREADS REQUESTS PROGRESS STOP

The number is appended to PATH or QUERY.
"""
import os
import socket
import sys
import threading
import time

kind, place, path, threads, requests = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
progress = os.open(sys.argv[6], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
stop = sys.argv[7]
LIMIT_S = 30
end = time.monotonic() + 100


def receive(connection):
    parts = []
    while True:
        part = connection.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def ask_http(number):
    with socket.create_connection(("127.0.0.1", int(place)), LIMIT_S) as connection:
        request = "GET %s%d HTTP/1.0\r\n\r\n" % (path, number)
        connection.sendall(request.encode())
        return receive(connection).split(b"\r\n\r\n", 1)[1]


def record(kind, content):
    return bytes([1, kind, 0, 1, len(content) >> 8, len(content) & 255, 0, 0]) + content


def ask_fcgi(number):
    script, query = path.split("?")
    values = {
        "SCRIPT_FILENAME": script,
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "%s%d" % (query, number),
        "REDIS_PORT": os.environ["REDIS_PORT"],
    }
    pairs = b"".join(
        bytes([len(name), len(value)]) + name.encode() + value.encode()
        for name, value in values.items()
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(place)
        connection.sendall(
            record(1, b"\0\1\0\0\0\0\0\0") + record(4, pairs) + record(4, b"") + record(5, b"")
        )
        data, out = receive(connection), b""
    while len(data) >= 8:
        size = data[4] << 8 | data[5]
        out += data[8 : 8 + size] if data[1] == 6 else b""
        data = data[8 + size + data[6] :]
    return out.split(b"\r\n\r\n", 1)[1]


ask = ask_http if kind == "http" else ask_fcgi
right, wrong, failed = [0] * threads, [], []


def work(index):
    turn, turns = 0, requests // threads + (index < requests % threads)
    while turn < turns if requests else not os.path.exists(stop):
        number = index * 1000000 + turn
        turn += 1
        if time.monotonic() > end:
            failed.append("no end")
            return
        try:
            answer = ask(number).decode()
        except (OSError, IndexError) as error:
            failed.append(repr(error))
            time.sleep(0.01)
            continue
        if answer == str(number):
            right[index] += 1
            os.write(progress, b".")
        elif answer.startswith("wrong") or answer.isdigit():
            wrong.append("%s for %d" % (answer, number))
        else:
            failed.append(answer[:300])


workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("right %d wrong %d failed %d" % (sum(right), len(wrong), len(failed)))
for each in wrong[:5] + failed[:5]:
    print(each, file=sys.stderr)
