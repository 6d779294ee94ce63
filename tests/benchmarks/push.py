"""From a POST to the WebSocket: how long until the first update that covers the receipt, and what a delivery costs."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np

from tests.benchmarks import load
from tests.benchmarks.machine import Meter, Spent, ours, running
from tests.benchmarks.samples import Body, Series, batches, make_series, now
from tests.benchmarks.table import Figure

RATE = 10_000
BATCH = 100
POSTERS = 8
"""Connections that post in turn, so that a slow answer holds up no later POST."""
_OFFSET = b'"offset":"'


class Subscriber:
    """One WebSocket that notes when it got which position."""

    __slots__ = ("frames", "positions", "socket", "times")

    def __init__(self, port: int, number: int, query: dict[str, object]) -> None:
        self.socket = load.connect(port)
        self.positions: list[int] = []
        self.times: list[float] = []
        self.frames = 0
        path = f"/ws/bench-{number}?firehose=0"
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(65536)
            if not part:
                raise RuntimeError(f"the WebSocket was refused: {data[:500]!r}")
            data += part
        if not data.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"the WebSocket was refused: {data[:500]!r}")
        payload = json.dumps({"type": "subscribe", "query": query}).encode()
        # With a mask of zeros the payload stays as it is.
        self.socket.sendall(bytes((0x81, 0x80 | 126)) + len(payload).to_bytes(2, "big") + bytes(4) + payload)
        while b"realtime_update" not in data:
            data += self.socket.recv(65536)

    def read(self) -> None:
        """Takes what has come; the last offset in it is the newest, and everything in one read came at once."""
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("a WebSocket was closed")
        count = data.count(b"realtime_update")
        if count:
            self.frames += count
            self.times.append(time.perf_counter())
            self.positions.append(_position(data))


def _position(data: bytes) -> int:
    at = data.rfind(_OFFSET) + len(_OFFSET)
    return int(data[data.index(b"-", at) + 1 : data.index(b'"', at)])


class Run:
    """Posts at a steady rate while it reads from all subscribers, in one thread."""

    def __init__(self, port: int, bodies: list[Body], subscribers: list[Subscriber]) -> None:
        self._bodies = cycle(bodies)
        self._poll = select.epoll()
        self._subscribers = {one.socket.fileno(): one for one in subscribers}
        for number in self._subscribers:
            self._poll.register(number, select.EPOLLIN)
        self._idle = [load.connect(port) for _ in range(POSTERS)]
        self._posting: dict[int, tuple[socket.socket, float]] = {}
        for connection in self._idle:
            self._poll.register(connection.fileno(), select.EPOLLIN)
        self.posts: list[tuple[float, int]] = []
        """(time sent, position of the receipt)."""
        self.behind = 0
        """Posts that were sent late because all connections were busy."""

    def go(self, seconds: float, rate: float) -> None:
        """rate: POSTs per second."""
        begun = due = time.perf_counter()
        while due < begun + seconds or self._posting:
            wait = due - time.perf_counter()
            if wait <= 0 and due < begun + seconds:
                if self._idle:
                    self._post()
                    due += 1 / rate
                    continue
                self.behind += 1
            for number, _ in self._poll.poll(max(0.0, min(wait, 0.1)) if self._idle else 0.1):
                subscriber = self._subscribers.get(number)
                if subscriber is not None:
                    subscriber.read()
                else:
                    self._receipt(number)
        until = time.perf_counter() + 0.3  # the last updates
        while time.perf_counter() < until:
            for number, _ in self._poll.poll(0.05):
                self._subscribers[number].read()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        for subscriber in self._subscribers.values():
            subscriber.socket.close()
        self._poll.close()

    def _post(self) -> None:
        connection = self._idle.pop(0)
        request = next(self._bodies).at(now())
        self._posting[connection.fileno()] = connection, time.perf_counter()
        connection.sendall(request)

    def _receipt(self, number: int) -> None:
        connection, sent = self._posting.pop(number)
        self.posts.append((sent, _position(load.answer(connection))))
        self._idle.append(connection)


def _delays(run: Run, subscribers: list[Subscriber], skip: float) -> np.ndarray:
    """Seconds from each POST to the moment the last subscriber had an update that covers it."""
    sent = np.array([moment for moment, _ in run.posts])
    positions = np.array([position for _, position in run.posts])
    last = np.zeros(len(sent))
    for one in subscribers:
        found = np.searchsorted(np.array(one.positions), positions)
        if found.max() >= len(one.times):
            raise RuntimeError("an update that covers the last receipt never came")
        np.maximum(last, np.array(one.times)[found], out=last)
    return np.asarray((last - sent)[sent >= sent.min() + skip])


def _query(series: Series) -> dict[str, object]:
    return {
        "query_string": f"metric:{series.name}",
        "filters": {"instance": series.labels["instance"]},
        "aggregation": "sum",
        "time_range": "1m",
    }


def _measure(folder: Path, count: int, seconds: float) -> tuple[np.ndarray, int, Spent]:
    """(delays in seconds, updates delivered, spent) with `count` subscribers to one query."""
    series = make_series(1000, names=1)
    bodies = batches(series, BATCH)
    with running(ours(folder, {"MAX_WEBSOCKET_CONNECTIONS": max(1000, count)})) as server:
        load.send_all(server.port, (body.at(now()) for body in bodies))
        subscribers = [Subscriber(server.port, number, _query(series[0])) for number in range(count)]
        run = Run(server.port, bodies, subscribers)
        meter = Meter(server.pid)
        run.go(seconds, RATE / BATCH)
        spent = meter.read()
        delays = _delays(run, subscribers, 1.0) if subscribers else np.zeros(1)
        run.close()
        return delays, sum(one.frames for one in subscribers), spent


def latency(folder: Path, quick: bool) -> Iterator[Figure]:
    """The delay at 10,000 samples/s with one subscriber, and of the last of 1,000."""
    seconds = 6 if quick else 20
    for count, target in ((1, 6), (1000, 40)):
        delays, frames, spent = _measure(folder, count, seconds)
        who = "1 subscriber" if count == 1 else f"last of {count:,}"
        note = f"{frames:,} updates, {spent.cpu / spent.wall:.0%} of the core, worst {delays.max() * 1000:.1f} ms"
        yield Figure(f"POST to its update, {who}, p50", float(np.quantile(delays, 0.5)) * 1000, "ms")
        yield Figure(
            f"POST to its update, {who}, p99", float(np.quantile(delays, 0.99)) * 1000, "ms", target, note=note
        )


def growth(folder: Path, quick: bool) -> Iterator[Figure]:
    """CPU per delivery: what subscribers cost beyond the same load without them."""
    seconds = 5 if quick else 12
    _, _, alone = _measure(folder, 0, seconds)
    for count in (1000, 10_000):
        delays, frames, spent = _measure(folder, count, seconds)
        cost = (spent.cpu - alone.cpu) / frames * 1e6
        note = (
            f"{frames:,} updates in {spent.wall:.1f} s, {spent.cpu / spent.wall:.0%} of the core; "
            f"delay of the last p50 {np.quantile(delays, 0.5) * 1000:.0f} ms"
        )
        yield Figure(f"CPU per update delivered, {count:,} subscribers", cost, "µs", note=note)
