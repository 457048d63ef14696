# SPDX-License-Identifier: MIT
"""
Asks a server for numbers, in parallel, and prints how many answers were right and how many not:

    load.py http PORT REQUESTS THREADS
    load.py fcgi SOCKET REQUESTS THREADS SCRIPT REDIS_PORT METHOD
"""
import socket
import sys
import threading

kind, place, requests, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
LIMIT_S = 60


def receive(connection):
    parts = []
    while True:
        part = connection.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def ask_http(number):
    with socket.create_connection(("127.0.0.1", int(place)), LIMIT_S) as connection:
        connection.sendall(b"GET /?%d HTTP/1.0\r\n\r\n" % number)
        head, body = receive(connection).split(b"\r\n\r\n", 1)
        return b" 200 " in head.split(b"\r\n")[0] and int(body) == number


def record(kind, content):
    return bytes([1, kind, 0, 1, len(content) >> 8, len(content) & 255, 0, 0]) + content


def ask_fcgi(number):
    values = {
        "SCRIPT_FILENAME": sys.argv[5],
        "REQUEST_METHOD": "GET",
        "REDIS_PORT": sys.argv[6],
        "QUERY_STRING": "n=%d&c=%s" % (number, sys.argv[7]),
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
    head, body = out.split(b"\r\n\r\n", 1)
    return b"Status:" not in head and int(body) == number


ask = ask_http if kind == "http" else ask_fcgi
good = [0] * threads
bad = []


def work(index):
    for i in range(requests // threads):
        try:
            if ask(index * 100000 + i):
                good[index] += 1
            else:
                bad.append("wrong")
        except Exception as error:  # whatever went wrong, the answer is missing
            bad.append(repr(error))


workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("good %d bad %d" % (sum(good), len(bad)))
for each in bad[:3]:
    print(each, file=sys.stderr)
