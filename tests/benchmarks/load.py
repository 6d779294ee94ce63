"""Making load with plain sockets: many bodies over a few connections, single posts over many."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle

from tests.benchmarks.machine import Meter, Spent
from tests.benchmarks.samples import Body, now

Clock = Callable[[], int]


def connect(port: int) -> socket.socket:
    """A connection that sends at once."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answer(connection: socket.socket) -> bytes:
    """One whole HTTP response. RuntimeError where it is no success."""
    data = b""
    while not _whole(data):
        part = connection.recv(1 << 20)
        if not part:
            raise RuntimeError(f"the connection ended after {data[:500]!r}")
        data += part
    if data[9:10] != b"2":
        raise RuntimeError(f"the server refused: {data[:500]!r}")
    return data


def _whole(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    headers = data[:end].lower().split(b"\r\n")
    if b"transfer-encoding: chunked" in headers:
        return data.endswith(b"\r\n0\r\n\r\n")
    lengths = [int(line[15:]) for line in headers if line.startswith(b"content-length:")]
    return len(data) >= end + 4 + sum(lengths)


def send_all(port: int, requests: Iterable[bytes], connections: int = 4) -> None:
    """Sends whole requests, each connection the next one as soon as its last is answered."""
    _drive(port, iter(requests), connections)


def send_for(
    port: int, pid: int, bodies: list[Body], seconds: float, connections: int = 4, clock: Clock = now
) -> tuple[int, Spent]:
    """Sends bodies in turn, the time filled in, for some seconds: (samples answered, what the server spent)."""
    sent = 0

    def requests() -> Iterator[bytes]:
        nonlocal sent
        until = time.perf_counter() + seconds
        for body in cycle(bodies):
            if time.perf_counter() >= until:
                return
            sent += body.rows
            yield body.at(clock())

    meter = Meter(pid)
    _drive(port, requests(), connections)
    return sent, meter.read()


def _drive(port: int, requests: Iterator[bytes], connections: int) -> None:
    lock = threading.Lock()
    faults: list[BaseException] = []

    def work() -> None:
        try:
            with connect(port) as connection:
                while True:
                    with lock:
                        request = next(requests, None)
                    if request is None or faults:
                        return
                    connection.sendall(request)
                    answer(connection)
        except (OSError, RuntimeError) as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def post_for(port: int, pid: int, requests: list[bytes], seconds: float, connections: int = 50) -> tuple[int, Spent]:
    """Single posts, each connection the next as soon as its last is answered: (answered, what the server spent).

    Of the answers, which are JSON objects, only the status and the end are looked at.
    """
    sockets = {}
    parts: dict[int, bytes] = {}
    poll = select.epoll()
    for _ in range(connections):
        connection = connect(port)
        sockets[connection.fileno()] = connection
        poll.register(connection.fileno(), select.EPOLLIN)
    following = cycle(requests)
    answered = 0
    meter = Meter(pid)
    until = time.perf_counter() + seconds
    for connection in sockets.values():
        connection.sendall(next(following))
    waiting = connections
    while waiting:
        more = time.perf_counter() < until
        for number, _ in poll.poll(5):
            connection = sockets[number]
            data = parts.pop(number, b"") + connection.recv(4096)
            if b"\r\n\r\n{" not in data or not data.endswith(b"}"):
                parts[number] = data
                continue
            if data[9:12] != b"201":
                raise RuntimeError(f"the server refused: {data[:500]!r}")
            answered += 1
            if more:
                connection.send(next(following))
            else:
                waiting -= 1
    spent = meter.read()
    poll.close()
    for connection in sockets.values():
        connection.close()
    return answered, spent
