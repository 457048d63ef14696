# SPDX-License-Identifier: MIT
"""One request to a server over HTTP or FastCGI; what the answer's body is."""
import socket

LIMIT_S = 30


def receive(connection):
    parts = []
    while True:
        part = connection.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def http(port, path):
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return receive(connection).split(b"\r\n\r\n", 1)[1].decode()


def record(kind, content):
    return bytes([1, kind, 0, 1, len(content) >> 8, len(content) & 255, 0, 0]) + content


def fcgi(path, script, query, redis_port):
    values = {
        "SCRIPT_FILENAME": script,
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": query,
        "REDIS_PORT": str(redis_port),
    }
    pairs = b"".join(
        bytes([len(name), len(value)]) + name.encode() + value.encode()
        for name, value in values.items()
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(path)
        connection.sendall(
            record(1, b"\0\1\0\0\0\0\0\0") + record(4, pairs) + record(4, b"") + record(5, b"")
        )
        data, out = receive(connection), b""
    while len(data) >= 8:
        size = data[4] << 8 | data[5]
        out += data[8 : 8 + size] if data[1] == 6 else b""
        data = data[8 + size + data[6] :]
    return out.split(b"\r\n\r\n", 1)[1].decode()
