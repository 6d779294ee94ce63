"""Deliveries per second and core: `python -m tests.benchmarks.fanout`.

A server (uvloop, the hub's protocols, live queries) is pinned to one core, its clients to the others. One query changes
all the time; each evaluation goes to every connection. Three ways of sending: one update of about 200 bytes per turn,
twenty updates per turn (a dashboard with twenty panels), and one of 20 KB. Per case it prints the deliveries per second
of wall time and per second of the server's CPU time.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import struct
import sys
import time
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from server.hub import Limits
from server.subscribers import live_query
from tests.server.hub_support import World, running

SECONDS = 3.0


def serve(port: Connection, sockets: int, queries: int, padding: int, cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    # No pauses between evaluations: the question is what a core can deliver.
    live_query.MIN_INTERVAL = live_query.CROWD_INTERVAL = live_query.COST_FACTOR = 0

    async def main() -> None:
        async with running(World(Limits(connections=sockets + 10))) as world:
            names = [f"m{number}" for number in range(queries)]
            world.sums.padding = padding
            port.send(world.port)
            while world.hub.stats()["active_subscriptions"] < sockets * queries:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            before = rounds = world.live.stats()["evaluations"]
            wall, cpu = time.perf_counter(), time.process_time()
            while time.perf_counter() - wall < SECONDS:
                world.sums.now = time.time_ns() // 1_000_000
                for name in names:
                    world.add(name)
                rounds += queries
                # The next change comes when all have been written to, which is the fastest the hub can go.
                while world.live.stats()["evaluations"] < rounds or world.hub._flushing:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            evaluations = world.live.stats()["evaluations"] - before
            port.send((evaluations * sockets, evaluations, wall, cpu))
            port.recv()

    uvloop.run(main())


def read(ports: Connection, port: int, sockets: int, queries: int, cores: set[int]) -> None:
    """Connects, subscribes, and counts frames without looking into them."""
    os.sched_setaffinity(0, cores)
    totals = {"frames": 0}

    class Client(asyncio.Protocol):
        rest = b""
        opened = False

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)
            self.transport.write(
                b"GET /ws/c?firehose=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )

        def data_received(self, data: bytes) -> None:
            data = self.rest + data
            if not self.opened:
                self.opened, data = True, data.partition(b"\r\n\r\n")[2]
                for number in range(queries):
                    ask = {"type": "subscribe", "query": {"query_string": f"metric:m{number}"}}
                    payload = json.dumps(ask).encode()
                    self.transport.write(bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
            at = 0
            while len(data) - at >= 10:
                length, head = data[at + 1], 2
                if length == 126:
                    (length,), head = struct.unpack_from(">H", data, at + 2), 4
                elif length == 127:
                    (length,), head = struct.unpack_from(">Q", data, at + 2), 10
                if len(data) - at < head + length:
                    break
                at += head + length
                totals["frames"] += 1
            self.rest = data[at:]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(sockets):
            await loop.create_connection(Client, "127.0.0.1", port)
        await loop.run_in_executor(None, ports.recv)
        await asyncio.sleep(0.5)
        ports.send(totals["frames"])

    uvloop.run(main())


def measure(sockets: int, queries: int, padding: int) -> str:
    cores = sorted(os.sched_getaffinity(0))
    here, there = multiprocessing.Pipe()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there, sockets, queries, padding, {cores[0]}), daemon=True)
    server.start()
    port = here.recv()
    rest = set(cores[1:]) or {cores[0]}
    client = multiprocessing.Process(target=read, args=(theirs, port, sockets, queries, rest), daemon=True)
    client.start()
    deliveries, evaluations, wall, cpu = here.recv()
    ours.send("stop")
    frames = ours.recv()
    here.send("stop")
    client.join()
    server.join()
    seen = frames - sockets * (1 + 2 * queries)  # hello, subscription_created and the first update
    return (
        f"{sockets:6} sockets x {queries:2} queries, {200 + padding:6} bytes: {deliveries / wall:10,.0f}/s wall "
        f"{deliveries / cpu:10,.0f}/s of CPU   ({evaluations} evaluations, {seen / max(1, deliveries):.0%} arrived)"
    )


def main() -> None:
    soft = 4096
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    for sockets, queries, padding in ((100, 1, 0), (1000, 1, 0), (100, 20, 0), (1000, 20, 0), (1000, 1, 20_000)):
        print(measure(sockets, queries, padding), flush=True)


if __name__ == "__main__":
    sys.exit(main())
